use std::fmt;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// What a server said to one client in one step.
///
/// Two are equal if they differ only in what the protocol leaves open. Messages are in the order in which
/// they came within each subscription, and sorted by subscription; all else is in the order in which it
/// came. Of INFO there are the fields that clients decide by, and PING is left out, which comes by time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    messages: Vec<Message>,
    others: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    sid: String,
    text: Vec<u8>,
}

/// What stands at the beginning of what a server said.
pub(super) enum Heard {
    /// A whole operation, and how many bytes it takes.
    Whole(Operation, usize),
    /// Its end has not come.
    Part,
}

/// What a server says.
pub(super) enum Operation {
    /// A message of this subscription.
    Message(String),
    Pong,
    /// Asked for a sign of life, which servers do by time.
    Ping,
    Info(Map<String, Value>),
    Other,
}

/// The fields of INFO that clients decide by and that depend neither on the machine nor on the server's
/// name: they have to be the same.
const FIELDS: [&str; 9] = [
    "proto",
    "headers",
    "max_payload",
    "version",
    "client_ip",
    "auth_required",
    "tls_required",
    "tls_verify",
    "jetstream",
];

impl Told {
    /// This operation came.
    pub(super) fn add(&mut self, operation: Operation, bytes: &[u8]) {
        match operation {
            Operation::Message(sid) => {
                let text = bytes.to_vec();
                let at = self.messages.partition_point(|other| other.sid <= sid);
                self.messages.insert(at, Message { sid, text });
            }
            Operation::Info(info) => {
                let fields = info.into_iter();
                let fields = fields.filter(|(name, _)| FIELDS.contains(&name.as_str()));
                let fields: Map<_, _> = fields.collect();
                self.others.push(format!("INFO {}", Value::Object(fields)));
            }
            Operation::Ping => {}
            Operation::Pong | Operation::Other => {
                self.others.push(readable(bytes));
            }
        }
    }

    /// The server closed, whatever it said before.
    pub(super) fn add_end(&mut self) {
        self.others.push("(closed)".to_owned());
    }

    /// Bytes came that are no operation.
    pub(super) fn add_rest(&mut self, bytes: &[u8]) {
        self.others.push(format!("(then) {}", readable(bytes)));
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = self.messages.iter();
        let messages = messages.map(|message| readable(&message.text));
        for text in self.others.iter().cloned().chain(messages) {
            let (shown, more) = match text.char_indices().nth(SHOWN_MAX) {
                Some((end, _)) => (&text[..end], " …"),
                None => (&text[..], ""),
            };
            writeln!(f, "        {shown}{more}")?;
        }
        Ok(())
    }
}

/// Bytes as text for people.
fn readable(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    text.replace("\\\"", "\"").replace("\\'", "'")
}

/// Reads the first operation of what a server said.
pub(super) fn first(said: &[u8]) -> Result<Heard> {
    let Some(end) = said.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(Heard::Part);
    };
    let (line, after) = (&said[..end], end + 2);
    let text = String::from_utf8_lossy(line);
    let words: Vec<_> = text.split(' ').collect();
    let operation = match words[..] {
        ["MSG" | "HMSG", _, sid, .., size] => {
            let size: usize = size.parse().with_context(|| text.to_string())?;
            let end = after + size + 2;
            return match said.get(after + size..end) {
                Some(b"\r\n") => Ok(Heard::Whole(Operation::Message(sid.to_owned()), end)),
                Some(_) => bail!("a message is longer than it says: {text}"),
                None => Ok(Heard::Part),
            };
        }
        ["INFO", ..] => {
            let json = text["INFO ".len()..].trim();
            let info = serde_json::from_str(json).with_context(|| json.to_owned())?;
            Operation::Info(info)
        }
        ["PONG"] => Operation::Pong,
        ["PING"] => Operation::Ping,
        _ => Operation::Other,
    };
    Ok(Heard::Whole(operation, after))
}

/// How much of an operation is shown.
const SHOWN_MAX: usize = 300;
