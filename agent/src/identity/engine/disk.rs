//! What Docker and podman keep of their containers on disk.
//!
//! Docker's `config.v2.json` and `hostconfig.json` have what its API tells. podman has names and images in the JSON
//! files of its storage and the rest in the OCI configuration that it gives to its runtime; labels are in a database
//! of its own and are not read. None of it is promised: what is missing or strange is left out.

use super::api::{HostConfig, Inspect};
use super::{Engine, Places, describe};
use crate::identity::cri::{Described, Mount, of_spec, text};
use crate::identity::oci::json;
use crate::identity::workload;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where the engines' files are.
#[derive(Clone, Debug)]
pub(in crate::identity) struct Disk {
    docker: PathBuf,
    podman: PathBuf,
}

impl Disk {
    pub fn new(places: &Places) -> Self {
        Self {
            docker: places.docker_root.clone(),
            podman: places.podman_root.clone(),
        }
    }

    /// What the files of the engine say that made the container with this id.
    pub fn container(&self, id: &str) -> Option<Described> {
        self.of_docker(id).or_else(|| self.of_podman(id))
    }

    fn of_docker(&self, id: &str) -> Option<Described> {
        let folder = self.docker.join("containers").join(id);
        let told: Option<Inspect> = json(&folder.join("config.v2.json"));
        let mut told = told.filter(|told| told.id == id)?;
        // Without it nothing is known of what the container may do.
        let host_config: Option<HostConfig> = json(&folder.join("hostconfig.json"));
        let is_whole = host_config.is_some();
        told.host_config = host_config.unwrap_or_default();
        let digests = self.docker_digests(&told.driver, &told.image);
        let mut described = describe::container(Engine::Docker, &told, &digests);
        if !is_whole {
            described.privileges = None;
        }
        Some(described)
    }

    /// `NAME@DIGEST` for each registry that knows the image.
    fn docker_digests(&self, driver: &str, image: &str) -> Vec<String> {
        let path = self.docker.join("image").join(driver).join("repositories.json");
        let known: Repositories = json(&path).unwrap_or_default();
        known
            .repositories
            .into_values()
            .flatten()
            .filter(|(reference, id)| id == image && reference.contains('@'))
            .map(|(reference, _)| reference)
            .collect()
    }

    fn of_podman(&self, id: &str) -> Option<Described> {
        let entries = std::fs::read_dir(&self.podman).ok()?.flatten();
        entries.into_iter().find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let driver = name.strip_suffix("-containers")?;
            let stored = json::<Vec<StoredContainer>>(&entry.path().join("containers.json"))?
                .into_iter()
                .find(|stored| stored.id == id)?;
            Some(self.podman_container(driver, &entry.path(), &stored))
        })
    }

    fn podman_container(&self, driver: &str, containers: &Path, stored: &StoredContainer) -> Described {
        let spec: Value =
            json(&containers.join(&stored.id).join("userdata").join("config.json")).unwrap_or_default();
        let metadata: Metadata = serde_json::from_str(&stored.metadata).unwrap_or_default();
        let images = self.podman.join(format!("{driver}-images")).join("images.json");
        let digest = json::<Vec<StoredImage>>(&images)
            .and_then(|images| images.into_iter().find(|image| image.id == stored.image))
            .map(|image| image.digest)
            .filter(|digest| !digest.is_empty());
        let image_digest = match digest {
            Some(digest) => text(&digest),
            // One that was made here and never had a manifest.
            None if !stored.image.is_empty() => text(&format!("sha256:{}", stored.image)),
            None => String::new(),
        };
        let spec = spec.is_object().then_some(&spec);
        let (command, mut privileges, cgroup_path) = spec.map(of_spec).unwrap_or_default();
        if let (Some(privileges), Some(spec)) = (&mut privileges, spec) {
            let told = spec
                .pointer("/annotations/io.podman.annotations.privileged")
                .and_then(Value::as_str);
            privileges.privileged |= told == Some("TRUE");
        }
        Described {
            revision: workload::revision(&image_digest, &command),
            id: text(&stored.id),
            runtime: Engine::Podman.name().to_owned(),
            name: text(stored.names.first().map_or("", String::as_str)),
            image: text(&metadata.image_name),
            image_digest,
            cgroup_path,
            mounts: spec.map_or_else(Vec::new, |spec| self.podman_mounts(spec, &stored.id)),
            privileges,
            command,
            ..Described::default()
        }
    }

    /// Without those that podman itself makes for every container, from its folder for it.
    fn podman_mounts(&self, spec: &Value, id: &str) -> Vec<Mount> {
        let volumes = self.podman.join("volumes");
        let binds = spec
            .pointer("/mounts")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|mount| mount["type"] == "bind");
        binds
            .filter_map(|mount| {
                let (source, destination) = (mount["source"].as_str()?, mount["destination"].as_str()?);
                let options = mount["options"].as_array();
                let volume = Path::new(source)
                    .strip_prefix(&volumes)
                    .ok()
                    .and_then(|below| below.iter().next()?.to_str());
                Some(Mount {
                    source: text(volume.unwrap_or(source)),
                    destination: text(destination),
                    read_only: options.is_some_and(|options| options.iter().any(|option| option == "ro")),
                })
            })
            .filter(|mount| !mount.source.contains(id))
            .take(crate::identity::cri::LIST_MAX)
            .collect()
    }
}

