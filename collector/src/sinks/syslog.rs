//! Syslog over TLS: RFC 5424 messages in RFC 5425 frames.

mod message;
mod receiver;

pub use message::Message;
pub use receiver::{Receiver, ReceiverError};
