//! Names of workloads: what stays the same when a container is replaced by its successor.

use super::container::WorkloadName;

/// Letters and digits of the random suffixes that Kubernetes makes (apimachinery `util/rand`).
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the random suffix of a pod's name.
const POD_SUFFIX: usize = 5;

/// Namespace / owner kind / owner name / container name of a pod's container.
///
/// The owner is read from the patterns that Kubernetes itself writes into pod names.
pub(super) fn of_pod(namespace: &str, pod: &str, container: &str) -> WorkloadName {
    let (kind, owner) = owner(pod);
    WorkloadName(format!("{namespace}/{kind}/{owner}/{container}"))
}

/// Runtime / name of a container outside Kubernetes.
pub(super) fn of_container(runtime: &str, name: &str) -> WorkloadName {
    WorkloadName(format!("{runtime}/{name}"))
}

fn owner(pod: &str) -> (&'static str, &str) {
    let is_suffix = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| SUFFIX_ALPHABET.contains(&byte))
    };
    let Some((head, tail)) = pod.rsplit_once('-') else {
        return ("Pod", pod);
    };
    if is_suffix(tail, POD_SUFFIX..=POD_SUFFIX) {
        return match head.rsplit_once('-') {
            Some((name, hash)) if is_suffix(hash, 6..=10) => ("Deployment", name),
            _ => ("ReplicaSet", head),
        };
    }
    if !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit()) {
        return ("StatefulSet", head);
    }
    ("Pod", pod)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
