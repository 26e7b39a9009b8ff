//! DNS messages.
//!
//! What a program puts on port 53 is its own choice: any bytes give a message or the reason why they are none.

use crate::observation::{DnsAnswer, DnsMessage};
use domain::base::iana::Rcode;
use domain::base::name::Label;
use domain::base::{Message, ParsedName, RecordSection, ToName};
use domain::rdata::AllRecordData;
use norma_wire::text::printable;

/// Most records of an answer that are taken.
const ANSWERS_MAX: usize = 64;
/// Longest content of a record that is taken, in bytes of its text.
const VALUE_MAX: usize = 512;
const HEADER: usize = 12;

/// What a message says, or why nothing can be said of it. `cut` tells that `bytes` are only its beginning.
///
/// By TCP each message follows its length, but programs may send the two apart; the bytes are those of one
/// segment.
pub fn message(bytes: &[u8], tcp: bool, cut: bool) -> Result<DnsMessage, String> {
    if !tcp {
        return parse(bytes, cut);
    }
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
        return Err("a segment of one byte".to_owned());
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if rest.is_empty() {
        return Err("the length of a message that follows in another segment".to_owned());
    }
    let prefixed = if length < HEADER {
        Err(format!("a message of {length} bytes has no room for its header"))
    } else {
        let message = &rest[..rest.len().min(length)];
        parse(message, message.len() < length)
    };
    // A later segment of a long message hardly ever reads as one, and is told by the first failure.
    prefixed
        .or_else(|why| parse(bytes, cut).map_err(|_| format!("no message, or a later part of one: {why}")))
}

