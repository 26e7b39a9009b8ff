//! Declared policy: what workloads may do, must not do, or are to be watched at.
//!
//! A policy selects containers and holds clauses for processes, files and the network. Within the
//! policies that select every container, and again within those that select this one, *allow* wins over
//! *deny*, and *deny* over *alert*; what the first group denies, the second cannot allow. An *allow* says
//! that an act is expected; it never makes everything else forbidden.
//!
//! [`PolicySet::evaluate`] answers for one behaviour; [`compile`] turns the clauses that can be enforced
//! in the kernel into rules for it.

pub mod compile;
mod document;
mod pattern;

pub use document::{PolicyDocument, files};

use super::fact::{Access, Fact};
use crate::identity::Container;
use norma_settings::Faults;
use norma_wire::pb::Severity;
use pattern::{PathClause, PeerClause};
use std::path::PathBuf;
use std::sync::Arc;

/// What a clause says of the acts that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Worth an alert.
    Alert,
    /// Forbidden.
    Deny,
    /// Expected.
    Allow,
}

/// What a violation makes happen besides the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The connection is refused.
    Deny,
    /// The process is killed.
    Kill,
}

/// Where a clause stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClauseRef {
    /// Name of the policy.
    pub policy: Arc<str>,
    /// File and line of the clause.
    pub place: Arc<str>,
    /// SHA-256 of the policy file, in hex.
    pub revision: Arc<str>,
}

/// A clause that matched.
#[derive(Clone, Debug)]
pub struct Hit<'a> {
    /// What it says.
    pub verb: Verb,
    /// What it wants done.
    pub response: Option<Response>,
    /// How bad it is.
    pub severity: Severity,
    /// Why, in the words of its author.
    pub why: Option<&'a str>,
    /// The pattern that matched, as written.
    pub pattern: &'a str,
    /// Where it stands.
    pub clause: &'a ClauseRef,
}

/// A clause, whatever it is about.
#[derive(Clone, Debug)]
struct Clause {
    verb: Verb,
    response: Option<Response>,
    severity: Severity,
    why: Option<String>,
    reference: ClauseRef,
    subject: Subject,
}

#[derive(Clone, Debug)]
enum Subject {
    Process(PathClause),
    File {
        paths: PathClause,
        read: bool,
        write: bool,
    },
    Network(PeerClause),
}

/// A policy that can be used.
#[derive(Clone, Debug)]
pub struct Policy {
    name: Arc<str>,
    select: pattern::Selector,
    clauses: Vec<Clause>,
}

/// Every policy that is in force.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<Policy>,
}

impl PolicySet {
    /// Reads policy files; what is wrong goes to `faults`, and the rest is still understood.
    pub fn load(files: &[PathBuf], faults: &mut Faults) -> Self {
        let mut policies: Vec<Policy> = Vec::new();
        for file in files {
            for policy in document::read(file, faults) {
                if policies.iter().any(|other| other.name == policy.name) {
                    faults.0.push(norma_settings::Fault {
                        path: file.clone(),
                        line: 0,
                        column: 0,
                        message: format!(
                            "a policy named `{}` exists already; names must be unique",
                            policy.name
                        ),
                    });
                }
                policies.push(policy);
            }
        }
        Self { policies }
    }

    /// Number of policies.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// There is no policy.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The clause that decides about a behaviour of a container, if there is one.
    pub fn evaluate(&self, container: &Container, fact: &Fact) -> Option<Hit<'_>> {
        let universal = self.decide(fact, |policy| policy.select.is_universal());
        if universal.as_ref().is_some_and(|hit| hit.verb == Verb::Deny) {
            return universal;
        }
        let selected = self.decide(fact, |policy| {
            !policy.select.is_universal() && policy.select.matches(container)
        });
        match (universal, selected) {
            (Some(universal), Some(selected))
                if universal.verb > selected.verb && selected.verb != Verb::Deny =>
            {
                Some(universal)
            }
            (universal, None) => universal,
            (_, selected) => selected,
        }
    }

    /// The strongest clause of some policies that matches.
    fn decide(&self, fact: &Fact, of: impl Fn(&Policy) -> bool) -> Option<Hit<'_>> {
        self.policies
            .iter()
            .filter(|policy| of(policy))
            .flat_map(|policy| &policy.clauses)
            .filter_map(|clause| Some((clause, clause.subject.matches(fact)?)))
            .max_by_key(|(clause, _)| (clause.verb, clause.severity as i32))
            .map(|(clause, pattern)| Hit {
                verb: clause.verb,
                response: clause.response,
                severity: clause.severity,
                why: clause.why.as_deref(),
                pattern,
                clause: &clause.reference,
            })
    }

    /// Denials that the kernel side cannot enforce by themselves, by clause and pattern.
    pub fn late(&self) -> Vec<(String, String)> {
        self.policies
            .iter()
            .flat_map(|policy| &policy.clauses)
            .filter(|clause| clause.response == Some(Response::Kill))
            .flat_map(|clause| {
                let texts: Vec<&str> = match &clause.subject {
                    Subject::Process(paths) => paths
                        .texts()
                        .filter(|text| !compile::has_kernel_form(text))
                        .collect(),
                    Subject::File { paths, .. } => paths.texts().collect(),
                    Subject::Network(_) => Vec::new(),
                };
                texts
                    .into_iter()
                    .map(|text| (clause.reference.place.to_string(), text.to_owned()))
            })
            .collect()
    }

    /// Policies with a selector that picks this container, by index; what the container's kernel scope is
    /// made of.
    pub fn selecting(&self, container: &Container) -> Vec<usize> {
        self.policies
            .iter()
            .enumerate()
            .filter(|(_, policy)| !policy.select.is_universal() && policy.select.matches(container))
            .map(|(index, _)| index)
            .collect()
    }
}

