//! The kernel side's rules, kept in step with policies and containers.

use crate::identity::Placed;
use crate::judge::policy::PolicySet;
use crate::judge::policy::compile::{Effect, PathRule, Rules};
use crate::observation::{CgroupId, RuleNumber};
use crate::sensor::{ControlError, Controls, PathPattern};
use norma_abi::{
    SCOPE_ANY, SCOPE_EXEMPT, SCOPE_MUTE_FILE, SCOPE_MUTE_OPEN, SCOPE_MUTE_SOCKET, SCOPE_RECOGNISE, Scope,
};
use std::collections::HashMap;

/// Steers the kernel side.
pub struct Enforcement {
    controls: Controls,
    policies: PolicySet,
    report_host: bool,
    /// Scope of each combination of policies that selects some container.
    scopes: HashMap<Vec<usize>, u32>,
}

impl Enforcement {
    /// Puts the rules that hold for every container in force.
    pub fn start(controls: Controls, policies: PolicySet, report_host: bool) -> Result<Self, ControlError> {
        let mut this = Self {
            controls,
            policies,
            report_host,
            scopes: HashMap::new(),
        };
        this.install()?;
        Ok(this)
    }

    /// Follows what became known of control groups.
    pub fn follow(&mut self, placed: &[Placed]) {
        for placed in placed {
            let result = match placed {
                Placed::Host(cgroup) => self.set_host(*cgroup),
                Placed::Container(cgroup, container) => {
                    let selecting = self.policies.selecting(container);
                    self.set_container(*cgroup, selecting)
                }
                Placed::Gone(cgroup) => self.controls.remove_scope(*cgroup),
            };
            if let Err(error) = result {
                tracing::warn!(?placed, %error, "cannot steer the kernel side for a control group");
            }
        }
    }

    fn set_host(&mut self, cgroup: CgroupId) -> Result<(), ControlError> {
        let mute = if self.report_host {
            0
        } else {
            SCOPE_MUTE_OPEN | SCOPE_MUTE_FILE | SCOPE_MUTE_SOCKET
        };
        self.controls.set_scope(
            cgroup,
            Scope {
                id: SCOPE_ANY,
                flags: SCOPE_EXEMPT | mute,
            },
        )
    }

    fn set_container(&mut self, cgroup: CgroupId, selecting: Vec<usize>) -> Result<(), ControlError> {
        let id = if selecting.is_empty() {
            SCOPE_ANY
        } else if let Some(id) = self.scopes.get(&selecting) {
            *id
        } else {
            let id = SCOPE_ANY + 1 + self.scopes.len() as u32;
            self.scopes.insert(selecting, id);
            self.install()?;
            id
        };
        self.controls.set_scope(
            cgroup,
            Scope {
                id,
                flags: SCOPE_RECOGNISE,
            },
        )
    }

    fn install(&mut self) -> Result<(), ControlError> {
        let mut scoped: Vec<(u32, Rules)> = vec![(SCOPE_ANY, self.policies.universal_rules())];
        scoped.extend(
            self.scopes
                .iter()
                .map(|(set, id)| (*id, self.policies.selected_rules(set))),
        );
        let mut number = 0;
        let mut next = |effect: &Effect| match effect {
            Effect::Enforce(_) => {
                number += 1;
                Some(RuleNumber(number))
            }
            Effect::Exempt => None,
        };
        let mut paths = Vec::new();
        let mut peers = Vec::new();
        for (scope, rules) in &scoped {
            for (rule, effect) in &rules.paths {
                let pattern = match rule {
                    PathRule::Exact(path) => PathPattern::Exact(path.clone().into_bytes()),
                    PathRule::Subtree(path) => PathPattern::Subtree(path.clone().into_bytes()),
                };
                paths.push((*scope, pattern, next(effect)));
            }
            for (network, port, effect) in &rules.peers {
                peers.push((*scope, *network, *port, next(effect)));
            }
        }
        self.controls.replace_path_rules(&paths)?;
        self.controls.replace_peer_rules(&peers)
    }
}
