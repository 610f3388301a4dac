use std::io::{IsTerminal, Read};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use tidings::{Headers, MemberId, Message, NodeId, Outcome, Pattern, Time, Topic};
use tidings_sidecar::answers::{AssuredAnswer, ErrorAnswer, OutcomeAnswer};

use crate::cli::client::{Client, ClientArgs, inbox};
use crate::cli::stdout;
use crate::cli::table::table;

/// Publish a message, and return once the node has taken it, or with --assured once all members have
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
    /// Only for the member with this id, wherever it is; `tidings members` shows the ids
    #[arg(long, value_name = "ID", conflicts_with_all = ["local", "node"])]
    member: Option<MemberId>,
    /// How many times to publish it
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// Wait until every member has taken the message, print what became of it with each, and fail unless all have
    #[arg(long, conflicts_with_all = ["count", "local", "node", "member"])]
    assured: bool,
    /// How long to wait for that, 1 ms to 10 min
    #[arg(long, value_name = "TIME", default_value = "5s", requires = "assured")]
    timeout: Time<1, 600_000>,
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
    let member = args
        .member
        .map(|member| ("Tidings-Member".to_owned(), member.to_string()));
    // First, because of headers of one name the first counts.
    let headers = reach
        .into_iter()
        .chain(node)
        .chain(member)
        .chain(args.header);
    let headers = headers.into_iter().try_fold(Headers::default(), add)?;
    let message = Message::new(args.topic, payload(args.payload)?).with_headers(headers);
    let mut client = args.client.connect().await?;
    if args.assured {
        return assured(&mut client, message, args.timeout).await;
    }
    for _ in 0..args.count {
        client.publish(&message).await?;
    }
    client.flush().await?;
    Ok(())
}

/// Publishes it, and prints what became of it.
async fn assured(
    client: &mut Client,
    mut message: Message,
    timeout: Time<1, 600_000>,
) -> anyhow::Result<()> {
    let reply_to = inbox();
    client.subscribe(&Pattern::from(&reply_to)).await?;
    message.reply_to = Some(reply_to.clone());
    message.headers = message
        .headers
        .with("Tidings-Assured", &timeout.to_string())?;
    client.publish(&message).await?;
    let early = client.flush().await?;
    let answer = match early.into_iter().find(|message| message.topic == reply_to) {
        Some(answer) => answer,
        None => client.answer(&reply_to, timeout.get()).await?,
    };
    if let Ok(ErrorAnswer { error }) = serde_json::from_slice(&answer.payload) {
        bail!(error);
    }
    let answer: AssuredAnswer =
        serde_json::from_slice(&answer.payload).context("the node's answer is not as it is")?;
    stdout::write(human(&answer).as_bytes())?;
    let lacks =
        |member: &&OutcomeAnswer| !matches!(member.outcome, Outcome::Taken | Outcome::Acknowledged);
    let (all, lacking) = (
        answer.members.len(),
        answer.members.iter().filter(lacks).count(),
    );
    ensure!(
        answer.complete,
        "{lacking} of {all} members have not taken the message"
    );
    Ok(())
}

fn human(answer: &AssuredAnswer) -> String {
    let row = |member: &OutcomeAnswer| {
        let agent = member.agent.as_ref();
        let agent = agent.map_or("-".into(), ToString::to_string);
        let (node, id) = (member.node.to_string(), member.member.to_string());
        [node, agent, id, member.outcome.to_string()]
    };
    let rows: Vec<_> = answer.members.iter().map(row).collect();
    table(["NODE", "AGENT", "MEMBER", "OUTCOME"], &rows)
}

pub(crate) fn payload(given: Option<String>) -> anyhow::Result<Bytes> {
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

pub(crate) fn header(text: &str) -> anyhow::Result<(String, String)> {
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
