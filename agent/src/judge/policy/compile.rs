//! Clauses as rules for the kernel side.
//!
//! The kernel side decides by longest prefix, [`super::PolicySet::evaluate`] by verb. The two agree
//! because an allowed pattern inside a denied one becomes an exemption, a denied one inside an allowed one
//! is left out, and a denial that overlaps an allowance which has no exact kernel form is not enforced in
//! the kernel at all (the agent then acts after the fact). Patterns with `*` have no kernel form.

use super::pattern::PathClause;
use super::{ClauseRef, Policy, PolicySet, Response, Subject, Verb};
use ipnet::IpNet;

/// Which paths a kernel rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// This path.
    Exact(String),
    /// Everything below this directory.
    Subtree(String),
}

/// What a kernel rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Enforce this clause.
    Enforce(ClauseRef),
    /// Leave it alone, although a wider rule says otherwise.
    Exempt,
}

/// Rules of one scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Programs that are killed before their first instruction.
    pub paths: Vec<(PathRule, Effect)>,
    /// Peers to which nothing is sent, with one port or every port.
    pub peers: Vec<(IpNet, Option<u16>, Effect)>,
}

impl PolicySet {
    /// Rules of the policies that select every container.
    pub fn universal_rules(&self) -> Rules {
        rules(self.policies.iter().filter(|policy| policy.select.is_universal()))
    }

    /// Rules of some policies, by index as [`PolicySet::selecting`] gives them.
    pub fn selected_rules(&self, policies: &[usize]) -> Rules {
        rules(policies.iter().filter_map(|index| self.policies.get(*index)))
    }
}

/// Whether the kernel side can match a path pattern.
pub(super) fn has_kernel_form(pattern: &str) -> bool {
    kernel_form(pattern).is_some()
}

fn rules<'a>(policies: impl Iterator<Item = &'a Policy>) -> Rules {
    let clauses: Vec<_> = policies.flat_map(|policy| &policy.clauses).collect();
    let allowed_paths: Vec<&PathClause> = clauses
        .iter()
        .filter_map(|clause| match &clause.subject {
            Subject::Process(paths) if clause.verb == Verb::Allow => Some(paths),
            _ => None,
        })
        .collect();
    let allowed_peers: Vec<(IpNet, Option<u16>)> = clauses
        .iter()
        .filter_map(|clause| match &clause.subject {
            Subject::Network(peers) if clause.verb == Verb::Allow => Some(peers.each()),
            _ => None,
        })
        .flatten()
        .collect();

    let mut rules = Rules::default();
    for clause in clauses.iter().filter(|clause| clause.verb == Verb::Deny) {
        let effect = || Effect::Enforce(clause.reference.clone());
        match (&clause.subject, clause.response) {
            (Subject::Process(paths), Some(Response::Kill)) => {
                for text in paths.texts() {
                    add_path(&mut rules, text, effect(), &allowed_paths);
                }
            }
            (Subject::Network(peers), Some(Response::Deny)) => {
                for (network, port) in peers.each() {
                    add_peer(&mut rules, network, port, effect(), &allowed_peers);
                }
            }
            _ => {}
        }
    }
    rules
}

fn add_path(rules: &mut Rules, text: &str, effect: Effect, allowed: &[&PathClause]) {
    let Some(rule) = kernel_form(text) else { return };
    let mut exemptions = Vec::new();
    for allow in allowed.iter().flat_map(|clause| clause.texts()) {
        match kernel_form(allow) {
            Some(allow) if covers(&allow, &rule) => return,
            Some(allow) if covers(&rule, &allow) => exemptions.push((allow, Effect::Exempt)),
            Some(_) => {}
            None if may_overlap(&rule, allow) => return,
            None => {}
        }
    }
    rules.paths.push((rule, effect));
    rules.paths.extend(exemptions);
}

fn add_peer(
    rules: &mut Rules,
    network: IpNet,
    port: Option<u16>,
    effect: Effect,
    allowed: &[(IpNet, Option<u16>)],
) {
    let mut exemptions = Vec::new();
    for (allow, allow_port) in allowed {
        let port_covered = allow_port.is_none() || *allow_port == port;
        if port_covered && allow.contains(&network) {
            return;
        }
        if port_covered && network.contains(allow) {
            exemptions.push((*allow, port, Effect::Exempt));
        } else if port.is_none() && (network.contains(allow) || allow.contains(&network)) {
            // The kernel side asks for the port first, so the exemption of one port comes before.
            exemptions.push((*allow, *allow_port, Effect::Exempt));
        }
    }
    rules.peers.push((network, port, effect));
    rules.peers.extend(exemptions);
}

