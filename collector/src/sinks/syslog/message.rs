//! One record as an RFC 5424 message.

use crate::audit::show::{is_alert, record_kind, words};
use crate::config::Send;
use jiff::Timestamp;
use norma_wire::audit::{Record, record::Body};
use norma_wire::pb::{Action, Severity, VerdictKind};
use norma_wire::text::single_line;
use norma_wire::{Detail, Event, describe, id, json};
use prost::Message as _;
use std::fmt::Write as _;

/// Facility `log audit` (RFC 5424 table 1).
const FACILITY: u8 = 13;
/// The enterprise number that RFC 5612 sets aside for examples: Norma has none of its own yet.
const ENTERPRISE: u32 = 32473;
/// RFC 5425 section 4.3.1: receivers should take messages of 8192 octets.
const MAX_MESSAGE: usize = 8192;
/// Bound of one parameter value, in octets before escaping; all of them together stay well below
/// [`MAX_MESSAGE`] and leave room for the text.
const MAX_VALUE: usize = 300;
/// RFC 5424 section 6.
const MAX_HOSTNAME: usize = 255;
const MAX_MSGID: usize = 32;
/// Ends what was cut.
const CUT: &str = "…[cut]";
/// RFC 5424 section 6.4: marks the text as UTF-8; ASCII needs no mark.
const BOM: &str = "\u{feff}";

/// A message, ready to be framed.
#[derive(Debug)]
pub struct Message(String);

impl Message {
    /// The message for a record; `None` where the sink does not send it.
    pub fn of(record: &Record, send: Send) -> Option<Self> {
        let event = match &record.body {
            Some(Body::Event(bytes)) => Event::decode(bytes.clone()).ok(),
            _ => None,
        };
        // Signatures prove the log, which a SIEM's copy is not.
        let proof = matches!(record.body, Some(Body::BatchHeads(_) | Body::NodeKey(_)));
        let wanted = (send == Send::All && !proof) || is_alert(record, event.as_ref());
        wanted.then(|| Self::format(record, event.as_ref()))
    }

    /// Appends the message in an octet-counted frame (RFC 5425 section 4.3).
    pub fn push_frame(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{} ", self.0.len()).as_bytes());
        out.extend_from_slice(self.0.as_bytes());
    }

    fn format(record: &Record, event: Option<&Event>) -> Self {
        let wall_ns = event.map_or(record.received_wall_ns, |event| event.wall_ns);
        let kind = event.map_or_else(|| record_kind(record.body.as_ref()).to_owned(), describe::kind);
        let priority = FACILITY * 8 + severity(record, event);
        let mut message = format!(
            "<{priority}>1 {} {} norma - {} {}[timeQuality tzKnown=\"1\"] ",
            timestamp(wall_ns),
            header_field(host(record, event), MAX_HOSTNAME),
            header_field(&kind, MAX_MSGID),
            structured_data(record, event),
        );
        let text = event.map_or_else(|| single_line(&words(record, None)), describe::alert);
        if !text.is_ascii() {
            message.push_str(BOM);
        }
        message.push_str(&cut(&text, MAX_MESSAGE.saturating_sub(message.len())).0);
        Self(message)
    }
}

/// The node that a record is about, `-` for the collector itself.
fn host<'a>(record: &'a Record, event: Option<&'a Event>) -> &'a str {
    let event_node = event
        .and_then(|event| event.id.as_ref())
        .map(|id| id.node.as_str());
    event_node.unwrap_or(match &record.body {
        Some(Body::Rejected(rejected)) => &rejected.node,
        Some(Body::Gap(gap)) => &gap.node,
        Some(Body::Refused(refused)) => &refused.node,
        _ => "",
    })
}

/// Syslog's severity (RFC 5424 table 2).
fn severity(record: &Record, event: Option<&Event>) -> u8 {
    const CRITICAL: u8 = 2;
    const ERROR: u8 = 3;
    const WARNING: u8 = 4;
    const NOTICE: u8 = 5;
    const INFORMATIONAL: u8 = 6;
    match event.map(id::severity) {
        Some(Severity::Critical) => CRITICAL,
        Some(Severity::High) => ERROR,
        Some(Severity::Medium) => WARNING,
        Some(Severity::Low) => NOTICE,
        None if is_alert(record, None) => WARNING,
        _ => INFORMATIONAL,
    }
}

