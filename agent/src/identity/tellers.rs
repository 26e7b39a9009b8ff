//! Those who tell what containers are: the runtime of pods, and the engines beside it.

use super::cri::{Snapshot, Teller, View};
use std::sync::Arc;
use std::time::Duration;

/// What all of them told last, as one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Tellers {
    pods: Option<Latest>,
    engines: Vec<Latest>,
}

#[derive(Clone, Debug)]
struct Latest {
    view: View,
    told: Arc<Snapshot>,
}

impl Latest {
    fn new(view: View) -> Self {
        Self {
            view,
            told: Arc::default(),
        }
    }

    /// Says whether there was something new.
    fn update(&mut self) -> bool {
        let news = self.view.news();
        let is_new = news.is_some();
        if let Some(told) = news {
            self.told = told;
        }
        is_new
    }
}

impl Tellers {
    /// The runtime of pods and the engines.
    pub fn new(pods: Option<View>, engines: Vec<View>) -> Self {
        Self {
            pods: pods.map(Latest::new),
            engines: engines.into_iter().map(Latest::new).collect(),
        }
    }

    /// The latest of all of them, where one of them has something that was not read before.
    pub fn news(&mut self) -> Option<Arc<Snapshot>> {
        let mut is_new = false;
        for latest in self.pods.iter_mut().chain(&mut self.engines) {
            is_new |= latest.update();
        }
        is_new.then(|| Arc::new(self.merged()))
    }

    fn merged(&self) -> Snapshot {
        let mut merged = self
            .pods
            .as_ref()
            .map(|pods| (*pods.told).clone())
            .unwrap_or_default();
        for engine in &self.engines {
            let told = &engine.told;
            if told.runtime.is_empty() {
                continue;
            }
            merged.engines.push(Teller {
                name: told.runtime.clone(),
                live: told.live,
                containers: told.containers.len(),
            });
            for (id, described) in &told.containers {
                // Who knows its pod knows more.
                merged
                    .containers
                    .entry(id.clone())
                    .or_insert_with(|| Arc::clone(described));
            }
        }
        merged
    }

    /// Has all of them asked at once: something appeared that one of them must know of.
    pub fn poke(&self) {
        for latest in self.pods.iter().chain(&self.engines) {
            latest.view.poke();
        }
    }

    /// Waits until each was asked for the first time, but not longer than `patience`.
    pub async fn asked(&mut self, patience: Duration) {
        let until = tokio::time::Instant::now() + patience;
        for latest in self.pods.iter_mut().chain(&mut self.engines) {
            latest
                .view
                .asked(until.saturating_duration_since(tokio::time::Instant::now()))
                .await;
        }
    }
}
