use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tidings::{Headers, Message, Pattern, Topic};
use tokio::time::{Instant, timeout_at};

use crate::cli::client::{ClientArgs, inbox, is_nobody};
use crate::cli::publish::{header, payload};
use crate::cli::stdout;
use crate::cli::subscribe::line;

/// Publish a question, and print the answers, a line for each
///
/// Fails when nobody listens, or there were not enough answers in time.
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// The topic
    #[arg(value_parser = Topic::parse)]
    topic: Topic,
    /// The payload; `-`, or none while standard input is no terminal, reads standard input to its end
    payload: Option<String>,
    /// A header to send along; may be repeated
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// How many answers to wait for
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// How long to wait for them
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print a JSON object for each answer, as `tidings sub` does
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Asks, and prints what is answered.
pub(crate) async fn request(args: RequestArgs) -> anyhow::Result<()> {
    let add = |headers: Headers, (name, value): (String, String)| headers.with(&name, &value);
    let headers = args.header.into_iter().try_fold(Headers::default(), add)?;
    let mut message = Message::new(args.topic, payload(args.payload)?).with_headers(headers);
    let until = Instant::now() + args.timeout;
    let reply_to = inbox();
    message.reply_to = Some(reply_to.clone());
    let mut client = args.client.connect().await?;
    client.subscribe(&Pattern::from(&reply_to)).await?;
    client.publish(&message).await?;
    let mut early = client.flush().await?.into_iter();
    for count in 0..args.count {
        let answer = match early.next() {
            Some(answer) => answer,
            None => {
                let Ok(answer) = timeout_at(until, client.next()).await else {
                    let wait = humantime::format_duration(args.timeout);
                    match count {
                        0 => bail!("no answer on {} within {wait}", message.topic),
                        _ => bail!("{count} of {} answers within {wait}", args.count),
                    }
                };
                answer?
            }
        };
        if is_nobody(&answer) {
            bail!("nobody listens on {}", message.topic);
        }
        stdout::write(&line(&answer, args.json))?;
    }
    Ok(())
}