/// The rule that a pattern is, where it has no `*`.
fn kernel_form(text: &str) -> Option<PathRule> {
    let special = |text: &str| text.contains(['*', '?', '[', '{']);
    match text.strip_suffix("/**") {
        Some(directory) if !special(directory) => Some(PathRule::Subtree(directory.to_owned())),
        None if !special(text) => Some(PathRule::Exact(text.to_owned())),
        _ => None,
    }
}

/// Whether `outer` matches whatever `inner` matches.
fn covers(outer: &PathRule, inner: &PathRule) -> bool {
    match (outer, inner) {
        (PathRule::Exact(outer), PathRule::Exact(inner)) => outer == inner,
        (PathRule::Subtree(outer), PathRule::Exact(inner)) => inner
            .strip_prefix(outer.as_str())
            .is_some_and(|rest| rest.starts_with('/')),
        (PathRule::Subtree(outer), PathRule::Subtree(inner)) => inner
            .strip_prefix(outer.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        (PathRule::Exact(_), PathRule::Subtree(_)) => false,
    }
}

/// Whether a pattern with `*` could match something that the rule matches: told from its literal beginning.
fn may_overlap(rule: &PathRule, pattern: &str) -> bool {
    let literal = pattern.split(['*', '?', '[', '{']).next().unwrap_or("");
    let (PathRule::Exact(path) | PathRule::Subtree(path)) = rule;
    path.starts_with(literal) || literal.starts_with(path.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_settings::Faults;

    fn compiled(spec: &str) -> Rules {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.yaml");
        let text =
            format!("apiVersion: norma.dev/v1alpha1\nkind: Policy\nmetadata: {{name: a}}\nspec:\n{spec}");
        std::fs::write(&file, text).unwrap();
        let mut faults = Faults::default();
        let set = PolicySet::load(&[file], &mut faults);
        assert_eq!(faults, Faults::default());
        set.universal_rules()
    }

    fn paths(rules: &Rules) -> Vec<(&str, bool)> {
        rules
            .paths
            .iter()
            .map(|(rule, effect)| {
                let (PathRule::Exact(path) | PathRule::Subtree(path)) = rule;
                (path.as_str(), *effect != Effect::Exempt)
            })
            .collect()
    }

    #[test]
    fn an_allowance_inside_a_denial_is_an_exemption() {
        let rules = compiled("  process: [{deny: ['/tmp/**']}, {allow: [/tmp/ok]}]\n");
        assert_eq!(paths(&rules), [("/tmp", true), ("/tmp/ok", false)]);
    }

    #[test]
    fn a_denial_inside_an_allowance_is_left_out() {
        let rules = compiled("  process: [{deny: [/opt/a/b, /bin/nc]}, {allow: ['/opt/**']}]\n");
        assert_eq!(paths(&rules), [("/bin/nc", true)]);
    }

    #[test]
    fn what_has_no_exact_kernel_form_is_left_to_the_agent() {
        let rules = compiled("  process: [{deny: ['/tmp/**', '/usr/bin/n*']}, {allow: ['/tmp/a*']}]\n");
        assert_eq!(paths(&rules), []);
    }

    #[test]
    fn an_allowed_peer_is_exempt_on_every_denied_port() {
        let rules = compiled("  network: [{deny: [10.0.0.0/8], ports: [80]}, {allow: [10.0.0.1]}]\n");
        assert_eq!(rules.peers.len(), 2);
        assert_eq!(
            rules.peers[1],
            ("10.0.0.1/32".parse().unwrap(), Some(80), Effect::Exempt)
        );
    }

    #[test]
    fn an_allowed_port_is_exempt_of_a_denied_network() {
        let rules = compiled("  network: [{deny: [10.0.0.0/8]}, {allow: [0.0.0.0/0], ports: [53]}]\n");
        assert_eq!(
            rules.peers[1],
            ("0.0.0.0/0".parse().unwrap(), Some(53), Effect::Exempt)
        );
    }
}
