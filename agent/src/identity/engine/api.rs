//! The part of Docker's Engine API that is understood.
//!
//! podman answers the same questions in its own way: with `null` for what is empty, and with more or fewer fields.
//! So every field may be missing or `null`, and one of another type costs the container that it is of.

use serde::{Deserialize, Deserializer};
use std::collections::HashMap;

/// Answer to `/version`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Version {
    #[serde(deserialize_with = "or_default")]
    pub version: String,
    #[serde(deserialize_with = "or_default")]
    pub components: Vec<Component>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Component {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// One of the answer to `/containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Listed {
    #[serde(deserialize_with = "or_default")]
    pub id: String,
}

/// Answer to `/containers/ID/json`; Docker's `config.v2.json` has most of it in the same form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Inspect {
    #[serde(alias = "ID", deserialize_with = "or_default")]
    pub id: String,
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Id of the image.
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub restart_count: u32,
    #[serde(deserialize_with = "or_default")]
    pub driver: String,
    #[serde(deserialize_with = "or_default")]
    pub state: State,
    #[serde(deserialize_with = "or_default")]
    pub config: Config,
    #[serde(deserialize_with = "or_default")]
    pub host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<MountPoint>,
    /// The same on disk, by destination.
    #[serde(deserialize_with = "or_default")]
    pub mount_points: HashMap<String, MountPoint>,
    #[serde(deserialize_with = "or_default")]
    pub network_settings: NetworkSettings,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct State {
    #[serde(deserialize_with = "or_default")]
    pub pid: u32,
    #[serde(deserialize_with = "or_default")]
    pub started_at: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Config {
    /// As it was asked for, such as `nginx:1`.
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    #[serde(deserialize_with = "or_default")]
    pub labels: HashMap<String, String>,
}

/// What the container was asked to be; Docker's `hostconfig.json` is just this.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HostConfig {
    #[serde(deserialize_with = "or_default")]
    pub privileged: bool,
    #[serde(deserialize_with = "or_default")]
    pub cap_add: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub cap_drop: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub readonly_rootfs: bool,
    #[serde(deserialize_with = "or_default")]
    pub network_mode: String,
    #[serde(deserialize_with = "or_default")]
    pub pid_mode: String,
    #[serde(deserialize_with = "or_default")]
    pub ipc_mode: String,
    #[serde(deserialize_with = "or_default")]
    pub nano_cpus: i64,
    #[serde(deserialize_with = "or_default")]
    pub cpu_quota: i64,
    #[serde(deserialize_with = "or_default")]
    pub cpu_period: i64,
    #[serde(deserialize_with = "or_default")]
    pub memory: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type", deserialize_with = "or_default")]
    pub kind: String,
    /// Of a volume.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub source: String,
    #[serde(deserialize_with = "or_default")]
    pub destination: String,
    #[serde(rename = "RW", deserialize_with = "or_default")]
    pub writable: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NetworkSettings {
    #[serde(deserialize_with = "or_default")]
    pub networks: HashMap<String, Option<Network>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Network {
    #[serde(rename = "IPAddress", deserialize_with = "or_default")]
    pub v4: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "or_default")]
    pub v6: String,
}

/// Answer to `/images/ID/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Image {
    /// `NAME@DIGEST` for each registry that it came from or went to.
    #[serde(deserialize_with = "or_default")]
    pub repo_digests: Vec<String>,
}

/// One of the stream of `/events`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Event {
    #[serde(deserialize_with = "or_default")]
    pub actor: Actor,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Actor {
    #[serde(rename = "ID", deserialize_with = "or_default")]
    pub id: String,
}

/// `null` is as good as nothing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