/// RFC 3339 with six digits, which is all that RFC 5424 allows; cut, never rounded up.
fn timestamp(wall_ns: u64) -> String {
    Timestamp::from_microsecond((wall_ns / 1000) as i64)
        .map_or_else(|_| "-".to_owned(), |time| format!("{time:.6}"))
}

/// Printable ASCII of bounded length, or the nil value.
fn header_field(text: &str, max: usize) -> String {
    let field: String = text.chars().filter(char::is_ascii_graphic).take(max).collect();
    if field.is_empty() { "-".to_owned() } else { field }
}

fn structured_data(record: &Record, event: Option<&Event>) -> String {
    let mut data = Element {
        text: format!("[norma@{ENTERPRISE}"),
        cut: false,
    };
    data.param("index", &record.index.to_string());
    match &record.body {
        Some(Body::Event(_)) => {}
        Some(Body::Rejected(rejected)) => {
            data.param(
                "claimed",
                &rejected
                    .claimed
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            );
            data.param("reason", &rejected.detail);
        }
        Some(Body::Refused(refused)) => {
            data.param("peer", &refused.peer);
            data.param("reason", &refused.reason);
            data.param("count", &refused.count.to_string());
        }
        _ => {}
    }
    if let Some(event) = event {
        event_params(&mut data, event);
    }
    if data.cut {
        data.param("cut", "1");
    }
    data.text.push(']');
    data.text
}

fn event_params(data: &mut Element, event: &Event) {
    data.param(
        "id",
        &event.id.as_ref().map(ToString::to_string).unwrap_or_default(),
    );
    if let Some(verdict) = &event.verdict {
        data.param("verdict", &json::name::<VerdictKind>(verdict.kind));
        data.param("score", &verdict.score.to_string());
    }
    data.param("severity", &json::name::<Severity>(id::severity(event).into()));
    if let Some(incident) = &event.incident {
        data.param("incident", &incident.id);
        data.param("incident_findings", &incident.findings.to_string());
    }
    if let Some(container) = &event.container {
        data.param("container_id", &container.id);
        data.param("container", &container.name);
        data.param("workload", &container.workload);
        data.param("image", &container.image);
    }
    if let Some(process) = &event.process {
        data.param("exe", &process.exe);
        data.param("pid", &process.pid.to_string());
    }
    if let Some(sha256) = executed(event) {
        data.param("sha256", sha256);
    }
    let reasons = event.verdict.iter().flat_map(|verdict| &verdict.reasons);
    let list = |texts: Vec<&str>| texts.join(", ");
    data.param(
        "reason",
        &list(reasons.clone().map(|reason| reason.code.as_str()).collect()),
    );
    data.param(
        "policy",
        reasons
            .clone()
            .map(|reason| reason.policy.as_str())
            .find(|name| !name.is_empty())
            .unwrap_or(""),
    );
    data.param(
        "controls",
        &list(
            reasons
                .flat_map(|reason| &reason.controls)
                .map(String::as_str)
                .collect(),
        ),
    );
    let actions: Vec<_> = event
        .responses
        .iter()
        .map(|response| json::name::<Action>(response.action))
        .collect();
    data.param("response", &actions.join(", "));
}

/// Hash of the file that an event is about, where it is known: what was executed, which is the script if there is one.
fn executed(event: &Event) -> Option<&str> {
    let hash = match &event.detail {
        Some(Detail::Exec(exec)) => exec
            .script
            .as_ref()
            .map_or(exec.hash.as_ref(), |script| script.hash.as_ref()),
        Some(Detail::FileHash(file)) => file.hash.as_ref(),
        _ => None,
    };
    hash.map(|hash| hash.sha256.as_str())
}

/// An SD-ELEMENT being written.
struct Element {
    text: String,
    cut: bool,
}

impl Element {
    /// Adds a parameter that has a value.
    fn param(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let (value, was_cut) = cut(&single_line(value), MAX_VALUE);
        self.cut |= was_cut;
        let mut escaped = String::with_capacity(value.len());
        for character in value.chars() {
            if matches!(character, '"' | '\\' | ']') {
                escaped.push('\\');
            }
            escaped.push(character);
        }
        // Writing to a String cannot fail.
        let _infallible = write!(self.text, " {name}=\"{escaped}\"");
    }
}

/// At most `max` octets of a text, marked where that is not all of it.
fn cut(text: &str, max: usize) -> (String, bool) {
    if text.len() <= max {
        return (text.to_owned(), false);
    }
    let end = text.floor_char_boundary(max.saturating_sub(CUT.len()));
    (format!("{}{CUT}", &text[..end]), true)
}
