//! Names of workloads: what stays the same when a container is replaced by its successor.
//!
//! The owner of a pod is told from the labels that Kubernetes' controllers put on the pods that they make, and
//! from the patterns of the names that they give where there are none.

use super::container::WorkloadName;
use super::cri::Pod;
use sha2::{Digest, Sha256};

/// Letters and digits of the random suffixes that Kubernetes makes (apimachinery `util/rand`).
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the random suffix of a pod's name.
const POD_SUFFIX: usize = 5;
/// Digits of the minute of a `CronJob`'s run, counted from 1970, with which it ends the names of its jobs.
const CRON_MINUTE_DIGITS: usize = 8;
/// Longest name that an override may give, as Kubernetes bounds its own.
const OVERRIDE_MAX: usize = 253;

const TEMPLATE_HASH: &str = "pod-template-hash";
const ROLLOUT_HASH: &str = "rollouts-pod-template-hash";
const TEMPLATE_GENERATION: &str = "pod-template-generation";
const REVISION_HASH: &str = "controller-revision-hash";
const STATEFUL_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
const JOB_NAMES: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];
/// Labels of the project and the service.
const COMPOSE: [(&str, &str); 2] = [
    ("com.docker.compose.project", "com.docker.compose.service"),
    ("io.podman.compose.project", "io.podman.compose.service"),
];
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// How workloads are named where the configuration has a say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// Label or annotation of a pod whose value names its owner: `NAME` or `KIND/NAME`.
    pub key: Option<String>,
    /// Name of this node, which ends the names of static pods.
    pub node: String,
}

/// Namespace / owner kind / owner name / container name of a pod's container, of which the runtime told.
pub(super) fn of_described(pod: &Pod, container: &str, naming: &Naming) -> WorkloadName {
    let (kind, owner) = named(pod, naming)
        .or_else(|| labelled(pod, naming))
        .unwrap_or_else(|| {
            let (kind, owner) = by_name(&pod.name);
            (kind.to_owned(), owner.to_owned())
        });
    join(&pod.namespace, &kind, &owner, container)
}

/// The same where only names are known.
pub(super) fn of_pod(namespace: &str, pod: &str, container: &str) -> WorkloadName {
    let (kind, owner) = by_name(pod);
    join(namespace, kind, owner, container)
}

/// Runtime / name of a container outside Kubernetes.
pub(super) fn of_container(runtime: &str, name: &str) -> WorkloadName {
    WorkloadName(format!("{runtime}/{name}"))
}

/// Runtime / name of a container of an engine, where nothing else names it: the configured label, or the service of
/// which Docker Compose and podman-compose run it, whose containers they number.
pub(super) fn of_engine(runtime: &str, container: &str, pod: &Pod, naming: &Naming) -> WorkloadName {
    let part = |text: &str| text.replace('/', "\\x2f");
    if let Some((kind, name)) = named(pod, naming) {
        return WorkloadName(format!("{runtime}/{kind}/{name}"));
    }
    let composed = COMPOSE.iter().find_map(|(project, service)| {
        let project = pod.labels.get(*project).filter(|project| !project.is_empty())?;
        let service = pod.labels.get(*service).filter(|service| !service.is_empty())?;
        Some(format!("{runtime}/{}/{}", part(project), part(service)))
    });
    match composed {
        Some(name) => WorkloadName(name),
        None => of_container(runtime, &part(container)),
    }
}

/// What a baseline was learned of: the image and what it was told to run.
pub(super) fn revision(image_digest: &str, command: &[String]) -> String {
    if image_digest.is_empty() && command.is_empty() {
        return String::new();
    }
    let mut hash = Sha256::new();
    for argument in command {
        hash.update(argument);
        hash.update([0]);
    }
    let command = norma_wire::text::Hex(&hash.finalize()[..6]).to_string();
    format!("{image_digest}+{command}")
}

/// A name with a slash in it could be another workload's: Kubernetes makes none, but whoever speaks to the
/// runtime can. Backslashes are escaped in every text that is kept, so that this is unambiguous.
fn join(namespace: &str, kind: &str, owner: &str, container: &str) -> WorkloadName {
    let part = |text: &str| text.replace('/', "\\x2f");
    WorkloadName(format!(
        "{}/{}/{}/{}",
        part(namespace),
        part(kind),
        part(owner),
        part(container)
    ))
}

