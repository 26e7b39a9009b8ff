//! A node as the kubelet drives it: pods and containers made over the CRI socket.

use hyper_util::rt::TokioIo;
use norma_agent::identity::cri::api::runtime_service_client::RuntimeServiceClient;
use norma_agent::identity::cri::api::{
    self, ContainerConfig, CreateContainerRequest, ExecSyncRequest, ImageSpec, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, RunPodSandboxRequest,
};
use norma_rig::containerd::{Containerd, Image};
use norma_rig::{Scratch, cgroup, wait_until};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

const LIMIT: Duration = Duration::from_secs(120);
/// What the kubelet puts pods under.
const PARENT: &str = "/kubepods/burstable";

/// containerd and who drives it. Dropping it removes its pods.
pub struct Node {
    runtime: Runtime,
    pods: Vec<(String, String)>,
    pub image: Image,
    pub containerd: Containerd,
}

/// A pod to run, with one container.
#[derive(Clone, Default)]
pub struct PodSpec {
    pub name: String,
    pub labels: Vec<(&'static str, String)>,
    pub annotations: Vec<(&'static str, String)>,
    pub script: String,
    pub privileged: bool,
}

/// Ids of what was started.
pub struct Started {
    pub container: String,
    pub uid: String,
}

impl Node {
    pub fn start(scratch: &Scratch) -> Self {
        let containerd = Containerd::start(scratch).unwrap();
        let image = Image::build(scratch, "local.test/shop/app:v1", &["/usr/bin/sleep", "infinity"]).unwrap();
        containerd.import(&image).unwrap();
        Self {
            runtime: Runtime::new().unwrap(),
            pods: Vec::new(),
            image,
            containerd,
        }
    }

    /// Runs a pod of the namespace `shop` with a container `app`.
    pub fn run(&mut self, spec: &PodSpec) -> Started {
        let uid = format!("uid-{}-{}", std::process::id(), spec.name);
        let parent = format!("{PARENT}/pod{uid}");
        let strings = |pairs: &[(&'static str, String)]| -> HashMap<String, String> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect()
        };
        let namespaces = NamespaceOption {
            // No network plugin is needed for it.
            network: NamespaceMode::Node as i32,
            pid: NamespaceMode::Container as i32,
            ..NamespaceOption::default()
        };
        let sandbox = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: spec.name.clone(),
                uid: uid.clone(),
                namespace: "shop".to_owned(),
                attempt: 0,
            }),
            labels: strings(&spec.labels),
            annotations: strings(&spec.annotations),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: parent.clone(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces.clone()),
                    privileged: spec.privileged,
                }),
            }),
            ..PodSandboxConfig::default()
        };
        let container = ContainerConfig {
            metadata: Some(api::ContainerMetadata {
                name: "app".to_owned(),
                attempt: 2,
            }),
            image: Some(ImageSpec {
                image: self.image.name().to_owned(),
                ..ImageSpec::default()
            }),
            command: ["/bin/bash", "-c", &spec.script].map(str::to_owned).to_vec(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(LinuxContainerSecurityContext {
                    privileged: spec.privileged,
                    namespace_options: Some(namespaces),
                    ..LinuxContainerSecurityContext::default()
                }),
                resources: None,
            }),
            ..ContainerConfig::default()
        };
        let socket = self.containerd.socket();
        let mut client = self.runtime.block_on(connect(&socket));
        // The part for kubelets is up after the socket, which others speak to as well.
        wait_until("the runtime interface", LIMIT, || {
            let listed = client.list_pod_sandbox(api::ListPodSandboxRequest::default());
            Ok(self.runtime.block_on(listed).is_ok().then_some(()))
        })
        .unwrap();
        let (sandbox_id, container_id) = self.runtime.block_on(async {
            let request = RunPodSandboxRequest {
                config: Some(sandbox.clone()),
            };
            let sandbox_id = client
                .run_pod_sandbox(request)
                .await
                .unwrap()
                .into_inner()
                .pod_sandbox_id;
            let request = CreateContainerRequest {
                pod_sandbox_id: sandbox_id.clone(),
                config: Some(container),
                sandbox_config: Some(sandbox),
            };
            let container_id = client
                .create_container(request)
                .await
                .unwrap()
                .into_inner()
                .container_id;
            let request = api::StartContainerRequest {
                container_id: container_id.clone(),
            };
            client.start_container(request).await.unwrap();
            (sandbox_id, container_id)
        });
        self.containerd.note_shims().unwrap();
        self.pods.push((sandbox_id, parent));
        Started {
            container: container_id,
            uid,
        }
    }

    /// Runs a command in a container, as `kubectl exec` does, and waits for its end.
    pub fn exec(&self, container: &str, script: &str) -> String {
        let socket = self.containerd.socket();
        self.runtime.block_on(async {
            let answer = connect(&socket)
                .await
                .exec_sync(request(container, script, 20))
                .await;
            String::from_utf8(answer.unwrap().into_inner().stdout).unwrap()
        })
    }

    /// Has a command run in a container for as long as this node is there.
    pub fn exec_along(&self, container: &str, script: &str) {
        let socket = self.containerd.socket();
        let request = request(container, script, 600);
        self.runtime.spawn(async move {
            // Ends with an error when the pod is removed.
            connect(&socket).await.exec_sync(request).await.ok();
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let socket = self.containerd.socket();
        for (pod, parent) in std::mem::take(&mut self.pods) {
            self.runtime.block_on(async {
                let end = async {
                    let mut client = connect(&socket).await;
                    let stop = api::StopPodSandboxRequest {
                        pod_sandbox_id: pod.clone(),
                    };
                    client.stop_pod_sandbox(stop).await.ok();
                    let remove = api::RemovePodSandboxRequest { pod_sandbox_id: pod };
                    client.remove_pod_sandbox(remove).await.ok();
                };
                tokio::time::timeout(LIMIT, end).await.ok();
            });
            for group in [parent.as_str(), PARENT, "/kubepods"] {
                cgroup::remove(group);
            }
        }
    }
}

fn request(container: &str, script: &str, timeout: i64) -> ExecSyncRequest {
    ExecSyncRequest {
        container_id: container.to_owned(),
        cmd: ["/bin/bash", "-c", script].map(str::to_owned).to_vec(),
        timeout,
    }
}

async fn connect(socket: &Path) -> RuntimeServiceClient<Channel> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    RuntimeServiceClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}
