//! Questions to an engine over its socket, each with a deadline.

use super::Engine;
use super::api::{Event, Image, Inspect, Listed, Version};
use crate::identity::cri::text;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Longest wait for an answer; an engine under load takes a second or two.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer that is taken.
const ANSWER_MAX: usize = 16 << 20;
/// Longest event that is understood; what is longer is passed over.
const EVENT_MAX: usize = 1 << 20;
/// Of containers, and only what changes how one is described: healthchecks alone make three events each.
/// Docker says `die` where podman says `died`.
const EVENTS: &str = concat!(
    "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B",
    "%22start%22%2C%22die%22%2C%22died%22%2C%22rename%22%2C%22update%22%5D%7D"
);

/// Why an engine cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody listens.
    #[error("cannot connect to {}: {source}", socket.display())]
    Connect {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What came is not HTTP.
    #[error("it does not speak HTTP ({question}): {source}")]
    Broken {
        /// What was asked.
        question: String,
        /// Why.
        source: hyper::Error,
    },
    /// The answer is an error.
    #[error("it answers {question} with {status}: {message}")]
    Refused {
        /// What was asked.
        question: String,
        /// How.
        status: StatusCode,
        /// Why, as it says.
        message: String,
    },
    /// The answer broke off or is too long.
    #[error("its answer to {question} cannot be read: {reason}")]
    Cut {
        /// What was asked.
        question: String,
        /// Why.
        reason: String,
    },
    /// The answer is not what the API says.
    #[error("its answer to {question} is not understood: {source}")]
    Strange {
        /// What was asked.
        question: String,
        /// Why.
        source: serde_json::Error,
    },
    /// No answer came.
    #[error("it has not answered {question} within {DEADLINE:?}")]
    Slow {
        /// What was asked.
        question: String,
    },
}

/// Id of a container or an image that is known to be one, so that it can stand in an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(String);

impl Id {
    /// 64 hexadecimal digits, after `sha256:` or not.
    pub fn parse(raw: &str) -> Option<Self> {
        let digits = raw.strip_prefix("sha256:").unwrap_or(raw);
        let fits = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| Self(raw.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The socket of an engine. Each question has a connection of its own: it costs less than to find out whether the last
/// one is still good.
#[derive(Clone, Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Which engine answers, and its version: podman listens where Docker is looked for if it is told to.
    pub async fn version(&self) -> Result<(Engine, String), EngineError> {
        let version: Version = self.ask("/version").await?;
        let is_podman = version
            .components
            .iter()
            .any(|component| component.name.contains("Podman"));
        let engine = if is_podman { Engine::Podman } else { Engine::Docker };
        Ok((engine, text(&version.version)))
    }

    /// Ids of the containers that run.
    pub async fn running(&self) -> Result<Vec<Id>, EngineError> {
        let listed: Vec<Listed> = self.ask("/containers/json").await?;
        Ok(listed.iter().filter_map(|one| Id::parse(&one.id)).collect())
    }

    /// `None` where it is gone by now, or is not understood.
    pub async fn container(&self, id: &Id) -> Result<Option<Inspect>, EngineError> {
        unless_gone(self.ask(&format!("/containers/{}/json", id.as_str())).await)
    }

    /// `NAME@DIGEST` for each registry that knows the image.
    pub async fn repo_digests(&self, image: &Id) -> Result<Vec<String>, EngineError> {
        let question = format!("/images/{}/json", image.as_str());
        let answer: Option<Image> = unless_gone(self.ask(&question).await)?;
        Ok(answer.map(|image| image.repo_digests).unwrap_or_default())
    }

    /// What happens to containers from now on.
    pub async fn events(&self) -> Result<Events, EngineError> {
        Ok(Events {
            body: self.get(EVENTS).await?,
            buffer: Vec::new(),
            is_passing: false,
        })
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, question: &str) -> Result<T, EngineError> {
        let answer = async {
            let body = self.get(question).await?;
            collect(body, question).await
        };
        let bytes = tokio::time::timeout(DEADLINE, answer)
            .await
            .map_err(|_elapsed| EngineError::Slow {
                question: question.to_owned(),
            })??;
        serde_json::from_slice(&bytes).map_err(|source| EngineError::Strange {
            question: question.to_owned(),
            source,
        })
    }

    /// The beginning of an answer that is no error.
    async fn get(&self, question: &str) -> Result<Incoming, EngineError> {
        let broken = |source| EngineError::Broken {
            question: question.to_owned(),
            source,
        };
        let answer = async {
            let stream = UnixStream::connect(&self.socket)
                .await
                .map_err(|source| EngineError::Connect {
                    socket: self.socket.clone(),
                    source,
                })?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(broken)?;
            // Ends with the connection; what went wrong is seen by who reads the answer.
            tokio::spawn(connection);
            let request = Request::get(question)
                // HTTP/1.1 wants one; engines ignore it.
                .header(header::HOST, "localhost")
                .body(Empty::<Bytes>::new());
            match request {
                Ok(request) => sender.send_request(request).await.map_err(broken),
                Err(error) => Err(EngineError::Cut {
                    question: question.to_owned(),
                    reason: error.to_string(),
                }),
            }
        };
        let response = tokio::time::timeout(DEADLINE, answer)
            .await
            .map_err(|_elapsed| EngineError::Slow {
                question: question.to_owned(),
            })??;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let message = collect(response.into_body(), question).await.unwrap_or_default();
        Err(EngineError::Refused {
            question: question.to_owned(),
            status,
            message: text(&String::from_utf8_lossy(&message)),
        })
    }
}

async fn collect(body: Incoming, question: &str) -> Result<Bytes, EngineError> {
    Limited::new(body, ANSWER_MAX)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| EngineError::Cut {
            question: question.to_owned(),
            reason: error.to_string(),
        })
}

/// An error that concerns only what was asked for says nothing about the engine.
fn unless_gone<T>(answer: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error @ (EngineError::Refused { .. } | EngineError::Strange { .. })) => {
            tracing::debug!(%error, "not told");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A stream of events, one JSON document a line.
pub(super) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    is_passing: bool,
}

impl Events {
    /// The container of the next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Id> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if std::mem::take(&mut self.is_passing) {
                    continue;
                }
                let event: Event = serde_json::from_slice(&line).unwrap_or_default();
                if let Some(id) = Id::parse(&event.actor.id) {
                    return Some(id);
                }
            }
            if self.buffer.len() > EVENT_MAX {
                self.buffer.clear();
                self.is_passing = true;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
        }
    }
}