/// The owner by the configured key. What is not a name is no override.
fn named(pod: &Pod, naming: &Naming) -> Option<(String, String)> {
    let key = naming.key.as_deref()?;
    let value = pod.labels.get(key).or_else(|| pod.annotations.get(key))?;
    let is_name = |text: &str| {
        !text.is_empty()
            && text.len() <= OVERRIDE_MAX
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let (kind, name) = value.split_once('/').unwrap_or(("Workload", value));
    (is_name(kind) && is_name(name)).then(|| (kind.to_owned(), name.to_owned()))
}

/// The owner by the marks of the controller that made the pod.
fn labelled(pod: &Pod, naming: &Naming) -> Option<(String, String)> {
    let label = |key: &str| pod.labels.get(key).map(String::as_str);
    let owner = |kind: &str, name: &str| Some((kind.to_owned(), name.to_owned()));
    if let Some(source) = pod.annotations.get(CONFIG_SOURCE)
        && source != "api"
    {
        let suffix = format!("-{}", naming.node);
        let name = pod.name.strip_suffix(&suffix).unwrap_or(&pod.name);
        return owner("StaticPod", name);
    }
    if let Some(job) = JOB_NAMES.iter().find_map(|key| label(key)) {
        return match cron_job(job) {
            Some(name) => owner("CronJob", name),
            None => owner("Job", job),
        };
    }
    if let Some(hash) = label(ROLLOUT_HASH) {
        return owner("Rollout", without_hash(&pod.name, hash));
    }
    if let Some(hash) = label(TEMPLATE_HASH) {
        return owner("Deployment", without_hash(&pod.name, hash));
    }
    let ordinal = pod
        .name
        .rsplit_once('-')
        .filter(|(_, tail)| is_number(tail))
        .map(|(head, _)| head);
    if label(STATEFUL_NAME).is_some() || label(POD_INDEX).is_some() {
        return owner("StatefulSet", ordinal.unwrap_or(&pod.name));
    }
    if label(REVISION_HASH).is_some() {
        return match (label(TEMPLATE_GENERATION), ordinal) {
            // Only daemon sets count generations; stateful sets before 1.9 had the revision alone.
            (None, Some(name)) => owner("StatefulSet", name),
            _ => owner("DaemonSet", without_suffix(&pod.name)),
        };
    }
    None
}

/// The deployment's name: its replica set's is that and the hash, and its pods' have a random suffix.
///
/// A name that is too long for a pod is cut before the suffix, with what then remains of the hash.
fn without_hash<'a>(pod: &'a str, hash: &str) -> &'a str {
    if let Some((name, _)) = pod.rsplit_once(&format!("-{hash}-"))
        && !name.is_empty()
    {
        return name;
    }
    let cut = without_suffix(pod);
    (1..=hash.len())
        .rev()
        .find_map(|length| cut.strip_suffix(&format!("-{}", hash.get(..length)?)))
        .unwrap_or(cut)
}

/// The name without the random suffix of a pod, with or without a hyphen before it.
fn without_suffix(pod: &str) -> &str {
    let cut = pod
        .len()
        .checked_sub(POD_SUFFIX)
        .filter(|at| *at > 0 && pod.is_char_boundary(*at));
    match cut.map(|at| pod.split_at(at)) {
        Some((head, tail)) if is_suffix(tail, POD_SUFFIX..=POD_SUFFIX) => {
            head.strip_suffix('-').unwrap_or(head)
        }
        _ => pod,
    }
}

/// The `CronJob` that made a job of this name.
fn cron_job(job: &str) -> Option<&str> {
    let (name, minute) = job.rsplit_once('-')?;
    (minute.len() >= CRON_MINUTE_DIGITS && is_number(minute) && !name.is_empty()).then_some(name)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_suffix(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| SUFFIX_ALPHABET.contains(&byte))
}

