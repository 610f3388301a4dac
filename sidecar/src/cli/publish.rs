use std::io::{IsTerminal, Read};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use tidings::{Headers, Message, NodeId, Topic};

use crate::cli::client::ClientArgs;

/// Publish a message, and return once the node has taken it
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The topic
    #[arg(value_parser = Topic::parse)]
    topic: Topic,
    /// The payload; `-`, or none while standard input is no terminal, reads standard input to its end
    payload: Option<String>,
    /// A header to send along; may be repeated
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Only for subscribers on the node that one connects to
    #[arg(long, conflicts_with = "node")]
    local: bool,
    /// Only for subscribers on the node of this name
    #[arg(long, value_name = "NAME")]
    node: Option<NodeId>,
    /// How many times to publish it
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    #[command(flatten)]
    client: ClientArgs,
}

/// Publishes it.
pub(crate) async fn publish(args: PublishArgs) -> anyhow::Result<()> {
    let add = |headers: Headers, (name, value): (String, String)| headers.with(&name, &value);
    let reach = args
        .local
        .then(|| ("Tidings-Reach".to_owned(), "local".to_owned()));
    let node = args
        .node
        .map(|node| ("Tidings-Node".to_owned(), node.to_string()));
    // First, because of headers of one name the first counts.
    let headers = reach.into_iter().chain(node).chain(args.header);
    let headers = headers.into_iter().try_fold(Headers::default(), add)?;
    let message = Message::new(args.topic, payload(args.payload)?).with_headers(headers);
    let mut client = args.client.connect().await?;
    for _ in 0..args.count {
        client.publish(&message).await?;
    }
    client.flush().await?;
    Ok(())
}

fn payload(given: Option<String>) -> anyhow::Result<Bytes> {
    let mut stdin = std::io::stdin();
    match given {
        Some(payload) if payload != "-" => Ok(payload.into()),
        None if stdin.is_terminal() => bail!("there is no payload; give one, or pipe one in"),
        _ => {
            let mut payload = Vec::new();
            stdin
                .read_to_end(&mut payload)
                .context("cannot read standard input")?;
            Ok(payload.into())
        }
    }
}

fn header(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once(':').context("a header is NAME:VALUE")?;
    let (name, value) = (name.to_owned(), value.trim().to_owned());
    Headers::default().with(&name, &value)?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_cut_at_its_first_colon() {
        assert_eq!(
            header("Trace: a:b ").unwrap(),
            ("Trace".into(), "a:b".into())
        );
        assert!(header("Trace").is_err());
        assert!(header("Tr ace: 1").is_err());
        assert!(header("Trace: 1\r\nOther: 2").is_err());
    }
}
