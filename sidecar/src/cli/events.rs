use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::timeout;

/// Server-sent events of a node, of which each has one line of data.
#[derive(Debug)]
pub(crate) struct Events {
    answer: reqwest::Response,
    lines: Lines,
}

/// Lines out of bytes that come in pieces.
#[derive(Debug, Default)]
struct Lines {
    /// What has come and was not given out.
    bytes: Vec<u8>,
    /// How much of it has no line end.
    searched: usize,
}

impl Events {
    /// Those of this answer.
    pub(crate) fn new(answer: reqwest::Response) -> Self {
        Self {
            answer,
            lines: Lines::default(),
        }
    }

    /// The data of the next event. An error means that there are no more.
    pub(crate) async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(data) = self.lines.data()? {
                return Ok(data);
            }
            let more = timeout(SILENCE_MAX, self.answer.chunk()).await;
            match more.context("the node says nothing any more")? {
                Ok(Some(more)) => self.lines.bytes.extend_from_slice(&more),
                Ok(None) => bail!("the node ended the connection"),
                Err(error) => return Err(error.without_url()).context("the connection is lost"),
            }
        }
    }
}

impl Lines {
    /// The data in the next line that has some, if it has come.
    fn data(&mut self) -> anyhow::Result<Option<String>> {
        while let Some(end) = self.bytes[self.searched..].iter().position(|b| *b == b'\n') {
            let line: Vec<_> = self.bytes.drain(..=self.searched + end).collect();
            self.searched = 0;
            if let Some(data) = line.strip_prefix(b"data: ") {
                let data = String::from_utf8(data.trim_ascii_end().to_vec());
                return data.map(Some).context("the node sends what is no text");
            }
        }
        self.searched = self.bytes.len();
        ensure!(
            self.searched <= LINE_BYTES_MAX,
            "the node sends a line without an end"
        );
        Ok(None)
    }
}

/// How long a node may be silent: it gives a sign of life much more often.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest line that a node may send.
const LINE_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_taken_out_of_the_lines_wherever_they_are_cut() {
        let text = b"event: a\ndata: {\"n\":1}\n\n:\n\ndata: two\r\n\nda";
        for cut in 0..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                lines.bytes.extend_from_slice(part);
                while let Some(data) = lines.data().unwrap() {
                    found.push(data);
                }
            }
            assert_eq!(found, ["{\"n\":1}", "two"], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut lines = Lines {
            bytes: vec![b'x'; LINE_BYTES_MAX + 1],
            searched: 0,
        };
        assert!(lines.data().is_err());
    }
}
