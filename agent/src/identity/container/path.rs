//! Containers by the paths of their control groups.

/// What a control group path alone tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Recognised {
    /// Its id.
    pub id: String,
    /// Who made it.
    pub runtime: &'static str,
    /// The part of the path that is the container's own.
    pub path: String,
}

/// Prefixes of systemd scope names, and whose they are.
const SCOPES: [(&str, &str); 5] = [
    ("cri-containerd-", "containerd"),
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("crio-", "cri-o"),
    ("nerdctl-", "containerd"),
];

/// Finds the container in a path that a runtime under Kubernetes, Docker or podman made.
pub fn recognise(path: &str) -> Option<Recognised> {
    let mut own = String::new();
    let mut above = "";
    for component in path.split('/').skip(1) {
        own.push('/');
        own.push_str(component);
        let (id, runtime) = scope(component);
        let found = runtime.map(|runtime| (id, runtime)).or_else(|| {
            let runtime = match above {
                "docker" => "docker",
                _ if own.contains("kubepods") => "containerd",
                _ => return None,
            };
            Some((component, runtime))
        });
        if let Some((id, runtime)) = found
            && is_container_id(id)
        {
            return Some(Recognised {
                id: id.to_owned(),
                runtime,
                path: own,
            });
        }
        above = component;
    }
    None
}

/// The container's id in a component of a path, and its runtime where a prefix tells it.
pub fn scope(component: &str) -> (&str, Option<&'static str>) {
    let scope = component.strip_suffix(".scope").unwrap_or(component);
    SCOPES
        .iter()
        .find_map(|(prefix, runtime)| Some((scope.strip_prefix(prefix)?, Some(*runtime))))
        .unwrap_or((scope, None))
}

/// Whether a path lies where users may make control groups of any name without being root: in their own part of the
/// tree, where systemd puts their sessions and services.
pub fn is_of_user(path: &str) -> bool {
    path.starts_with("/user.slice/")
}

/// 64 hexadecimal digits, as containerd, CRI-O, Docker and podman name containers.
pub fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
