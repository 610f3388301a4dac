use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::repository;

/// What some clients do, step by step. Clients are connected when they are first named.
///
/// A file has several, each after a line `== its name`. Lines that begin with `#` are for people, those
/// that begin with `@` are settings of the server, and all others are steps:
///
/// ```text
/// @max_payload 1000
/// a> SUB weather.* 1            a line, ended by CR LF, and a PING that is answered after it
/// a> PUB x 2\r\nhi              \r, \n, \t, \\ and \xff stand for bytes
/// a> PUB x 300\r\n{300*y}       many times the same
/// a+ PU                         bytes without an end and without a PING
/// a! PUB x 1001                 a line after which the server is to close
/// a close                       the client closes
/// ```
#[derive(Debug, Clone)]
pub struct Script {
    /// What it shows.
    pub name: String,
    /// Settings that the server is to have.
    pub settings: Vec<Setting>,
    /// What is done.
    pub steps: Vec<Step>,
}

/// Something that a server is set up with, by its name and value.
pub type Setting = (String, String);

/// What one client does.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which client.
    pub client: String,
    /// What it does.
    pub deed: Deed,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.deed {
            Deed::Line(bytes) | Deed::Part(bytes) | Deed::Last(bytes) => &bytes[..],
            Deed::Close => b"close",
        };
        let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
        write!(f, "{}> {}", self.client, shown.escape_ascii())
    }
}

/// What a client can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Sends a line, and waits for the answer to a PING behind it.
    Line(Vec<u8>),
    /// Sends bytes and waits for nothing.
    Part(Vec<u8>),
    /// Sends a line and waits until the server closes.
    Last(Vec<u8>),
    /// Closes.
    Close,
}

/// A script in which a node is known to say something else than the NATS server, and why.
#[derive(Debug, Clone)]
pub struct Deviation {
    /// The script.
    pub script: String,
    /// Why, in the words of docs/clients.md.
    pub reason: String,
}

/// All scripts of `tests/scripts`, in order.
pub fn scripts() -> Result<Vec<Script>> {
    let mut scripts = Vec::new();
    for path in files()? {
        let text = std::fs::read_to_string(&path)?;
        let parsed = parse(&text).with_context(|| path.display().to_string())?;
        scripts.extend(parsed);
    }
    let mut names: Vec<_> = scripts.iter().map(|script| &script.name).collect();
    names.sort();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(twice.is_none(), "two scripts are called {twice:?}");
    Ok(scripts)
}

/// The scripts in which nodes deviate: lines `name of the script | reason` of `tests/scripts/DEVIATIONS`.
pub fn deviations() -> Result<Vec<Deviation>> {
    let text = std::fs::read_to_string(directory().join("DEVIATIONS"))?;
    let lines = text.lines().filter(|line| !is_remark(line));
    let deviation = |line: &str| {
        let (script, reason) = line.split_once(" | ").with_context(|| line.to_owned())?;
        let (script, reason) = (script.trim().to_owned(), reason.trim().to_owned());
        Ok(Deviation { script, reason })
    };
    lines.map(deviation).collect()
}

fn directory() -> PathBuf {
    repository().join("tests/scripts")
}

fn files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "txt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_remark(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

fn parse(text: &str) -> Result<Vec<Script>> {
    let mut scripts: Vec<Script> = Vec::new();
    for line in text.lines().filter(|line| !is_remark(line)) {
        if let Some(name) = line.strip_prefix("== ") {
            scripts.push(Script {
                name: name.trim().to_owned(),
                settings: Vec::new(),
                steps: Vec::new(),
            });
            continue;
        }
        let script = scripts.last_mut().context("a step before any name")?;
        if let Some(setting) = line.strip_prefix('@') {
            let (name, value) = setting.split_once(' ').with_context(|| line.to_owned())?;
            script.settings.push((name.to_owned(), value.to_owned()));
        } else {
            script
                .steps
                .push(step(line).with_context(|| line.to_owned())?);
        }
    }
    Ok(scripts)
}

fn step(line: &str) -> Result<Step> {
    let (head, text) = line.split_once(' ').unwrap_or((line, ""));
    let ended = |bytes: Vec<u8>| [&bytes[..], b"\r\n"].concat();
    let (client, deed) = match head.split_at(head.len() - 1) {
        (client, ">") => (client, Deed::Line(ended(bytes(text)?))),
        (client, "+") => (client, Deed::Part(bytes(text)?)),
        (client, "!") => (client, Deed::Last(ended(bytes(text)?))),
        _ if text == "close" => (head, Deed::Close),
        _ => bail!("a step is `a> …`, `a+ …`, `a! …` or `a close`"),
    };
    let client = client.to_owned();
    Ok(Step { client, deed })
}

/// The bytes that a text stands for.
fn bytes(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match (first, repeated(rest)) {
            ('{', Some((count, repeated, after))) => {
                bytes.extend(self::bytes(repeated)?.repeat(count));
                after
            }
            ('\\', _) => escaped(after, &mut bytes)?,
            _ => {
                bytes.extend_from_slice(first.to_string().as_bytes());
                after
            }
        };
    }
    Ok(bytes)
}

/// `{300*y}` at the beginning of a text: how often, what, and what follows.
fn repeated(text: &str) -> Option<(usize, &str, &str)> {
    let (inner, after) = text.strip_prefix('{')?.split_once('}')?;
    let (count, what) = inner.split_once('*')?;
    Some((count.parse().ok()?, what, after))
}

fn escaped<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str> {
    let kind = text.chars().next().context("a \\ at the end")?;
    let after = &text[kind.len_utf8()..];
    let byte = match kind {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        '\\' => b'\\',
        'x' => {
            let digits = after.get(..2).context("\\x has two digits")?;
            bytes.push(u8::from_str_radix(digits, 16)?);
            return Ok(&after[2..]);
        }
        other => bail!("there is no \\{other}"),
    };
    bytes.push(byte);
    Ok(after)
}

/// How much of a step is shown.
const SHOWN_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_as_they_are_written() {
        let text = "# for people\n== one\n@max_payload 9\nlong> SUB a {2*x\\xff}\\r\\n{\"a\":1}\na+ PU\na close\n";
        let scripts = parse(text).unwrap();
        let script = &scripts[0];
        assert_eq!(script.name, "one");
        assert_eq!(script.settings, [("max_payload".into(), "9".into())]);
        let deeds: Vec<_> = script.steps.iter().map(|step| step.deed.clone()).collect();
        let line = b"SUB a x\xffx\xff\r\n{\"a\":1}\r\n".to_vec();
        assert_eq!(
            deeds,
            [Deed::Line(line), Deed::Part(b"PU".into()), Deed::Close]
        );
        assert_eq!(script.steps[0].client, "long");
        assert!(parse("a> x").is_err() && parse("== n\nx\n").is_err());
    }
}