/// `image/DRIVER/repositories.json`: by repository and reference, the image's id.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Repositories {
    repositories: HashMap<String, HashMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredContainer {
    id: String,
    names: Vec<String>,
    image: String,
    /// JSON in a string, podman's own.
    metadata: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Metadata {
    image_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredImage {
    id: String,
    digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as value;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn disk(dir: &Path) -> Disk {
        Disk {
            docker: dir.join("docker"),
            podman: dir.join("podman"),
        }
    }

    fn write(path: &Path, content: &Value) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content.to_string()).unwrap();
    }

    #[test]
    fn dockers_files_say_what_its_api_does() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("docker");
        let container = root.join("containers").join(ID);
        write(
            &container.join("config.v2.json"),
            &value!({"ID": ID, "Name": "/web", "Image": "sha256:id", "Driver": "overlay2", "Path": "/bin/web",
                     "Config": {"Image": "reg/web:1", "Labels": {"app": "web"}},
                     "MountPoints": {"/v": {"Type": "volume", "Name": "data", "Source": "", "Destination": "/v",
                                            "RW": true}}}),
        );
        let disk = disk(dir.path());
        assert_eq!(disk.container(ID).unwrap().privileges, None);
        write(
            &container.join("hostconfig.json"),
            &value!({"Privileged": true, "NetworkMode": "host"}),
        );
        write(
            &root.join("image/overlay2/repositories.json"),
            &value!({"Repositories": {"reg/web": {"reg/web:1": "sha256:id", "reg/web@sha256:aa": "sha256:id",
                                                  "reg/web@sha256:00": "sha256:other"}}}),
        );
        let web = disk.container(ID).unwrap();
        assert_eq!((web.name.as_str(), web.image.as_str()), ("web", "reg/web:1"));
        assert_eq!(web.image_digest, "sha256:aa");
        assert_eq!(web.pod.labels["app"], "web");
        assert_eq!(web.mounts[0].source, "data");
        let privileges = web.privileges.unwrap();
        assert!(privileges.privileged && privileges.host.network);
        assert_eq!(disk.container("other"), None);
    }

    #[test]
    fn podmans_files_say_what_a_container_is_and_may() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("podman");
        let containers = root.join("vfs-containers");
        write(
            &containers.join("containers.json"),
            &value!([{"id": ID, "names": ["web"], "image": "1d", "metadata": "{\"image-name\":\"reg/web:1\"}"}]),
        );
        let disk = disk(dir.path());
        let bare = disk.container(ID).unwrap();
        assert_eq!(
            (bare.name.as_str(), bare.image_digest.as_str()),
            ("web", "sha256:1d")
        );
        assert_eq!(bare.privileges, None);
        write(
            &root.join("vfs-images/images.json"),
            &value!([{"id": "1d", "digest": "sha256:aa"}]),
        );
        let own = containers.join(ID).join("userdata");
        let volume = root.join("volumes/data/_data");
        write(
            &own.join("config.json"),
            &value!({"process": {"args": ["/bin/web"], "user": {"uid": 0}},
                     "annotations": {"io.podman.annotations.privileged": "TRUE"},
                     "mounts": [{"type": "bind", "source": "/etc", "destination": "/host", "options": ["ro"]},
                                {"type": "bind", "source": volume, "destination": "/v"},
                                {"type": "bind", "source": own.join("shm"), "destination": "/dev/shm"},
                                {"type": "proc", "source": "proc", "destination": "/proc"}],
                     "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}],
                               "cgroupsPath": "/libpod_parent/libpod-1"}}),
        );
        let web = disk.container(ID).unwrap();
        assert_eq!(
            (web.image.as_str(), web.image_digest.as_str()),
            ("reg/web:1", "sha256:aa")
        );
        assert_eq!(web.command, ["/bin/web"]);
        assert_eq!(web.cgroup_path, "/libpod_parent/libpod-1");
        let mounts: Vec<_> = web
            .mounts
            .iter()
            .map(|mount| (mount.source.as_str(), mount.read_only))
            .collect();
        assert_eq!(mounts, [("/etc", true), ("data", false)]);
        let privileges = web.privileges.unwrap();
        assert!(privileges.privileged);
        assert_eq!(privileges.host.names(), ["network"]);
    }

    #[test]
    fn nonsense_is_no_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir
            .path()
            .join("docker/containers")
            .join(ID)
            .join("config.v2.json");
        for content in ["", "[]", "{\"Name\": 7}", "null"] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            assert_eq!(disk(dir.path()).container(ID), None, "{content}");
        }
    }
}
