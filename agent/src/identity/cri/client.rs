//! Questions to the runtime, each with a deadline.

use super::api::image_service_client::ImageServiceClient;
use super::api::runtime_service_client::RuntimeServiceClient;
use super::api::{
    self, Container, ContainerStatusResponse, GetEventsRequest, ImageStatusRequest, ListContainersRequest,
    ListPodSandboxRequest, PodSandbox, PodSandboxStatusResponse, VersionResponse,
};
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

/// Longest wait for an answer; a runtime under load takes a second or two.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer that is taken, as the kubelet's: a list of all containers of a node.
const ANSWER_MAX: usize = 16 << 20;

/// Why the runtime cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// Nobody listens.
    #[error("cannot connect to the container runtime at {}: {reason}", socket.display())]
    Connect {
        /// Where.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// An answer was an error.
    #[error("the container runtime does not answer {question}: {reason}")]
    Refused {
        /// What was asked.
        question: &'static str,
        /// What it says.
        reason: String,
    },
    /// No answer came.
    #[error("the container runtime has not answered {question} within {DEADLINE:?}")]
    Slow {
        /// What was asked.
        question: &'static str,
    },
}

#[derive(Clone)]
pub(super) struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl Client {
    pub async fn connect(socket: &Path) -> Result<Self, CriError> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The authority of a unix socket is never looked at.
        let channel = Endpoint::from_static("http://localhost")
            .connect_timeout(DEADLINE)
            .connect_with_connector(connector)
            .await
            .map_err(|error| CriError::Connect {
                socket: socket.to_owned(),
                reason: root_cause(&error),
            })?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(ANSWER_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(ANSWER_MAX),
        })
    }

    pub async fn version(&mut self) -> Result<VersionResponse, CriError> {
        let request = api::VersionRequest {
            version: "v1".to_owned(),
        };
        ask("Version", self.runtime.version(request)).await
    }

    pub async fn sandboxes(&mut self) -> Result<Vec<PodSandbox>, CriError> {
        let answer = ask(
            "ListPodSandbox",
            self.runtime.list_pod_sandbox(ListPodSandboxRequest {}),
        );
        Ok(answer.await?.items)
    }

    pub async fn containers(&mut self) -> Result<Vec<Container>, CriError> {
        let answer = ask(
            "ListContainers",
            self.runtime.list_containers(ListContainersRequest {}),
        );
        Ok(answer.await?.containers)
    }

    /// `None` where it is gone by now.
    pub async fn sandbox(&mut self, id: &str) -> Result<Option<PodSandboxStatusResponse>, CriError> {
        let request = api::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: true,
        };
        unless_gone("PodSandboxStatus", self.runtime.pod_sandbox_status(request)).await
    }

    /// `None` where it is gone by now.
    pub async fn container(&mut self, id: &str) -> Result<Option<ContainerStatusResponse>, CriError> {
        let request = api::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        unless_gone("ContainerStatus", self.runtime.container_status(request)).await
    }

    /// Digests under which the registries know an image.
    pub async fn repo_digests(&mut self, image: &str) -> Result<Vec<String>, CriError> {
        let request = ImageStatusRequest {
            image: Some(api::ImageSpec {
                image: image.to_owned(),
                ..api::ImageSpec::default()
            }),
            verbose: false,
        };
        let answer = unless_gone("ImageStatus", self.images.image_status(request)).await?;
        Ok(answer
            .and_then(|answer| answer.image)
            .map(|image| image.repo_digests)
            .unwrap_or_default())
    }

    /// Events of containers, for as long as the runtime is there. Some runtimes answer with the first event
    /// only, so that there is no deadline.
    pub async fn events(&mut self) -> Result<Streaming<api::ContainerEventResponse>, Status> {
        let answer = self.runtime.get_container_events(GetEventsRequest {}).await;
        answer.map(Response::into_inner)
    }
}

async fn ask<T>(
    question: &'static str,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CriError> {
    match tokio::time::timeout(DEADLINE, answer).await {
        Err(_) => Err(CriError::Slow { question }),
        Ok(Err(status)) => Err(refused(question, &status)),
        Ok(Ok(response)) => Ok(response.into_inner()),
    }
}

/// An error that concerns only what was asked for says nothing about the runtime.
async fn unless_gone<T>(
    question: &'static str,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Option<T>, CriError> {
    match tokio::time::timeout(DEADLINE, answer).await {
        Err(_) => Err(CriError::Slow { question }),
        Ok(Ok(response)) => Ok(Some(response.into_inner())),
        Ok(Err(status)) if status.code() == Code::Unavailable => Err(refused(question, &status)),
        Ok(Err(status)) => {
            tracing::debug!(question, status = %printable(status.message()), "not told");
            Ok(None)
        }
    }
}

fn refused(question: &'static str, status: &Status) -> CriError {
    CriError::Refused {
        question,
        reason: format!("{} ({})", printable(status.message()), status.code()),
    }
}

fn printable(text: &str) -> String {
    super::describe::text(text)
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
