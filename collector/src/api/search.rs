//! Searching the log for records, in its order.

use crate::audit::show::Filter;
use crate::audit::{Follower, inventory};
use norma_wire::Event;
use norma_wire::api::{QueryReply, QueryRequest};
use norma_wire::audit::{Record, record::Body};
use prost::Message as _;
use std::path::Path;
use tonic::Status;

/// Records that are read together.
const TOGETHER: usize = 512;

/// Gives each record up to `newest` that fits to `each`, until that says that nobody wants more.
pub fn search(
    directory: &Path,
    newest: u64,
    query: &QueryRequest,
    each: &mut dyn FnMut(Result<QueryReply, Status>) -> bool,
) {
    let filter = Filter {
        kinds: query.kinds.clone(),
        alerts: query.alerts,
        ..Filter::default()
    };
    // Files that ended before the time are passed over.
    let extents = match inventory::extents(directory, newest) {
        Ok(extents) => extents,
        Err(error) => {
            each(Err(Status::data_loss(error.to_string())));
            return;
        }
    };
    let mut left = if query.limit == 0 { u64::MAX } else { query.limit };
    for extent in extents
        .iter()
        .filter(|extent| extent.until_ns >= query.from_wall_ns)
    {
        let (first, last) = (extent.records.0, extent.records.1.min(newest));
        let mut follower = Follower::new(directory, first);
        while follower.next_index() <= last {
            let records = match follower.read(last, TOGETHER) {
                Ok(records) => records,
                Err(error) => {
                    each(Err(Status::data_loss(error.to_string())));
                    return;
                }
            };
            for record in records {
                let event = match &record.body {
                    Some(Body::Event(bytes)) => Event::decode(bytes.clone()).ok(),
                    _ => None,
                };
                if !fits(query, &record, event.as_ref()) || !filter.matches(&record, event.as_ref()) {
                    continue;
                }
                let reply = QueryReply {
                    record: record.encode_to_vec(),
                };
                left -= 1;
                if !each(Ok(reply)) || left == 0 {
                    return;
                }
            }
        }
    }
}

fn fits(query: &QueryRequest, record: &Record, event: Option<&Event>) -> bool {
    let time = record.received_wall_ns;
    if time < query.from_wall_ns || (query.to_wall_ns != 0 && time > query.to_wall_ns) {
        return false;
    }
    let any = |wanted: &[String], found: Option<&str>| {
        wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|wanted| wanted == found))
    };
    let container = event.and_then(|event| event.container.as_ref());
    any(&query.nodes, node(record, event))
        && any(
            &query.namespaces,
            container.map(|container| container.namespace.as_str()),
        )
}

/// The node that a record is about, where it is about one.
fn node<'a>(record: &'a Record, event: Option<&'a Event>) -> Option<&'a str> {
    match &record.body {
        Some(Body::Event(_)) => event?.id.as_ref().map(|id| id.node.as_str()),
        Some(Body::Rejected(rejected)) => Some(&rejected.node),
        Some(Body::Gap(gap)) => Some(&gap.node),
        Some(Body::Refused(refused)) => Some(&refused.node),
        Some(Body::Enrolled(enrolled)) => Some(&enrolled.node),
        Some(Body::NodeKey(key)) => Some(&key.node),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{self, AuditSettings, WriterSettings};
    use norma_wire::audit::{Administration, Refused};
    use std::time::Duration;

    fn found(directory: &Path, newest: u64, query: &QueryRequest) -> Vec<u64> {
        let mut indexes = Vec::new();
        search(directory, newest, query, &mut |reply| {
            let record = Record::decode(reply.unwrap().record.as_slice()).unwrap();
            indexes.push(record.index);
            true
        });
        indexes
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_search_goes_on_over_what_policy_removed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("audit");
        let settings = AuditSettings {
            writer: WriterSettings {
                segment_bytes: 4096,
                segment_age: Duration::from_secs(3600),
                commit_interval: Duration::ZERO,
            },
            checkpoint_interval: Duration::from_secs(3600),
            key: folder.path().join("audit.key").into(),
            next_key: None,
            origin: None,
        };
        let (log, writing) = audit::open(&directory, &settings).unwrap();
        for number in 0..12 {
            let body = if number % 2 == 0 {
                Body::Refused(Refused {
                    reason: "x".repeat(1500),
                    ..Refused::default()
                })
            } else {
                Body::Administration(Administration {
                    object: "y".repeat(1500),
                    ..Administration::default()
                })
            };
            log.note(body).await.unwrap();
        }
        let newest = log.head().borrow().index;
        writing.stop("test").await.unwrap();
        let refused = QueryRequest {
            kinds: vec!["refused".to_owned()],
            ..QueryRequest::default()
        };
        let all = found(&directory, newest, &refused);
        assert_eq!(all.len(), 6);
        let extents = inventory::extents(&directory, newest).unwrap();
        assert!(extents.len() >= 4, "{extents:?}");
        // The first, and one in the middle.
        let gone = [extents[0], extents[2]];
        for extent in gone {
            std::fs::remove_file(directory.join(format!("audit-{:020}.log", extent.records.0))).unwrap();
        }
        let kept = |index: &u64| {
            !gone
                .iter()
                .any(|gone| (gone.records.0..=gone.records.1).contains(index))
        };
        let expected: Vec<u64> = all.into_iter().filter(kept).collect();
        assert!(!expected.is_empty());
        assert_eq!(found(&directory, newest, &refused), expected);
        let limited = QueryRequest { limit: 1, ..refused };
        assert_eq!(found(&directory, newest, &limited), expected[..1]);
    }
}
