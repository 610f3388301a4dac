use std::process::{Output, Stdio};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use tidings::{Headers, Message, Pattern, QueueGroup};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::cli::client::ClientArgs;
use crate::cli::stderr;

/// Answer questions, with a text or with what a program prints
///
/// Questions are answered one after the other. A message that asks for no answer is passed over.
#[derive(Debug, Args)]
pub(crate) struct ReplyArgs {
    /// The topic, or a pattern
    #[arg(value_parser = Pattern::parse)]
    topic: Pattern,
    /// What to answer
    #[arg(required_unless_present = "run", conflicts_with = "run")]
    answer: Option<String>,
    /// A program and its arguments, run by the shell for each question: it reads the payload from standard
    /// input, TIDINGS_TOPIC is the topic, and what it prints is the answer. If it fails, the answer is empty, and
    /// its headers `Nats-Service-Error-Code` and `Nats-Service-Error` say so
    #[arg(long, value_name = "COMMAND")]
    run: Option<String>,
    /// The queue group to be in: of all its members one gets each question
    #[arg(long, value_name = "NAME", value_parser = QueueGroup::parse)]
    queue: Option<QueueGroup>,
    /// End after so many questions
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Answers until there were enough questions.
pub(crate) async fn reply(args: ReplyArgs) -> anyhow::Result<()> {
    let mut client = args.client.connect().await?;
    client.join(&args.topic, args.queue.as_ref()).await?;
    let mut early = client.flush().await?.into_iter();
    stderr::tell(format_args!("answering"));
    let mut answered = 0;
    while args.count.is_none_or(|count| answered < count) {
        let question = match early.next() {
            Some(question) => question,
            None => client.next().await?,
        };
        let Some(reply_to) = question.reply_to.clone() else {
            continue;
        };
        let (payload, headers) = match (&args.run, &args.answer) {
            (Some(command), _) => run(command, &question).await?,
            (None, answer) => {
                let text = answer.clone().unwrap_or_default();
                (Bytes::from(text), Headers::default())
            }
        };
        let answer = Message::new(reply_to, payload).with_headers(headers);
        client.publish(&answer).await?;
        early = client
            .flush()
            .await?
            .into_iter()
            .chain(early)
            .collect::<Vec<_>>()
            .into_iter();
        answered += 1;
    }
    Ok(())
}

/// What a program answers.
async fn run(command: &str, question: &Message) -> anyhow::Result<(Bytes, Headers)> {
    let mut program = Command::new("sh");
    program.args(["-c", command]);
    program.env("TIDINGS_TOPIC", question.topic.as_str());
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = program.spawn().context("cannot run sh")?;
    let input = program.stdin.take();
    let payload = question.payload.clone();
    let writing = async move {
        if let Some(mut input) = input {
            // A program need not read what it is asked.
            let _ = input.write_all(&payload).await;
        }
    };
    let (output, ()) = tokio::join!(program.wait_with_output(), writing);
    let Output { status, stdout, .. } = output.with_context(|| format!("cannot run {command}"))?;
    if status.success() {
        return Ok((stdout.into(), Headers::default()));
    }
    stderr::tell(format_args!("{command}: {status}"));
    let headers = Headers::default()
        .with("Nats-Service-Error-Code", "500")?
        .with("Nats-Service-Error", &status.to_string())?;
    Ok((Bytes::new(), headers))
}