impl Subject {
    /// The pattern that matches.
    fn matches(&self, fact: &Fact) -> Option<&str> {
        match (self, fact) {
            (Self::Process(paths), Fact::Exec { exe, .. }) => paths.matches(exe),
            (Self::File { paths, read, write }, Fact::Open { path, access, .. }) => {
                let wanted = if *access == Access::Read { *read } else { *write };
                if wanted { paths.matches(path) } else { None }
            }
            (Self::Network(peers), Fact::Connect { peer, port, .. }) => peers.matches(*peer, *port),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ContainerId, IdentityState, WorkloadName};
    use crate::judge::fact::PeerNames;
    use crate::observation::CgroupId;
    use norma_baseline::fact::ArgumentShape;

    fn container(workload: &str, image: &str) -> Container {
        Container {
            id: ContainerId("c".into()),
            name: "c".into(),
            runtime: "runc".into(),
            image: image.into(),
            image_digest: String::new(),
            workload: WorkloadName(workload.into()),
            pod: String::new(),
            namespace: String::new(),
            cgroup: CgroupId(1),
            cgroup_path: "/c".into(),
            state: IdentityState::Known,
            init_pid: 1,
            described: None,
            start_seen: true,
        }
    }

    fn policies(text: &str) -> Result<PolicySet, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.yaml");
        std::fs::write(&file, text).unwrap();
        let mut faults = Faults::default();
        let set = PolicySet::load(&[file], &mut faults);
        faults.or(set).map_err(|error| {
            error
                .to_string()
                .replace(&format!("{}/", dir.path().display()), "")
        })
    }

    fn exec(exe: &str) -> Fact {
        Fact::Exec {
            by: "/bin/bash".into(),
            exe: exe.into(),
            script: None,
            arguments: ArgumentShape::default(),
        }
    }

    fn connect(peer: &str, port: u16) -> Fact {
        Fact::Connect {
            exe: "/bin/bash".into(),
            peer: peer.parse().unwrap(),
            names: PeerNames::default(),
            port,
            udp: false,
        }
    }

    const HEAD: &str = "apiVersion: norma.dev/v1alpha1\nkind: Policy\nmetadata: {name: a}\nspec:\n";

    #[test]
    fn clauses_decide_by_verb() {
        let set = policies(&format!(
            "{HEAD}  process:\n  - {{deny: [/tmp/**, /usr/bin/nc*]}}\n  - {{allow: [/tmp/ok]}}\n  network:\n  - {{deny: [10.0.0.0/8], ports: [4444]}}\n  - {{alert: ['2001:db8::/32']}}\n"
        ))
        .unwrap();
        let container = container("w", "");
        let verb = |fact: &Fact| set.evaluate(&container, fact).map(|hit| (hit.verb, hit.response));
        assert_eq!(verb(&exec("/tmp/x/y")), Some((Verb::Deny, Some(Response::Kill))));
        assert_eq!(verb(&exec("/tmp/ok")), Some((Verb::Allow, None)));
        assert_eq!(
            verb(&exec("/usr/bin/nc.openbsd")),
            Some((Verb::Deny, Some(Response::Kill)))
        );
        assert_eq!(verb(&exec("/usr/bin/x/nc")), None);
        assert_eq!(
            verb(&connect("10.1.2.3", 4444)),
            Some((Verb::Deny, Some(Response::Deny)))
        );
        assert_eq!(verb(&connect("10.1.2.3", 80)), None);
        assert_eq!(verb(&connect("2001:db8::1", 80)), Some((Verb::Alert, None)));
    }

    #[test]
    fn a_selected_policy_cannot_allow_what_all_are_denied() {
        let set = policies(&format!(
            "{HEAD}  process: [{{deny: [/bin/nc]}}]\n---\napiVersion: norma.dev/v1alpha1\nkind: Policy\nmetadata: {{name: b}}\nspec:\n  select: {{workload: 'shop/*/web/*'}}\n  process: [{{allow: [/bin/nc]}}, {{deny: [/bin/id]}}]\n"
        ))
        .unwrap();
        let web = container("shop/Deployment/web/nginx", "");
        assert_eq!(set.evaluate(&web, &exec("/bin/nc")).unwrap().verb, Verb::Deny);
        assert_eq!(set.evaluate(&web, &exec("/bin/id")).unwrap().verb, Verb::Deny);
        assert!(
            set.evaluate(&container("shop/Deployment/db/x", ""), &exec("/bin/id"))
                .is_none()
        );
        assert_eq!(set.selecting(&web), [1]);
    }

    #[test]
    fn faults_name_file_line_and_remedy() {
        for (text, expected) in [
            (
                format!("{HEAD}  proces: []\n"),
                "p.yaml:5:3: unknown key `proces`; did you mean `process`?",
            ),
            (
                format!("{HEAD}  process:\n  - {{deny: [bin/nc]}}\n"),
                "p.yaml:6:13: path pattern `bin/nc`",
            ),
            (
                format!("{HEAD}  network:\n  - {{deny: [10.0.0.0/99]}}\n"),
                "p.yaml:6:13: `10.0.0.0/99` is neither",
            ),
            (
                format!("{HEAD}  process:\n  - {{deny: [/a], alert: [/b]}}\n"),
                "p.yaml:6:",
            ),
            (
                format!("{HEAD}  process:\n  - {{deny: [/a], response: deny}}\n"),
                "p.yaml:6:28: ",
            ),
            (
                HEAD.replace("v1alpha1", "v9") + "  process: []\n",
                "p.yaml:1:13: apiVersion",
            ),
        ] {
            let message = policies(&text).unwrap_err();
            assert!(
                message.starts_with(expected),
                "{message}\n  does not begin with {expected}"
            );
        }
    }
}
