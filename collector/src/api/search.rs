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
    let mut follower = match first(directory, query.from_wall_ns) {
        Ok(first) => Follower::new(directory, first),
        Err(error) => {
            each(Err(error));
            return;
        }
    };
    let mut left = if query.limit == 0 { u64::MAX } else { query.limit };
    while follower.next_index() <= newest {
        let records = match follower.read(newest, TOGETHER) {
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

/// The first record that can be of the time: segments that ended before are passed over by their manifests.
fn first(directory: &Path, from_ns: u64) -> Result<u64, Status> {
    let sealed = inventory::sealed(directory).map_err(|error| Status::data_loss(error.to_string()))?;
    let passed = sealed
        .iter()
        .take_while(|sealed| sealed.time_ns.1 < from_ns)
        .last();
    Ok(passed.map_or(1, |sealed| sealed.records.1 + 1))
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
