//! Who tells what containers are, as far as that can be seen from outside.

use crate::config::Config;
use crate::identity::{cri, engine};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::future::Future;
use std::path::{Path, PathBuf};

/// A runtime or an engine that is looked for.
pub(super) struct Teller {
    /// `pods`, `docker` or `podman`.
    pub of: &'static str,
    /// Where it is asked.
    socket: PathBuf,
    /// Where its files are, of an engine.
    root: Option<PathBuf>,
    answer: Answer,
}

enum Answer {
    /// Name and version.
    Answers(String),
    /// There is no socket.
    Absent,
    Fails(String),
    /// The configuration says so.
    NotAsked,
}

impl Teller {
    /// What there is to say of it to a person.
    pub fn words(&self) -> String {
        let socket = self.socket.display();
        let answer = match &self.answer {
            Answer::Answers(who) => format!("{who} answers at {socket}"),
            Answer::Absent => format!("no socket at {socket}"),
            Answer::Fails(why) => format!("DOES NOT ANSWER at {socket}: {why}"),
            Answer::NotAsked => "not asked (`runtime.ask_engines: false`)".to_owned(),
        };
        match &self.root {
            Some(root) if root.exists() => format!("{answer}; its files are in {}", root.display()),
            Some(root) => format!("{answer}; no files of it in {}", root.display()),
            None => answer,
        }
    }

    /// The same for a program.
    pub fn json(&self) -> Value {
        let (state, detail) = match &self.answer {
            Answer::Answers(who) => ("answers", who.as_str()),
            Answer::Absent => ("absent", ""),
            Answer::Fails(why) => ("fails", why.as_str()),
            Answer::NotAsked => ("not asked", ""),
        };
        json!({
            "of": self.of,
            "socket": self.socket.display().to_string(),
            "state": state,
            "detail": detail,
            "root": self.root.as_ref().map(|root| root.display().to_string()),
            "has_files": self.root.as_ref().map(|root| root.exists()),
        })
    }
}

/// Asks each of them who they are.
pub(super) fn look(config: Option<&Config>) -> anyhow::Result<Vec<Teller>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the I/O runtime")?;
    let pods = config
        .and_then(|config| config.cri_socket.clone())
        .unwrap_or_else(|| {
            let usual = cri::SOCKETS.map(PathBuf::from);
            let there = usual.iter().find(|socket| socket.exists());
            there.unwrap_or(&usual[0]).clone()
        });
    let places = config.map(|config| config.engines.clone()).unwrap_or_default();
    let ask_engines = config.is_none_or(|config| config.ask_engines);
    let mut tellers = vec![Teller {
        of: "pods",
        answer: runtime.block_on(answer(&pods, cri::greet(&pods))),
        socket: pods,
        root: None,
    }];
    for engine in engine::ENGINES {
        let socket = places.socket(engine);
        tellers.push(Teller {
            of: engine.name(),
            answer: if ask_engines {
                runtime.block_on(answer(socket, engine::greet(socket)))
            } else {
                Answer::NotAsked
            },
            socket: socket.clone(),
            root: Some(places.root(engine).clone()),
        });
    }
    Ok(tellers)
}

async fn answer<E: std::error::Error>(
    socket: &Path,
    greeting: impl Future<Output = Result<String, E>>,
) -> Answer {
    if !socket.exists() {
        return Answer::Absent;
    }
    match greeting.await {
        Ok(who) => Answer::Answers(who),
        Err(error) => Answer::Fails(error.to_string()),
    }
}