fn parse(bytes: &[u8], cut: bool) -> Result<DnsMessage, String> {
    let message =
        Message::from_octets(bytes).map_err(|_| format!("{} bytes are less than a header", bytes.len()))?;
    let header = message.header();
    let counts = message.header_counts();
    let mut questions = message.question();
    let question = match questions.next() {
        None if counts.qdcount() == 0 => None,
        None => return Err("the question is missing".to_owned()),
        Some(Err(error)) => return Err(format!("the question: {error}")),
        Some(Ok(question)) => Some(question),
    };
    if question.is_none() && !header.qr() {
        return Err("a query without a question".to_owned());
    }
    let mut incomplete = match (cut, header.tc(), counts.qdcount()) {
        (true, ..) => Some("cut on its way to the agent".to_owned()),
        (_, true, _) => Some("the server has cut it".to_owned()),
        (_, _, 2..) => Some(format!("{} questions in one message", counts.qdcount())),
        _ => None,
    };
    let mut answers = Vec::new();
    if header.qr() {
        let taken = match questions.answer() {
            Ok(section) => take_answers(section, &mut answers),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = taken {
            incomplete.get_or_insert(why);
        }
    }
    Ok(DnsMessage {
        id: header.id(),
        answer: header.qr(),
        name: question
            .as_ref()
            .map(|question| name(question.qname()))
            .unwrap_or_default(),
        record_type: question
            .as_ref()
            .map(|question| question.qtype().to_string())
            .unwrap_or_default(),
        code: if header.qr() {
            code(header.rcode())
        } else {
            String::new()
        },
        answers,
        incomplete,
    })
}

fn take_answers(section: RecordSection<'_, &[u8]>, answers: &mut Vec<DnsAnswer>) -> Result<(), String> {
    for record in section {
        let record = record.map_err(|error| format!("a record of the answer: {error}"))?;
        if answers.len() == ANSWERS_MAX {
            return Err(format!("more than {ANSWERS_MAX} records"));
        }
        let value = match record.to_any_record::<AllRecordData<_, ParsedName<_>>>() {
            Ok(whole) => value(whole.data()),
            Err(error) => format!("<{error}>"),
        };
        answers.push(DnsAnswer {
            name: name(&record.owner()),
            record_type: record.rtype().to_string(),
            value,
            ttl: record.ttl().as_secs(),
        });
    }
    Ok(())
}

fn value(data: &AllRecordData<&[u8], ParsedName<&[u8]>>) -> String {
    let mut text = match data {
        AllRecordData::Cname(data) => name(data.cname()),
        AllRecordData::Ns(data) => name(data.nsdname()),
        AllRecordData::Ptr(data) => name(data.ptrdname()),
        AllRecordData::Mx(data) => format!("{} {}", data.preference(), name(data.exchange())),
        AllRecordData::Srv(data) => format!(
            "{} {} {} {}",
            data.priority(),
            data.weight(),
            data.port(),
            name(data.target())
        ),
        AllRecordData::Txt(data) => {
            let parts: Vec<String> = data.iter().map(printable).collect();
            parts.join(" ")
        }
        other => printable(other.to_string().as_bytes()),
    };
    if text.len() > VALUE_MAX {
        let end = (0..=VALUE_MAX)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
        text.push('\u{2026}');
    }
    text
}

/// A name in its usual form, without the dot at its end.
fn name(name: &impl ToName) -> String {
    let labels: Vec<String> = name
        .iter_labels()
        .filter(|label| !label.is_root())
        .map(label)
        .collect();
    if labels.is_empty() {
        ".".to_owned()
    } else {
        labels.join(".")
    }
}

fn label(label: &Label) -> String {
    label
        .as_slice()
        .iter()
        .map(|byte| match byte {
            b'.' | b'\\' => format!("\\x{byte:02X}"),
            byte if byte.is_ascii_graphic() => char::from(*byte).to_string(),
            byte => format!("\\x{byte:02X}"),
        })
        .collect()
}

fn code(code: Rcode) -> String {
    code.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query for `a.example`, type A, id 0x1234.
    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01";

    fn answer() -> Vec<u8> {
        let mut bytes = QUERY.to_vec();
        bytes[2] = 0x81;
        bytes[3] = 0x80;
        bytes[7] = 2;
        bytes.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01b\xc0\x0e");
        bytes.extend(b"\xc0\x0e\x00\x01\x00\x01\x00\x00\x00\x3d\x00\x04\xc0\x00\x02\x0a");
        bytes
    }

    #[test]
    fn a_query_names_what_it_asks_for() {
        let query = message(QUERY, false, false).unwrap();
        assert_eq!(
            (
                query.id,
                query.answer,
                query.name.as_str(),
                query.record_type.as_str()
            ),
            (0x1234, false, "a.example", "A")
        );
        assert_eq!((query.code.as_str(), query.incomplete), ("", None));
    }

    #[test]
    fn an_answer_gives_its_records_with_their_ttl() {
        let answer = message(&answer(), false, false).unwrap();
        assert_eq!((answer.answer, answer.code.as_str()), (true, "NOERROR"));
        let records: Vec<_> = answer
            .answers
            .iter()
            .map(|record| {
                (
                    record.name.as_str(),
                    record.record_type.as_str(),
                    record.value.as_str(),
                    record.ttl,
                )
            })
            .collect();
        assert_eq!(
            records,
            [
                ("a.example", "CNAME", "b.example", 60),
                ("example", "A", "192.0.2.10", 61)
            ]
        );
    }

    #[test]
    fn a_cut_answer_gives_what_is_there_and_says_so() {
        let whole = answer();
        let part = message(&whole[..whole.len() - 2], false, true).unwrap();
        assert_eq!((part.name.as_str(), part.answers.len()), ("a.example", 1));
        assert!(part.incomplete.is_some());
    }

    #[test]
    fn a_length_goes_before_a_message_by_tcp_or_comes_apart() {
        let mut bytes = (QUERY.len() as u16).to_be_bytes().to_vec();
        bytes.extend(QUERY);
        assert_eq!(message(&bytes, true, false).unwrap().name, "a.example");
        assert_eq!(message(QUERY, true, false).unwrap().name, "a.example");
        assert!(message(&bytes[..2], true, false).unwrap_err().contains("length"));
        assert!(message(&bytes[..1], true, false).is_err());
    }

    #[test]
    fn garbage_is_told_with_the_reason() {
        assert!(
            message(b"GET / HTTP", false, false)
                .unwrap_err()
                .contains("header")
        );
        assert!(
            message(&[0xff; 40], false, false)
                .unwrap_err()
                .contains("question")
        );
        // A name that points at itself.
        let mut bytes = QUERY[..12].to_vec();
        bytes.extend(b"\xc0\x0c\x00\x01\x00\x01");
        assert!(message(&bytes, false, false).is_err());
    }

    #[test]
    fn names_cannot_break_a_line_or_hide_a_dot() {
        let mut bytes = QUERY[..12].to_vec();
        bytes.extend(b"\x05a\n.\x1b\\\x00\x00\x01\x00\x01");
        assert_eq!(message(&bytes, false, false).unwrap().name, r"a\x0A\x2E\x1B\x5C");
    }
}