/// The owner by the patterns that controllers write into pod names.
fn by_name(pod: &str) -> (&'static str, &str) {
    let Some((head, tail)) = pod.rsplit_once('-') else {
        return ("Pod", pod);
    };
    if is_suffix(tail, POD_SUFFIX..=POD_SUFFIX) {
        if let Some(name) = cron_job(head) {
            return ("CronJob", name);
        }
        return match head.rsplit_once('-') {
            Some((name, hash)) if is_suffix(hash, 6..=10) => ("Deployment", name),
            _ => ("ReplicaSet", head),
        };
    }
    if is_number(tail) {
        return ("StatefulSet", head);
    }
    ("Pod", pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pod(name: &str, labels: &[(&str, &str)]) -> Pod {
        Pod {
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..Pod::default()
        }
    }

    fn naming() -> Naming {
        Naming {
            key: Some("norma.dev/workload".to_owned()),
            node: "node-1".to_owned(),
        }
    }

    #[test]
    fn replicas_of_one_owner_share_a_name() {
        assert_eq!(
            of_pod("shop", "web-7c5ddbdf54-x2l9z", "nginx").0,
            "shop/Deployment/web/nginx"
        );
        assert_eq!(of_pod("shop", "agent-x2l9z", "a").0, "shop/ReplicaSet/agent/a");
        assert_eq!(
            of_pod("shop", "db-0", "postgres").0,
            "shop/StatefulSet/db/postgres"
        );
        assert_eq!(of_pod("shop", "debug", "sh").0, "shop/Pod/debug/sh");
        assert_eq!(
            of_pod("shop", "report-28012345-x2l9z", "r").0,
            "shop/CronJob/report/r"
        );
    }

    #[test]
    fn controllers_are_told_by_their_labels() {
        let long = format!("{}-7c5d", "a".repeat(53));
        for (name, labels, expected) in [
            (
                "web-7c5ddbdf54-x2l9z",
                vec![(TEMPLATE_HASH, "7c5ddbdf54")],
                "Deployment/web",
            ),
            // A name that looks like one of a deployment's replica set.
            (
                "web-bcdfgh-x2l9z",
                vec![(REVISION_HASH, "6d9"), (TEMPLATE_GENERATION, "1")],
                "DaemonSet/web-bcdfgh",
            ),
            // Cut to fit.
            (
                &format!("{long}x2l9z"),
                vec![(TEMPLATE_HASH, "7c5ddbdf54")],
                &format!("Deployment/{}", "a".repeat(53)),
            ),
            ("db-0", vec![(STATEFUL_NAME, "db-0")], "StatefulSet/db"),
            ("db-12", vec![(POD_INDEX, "12")], "StatefulSet/db"),
            ("db-1", vec![(REVISION_HASH, "db-6d9")], "StatefulSet/db"),
            ("load-x2l9z", vec![(JOB_NAMES[1], "load")], "Job/load"),
            ("load-1-x2l9z", vec![(JOB_NAMES[0], "load-1")], "Job/load-1"),
            (
                "report-28012345-x2l9z",
                vec![(JOB_NAMES[0], "report-28012345")],
                "CronJob/report",
            ),
            ("canary-6d9-x2l9z", vec![(ROLLOUT_HASH, "6d9")], "Rollout/canary"),
            (
                "web-7c5ddbdf54-x2l9z",
                vec![(TEMPLATE_HASH, "7c5ddbdf54"), ("norma.dev/workload", "front")],
                "Workload/front",
            ),
            (
                "x",
                vec![("norma.dev/workload", "Service/front")],
                "Service/front",
            ),
            ("x", vec![("norma.dev/workload", "a/b/c")], "Pod/x"),
            ("x", vec![("norma.dev/workload", "")], "Pod/x"),
        ] {
            assert_eq!(
                of_described(&pod(name, &labels), "c", &naming()).0,
                format!("shop/{expected}/c"),
                "{name}"
            );
        }
        let mut static_pod = pod("etcd-node-1", &[]);
        static_pod
            .annotations
            .insert(CONFIG_SOURCE.to_owned(), "file".to_owned());
        assert_eq!(
            of_described(&static_pod, "etcd", &naming()).0,
            "shop/StaticPod/etcd/etcd"
        );
    }

    #[test]
    fn no_name_can_be_anothers() {
        let hostile = Pod {
            namespace: "a/Deployment/web".to_owned(),
            ..pod("x", &[])
        };
        assert_eq!(
            of_described(&hostile, "c", &Naming::default()).0,
            "a\\x2fDeployment\\x2fweb/Pod/x/c"
        );
    }

    #[test]
    fn containers_of_a_composed_service_are_one_workload() {
        let (project, service) = COMPOSE[0];
        for (labels, expected) in [
            (vec![], "docker/shop-web-1"),
            (vec![(service, "web")], "docker/shop-web-1"),
            (vec![(project, "shop"), (service, "web")], "docker/shop/web"),
            (vec![(project, "a/b"), (service, "web")], "docker/a\\x2fb/web"),
            (
                vec![
                    (project, "shop"),
                    (service, "web"),
                    ("norma.dev/workload", "front"),
                ],
                "docker/Workload/front",
            ),
        ] {
            let name = of_engine("docker", "shop-web-1", &pod("", &labels), &naming());
            assert_eq!(name.0, expected);
        }
    }

    #[test]
    fn a_revision_changes_with_the_command() {
        let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let of = |words: &[&str]| revision("sha256:aa", &command(words));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_eq!(of(&["a"]), of(&["a"]));
        assert_eq!(revision("", &[]), "");
    }

    proptest! {
        #[test]
        fn any_name_has_an_owner(name in ".{0,80}", hash in ".{0,12}", label in 0..4usize) {
            let key = [TEMPLATE_HASH, REVISION_HASH, JOB_NAMES[0], POD_INDEX][label];
            let workload = of_described(&pod(&name, &[(key, &hash)]), "c", &naming());
            prop_assert_eq!(workload.0.split('/').count(), 4);
        }
    }
}
