//! Which collector is tried next.
//!
//! The one that worked is tried again first, once; then each address in the order of the configuration, and each of
//! those that a name stands for, without a pause between them. A collector that works is stayed with: a node that moves
//! leaves its events in two logs.

use crate::config::{CollectorAddress, CollectorTarget};
use std::net::SocketAddr;

/// A place where a collector may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As configured.
    pub at: CollectorAddress,
    /// What the name stands for; `None` where it could not be resolved, which connecting then says.
    pub socket: Option<SocketAddr>,
}

/// The places, and which were tried.
#[derive(Debug)]
pub struct Route {
    addresses: Vec<CollectorAddress>,
    worked: Option<Place>,
    tried: Vec<Place>,
}

impl Route {
    /// The places of a target, of which none was tried.
    pub fn new(target: &CollectorTarget) -> Self {
        Self {
            addresses: target.addresses().collect(),
            worked: None,
            tried: Vec::new(),
        }
    }

    /// The place to try now.
    pub async fn next(&mut self) -> Place {
        if let Some(worked) = self.worked.clone().filter(|worked| !self.tried.contains(worked)) {
            return worked;
        }
        let places = self.places().await;
        let untried = places.iter().find(|place| !self.tried.contains(place));
        match untried.or(places.first()) {
            Some(place) => place.clone(),
            // There is always one that is configured.
            None => Place {
                at: self.addresses[0].clone(),
                socket: None,
            },
        }
    }

    /// A place worked; it is tried again first.
    pub fn worked(&mut self, place: Place) {
        self.worked = Some(place);
        self.tried.clear();
    }

    /// A place works and is left all the same: it is tried again after the others.
    pub fn left(&mut self, place: Place) {
        self.worked = None;
        self.tried = vec![place];
    }

    /// Whether there is another place than this one.
    pub async fn has_others(&self, place: &Place) -> bool {
        self.places().await.iter().any(|other| other != place)
    }

    /// A place did not work; whether another one is left before all were tried.
    pub async fn failed(&mut self, place: Place) -> bool {
        self.tried.push(place);
        let places = self.places().await;
        let left = places.iter().any(|place| !self.tried.contains(place));
        if !left {
            self.tried.clear();
            self.worked = None;
        }
        left
    }

    async fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for at in &self.addresses {
            let found = tokio::net::lookup_host(&at.address).await;
            let before = places.len();
            places.extend(found.into_iter().flatten().map(|socket| Place {
                at: at.clone(),
                socket: Some(socket),
            }));
            if places.len() == before {
                places.push(Place {
                    at: at.clone(),
                    socket: None,
                });
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::ServerName;

    fn address(text: &str) -> CollectorAddress {
        CollectorAddress {
            address: text.to_owned(),
            server_name: ServerName::try_from("localhost").unwrap(),
        }
    }

    #[tokio::test]
    async fn each_place_is_tried_before_there_is_a_pause_and_the_one_that_worked_first() {
        let mut route = Route {
            addresses: vec![address("127.0.0.1:1"), address("127.0.0.1:2")],
            worked: None,
            tried: Vec::new(),
        };
        let port = |place: &Place| place.socket.map(|socket| socket.port());
        let first = route.next().await;
        assert_eq!(port(&first), Some(1));
        assert!(route.failed(first).await);
        let second = route.next().await;
        assert_eq!(port(&second), Some(2));
        route.worked(second.clone());
        // It broke: the same again, then the other, then a pause.
        assert_eq!(route.next().await, second);
        assert!(route.failed(second).await);
        let other = route.next().await;
        assert_eq!(port(&other), Some(1));
        assert!(!route.failed(other).await);
        assert_eq!(port(&route.next().await), Some(1));
    }

    #[tokio::test]
    async fn a_place_that_is_left_comes_after_the_others() {
        let mut route = Route {
            addresses: vec![address("127.0.0.1:1"), address("127.0.0.1:2")],
            worked: None,
            tried: Vec::new(),
        };
        let first = route.next().await;
        assert!(route.has_others(&first).await);
        route.worked(first.clone());
        route.left(first.clone());
        let second = route.next().await;
        assert_ne!(second, first);
        assert!(!route.failed(second).await);
        assert_eq!(route.next().await, first);
        route.addresses.pop();
        assert!(!route.has_others(&first).await);
    }
}
