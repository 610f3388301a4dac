mod check;
mod client;
mod completions;
mod credentials;
mod dev;
mod drain;
mod events;
mod explain;
mod http;
mod mcp;
mod members;
mod nodes;
mod passwd;
mod publish;
mod reply;
mod request;
mod run;
mod signals;
pub(crate) mod stderr;
mod stdout;
mod subscribe;
mod table;
mod tls;
mod topics;
mod watch;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime::Builder;

pub(crate) use self::stdout::ReaderGone;
use crate::logging::LoggingArgs;

/// Process groups and pub/sub among agents on many nodes, with no broker between them
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) logging: LoggingArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::RunArgs),
    Dev(dev::DevArgs),
    #[command(name = "pub")]
    Publish(publish::PublishArgs),
    #[command(name = "sub")]
    Subscribe(subscribe::SubscribeArgs),
    Request(request::RequestArgs),
    Reply(reply::ReplyArgs),
    Nodes(nodes::NodesArgs),
    Topics(topics::TopicsArgs),
    Members(members::MembersArgs),
    Explain(explain::ExplainArgs),
    Watch(watch::WatchArgs),
    Drain(drain::DrainArgs),
    /// Speak for an MCP server
    #[command(subcommand)]
    Mcp(mcp::McpCommand),
    Passwd(passwd::PasswdArgs),
    /// Make the certificates by which the nodes of a cluster know each other
    #[command(subcommand)]
    Tls(tls::TlsCommand),
    /// Look at configurations
    #[command(subcommand)]
    Config(ConfigCommand),
    Completions(completions::CompletionsArgs),
}

/// What to do with configurations.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    Check(check::CheckArgs),
}

impl Command {
    /// What is logged unless the caller says otherwise: only a node has a story to tell.
    pub(crate) fn log_level(&self) -> &'static str {
        if matches!(self, Self::Run(_)) {
            "info"
        } else {
            "warn"
        }
    }

    /// Does it.
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        let done = |()| ExitCode::SUCCESS;
        let (node, client) = (Builder::new_multi_thread, Builder::new_current_thread);
        match self {
            Self::Run(args) => block_on(node(), run::run(&args)),
            Self::Dev(args) => block_on(node(), dev::dev(&args)),
            Self::Publish(args) => block_on(client(), publish::publish(args)).map(done),
            Self::Subscribe(args) => block_on(client(), subscribe::subscribe(args)).map(done),
            Self::Request(args) => block_on(client(), request::request(args)).map(done),
            Self::Reply(args) => block_on(client(), reply::reply(args)).map(done),
            Self::Nodes(args) => block_on(client(), nodes::nodes(&args)).map(done),
            Self::Topics(args) => block_on(client(), topics::topics(&args)).map(done),
            Self::Members(args) => block_on(client(), members::members(&args)).map(done),
            Self::Explain(args) => block_on(client(), explain::explain(&args)).map(done),
            Self::Watch(args) => block_on(client(), watch::watch(&args)).map(done),
            Self::Drain(args) => block_on(client(), drain::drain(&args)).map(done),
            Self::Mcp(command) => block_on(client(), command.execute()).map(done),
            Self::Passwd(args) => passwd::passwd(&args).map(done),
            Self::Tls(command) => command.execute().map(done),
            Self::Config(ConfigCommand::Check(args)) => check::check(&args).map(done),
            Self::Completions(args) => completions::completions(&args, Cli::command()).map(done),
        }
    }
}

fn block_on<T>(
    mut builder: Builder,
    command: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let runtime = builder
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(command);
    // A name that is being looked up must not hold up the end.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_has_a_help_text() {
        fn check(command: &clap::Command) {
            assert!(
                command.get_about().is_some(),
                "{} has no text",
                command.get_name()
            );
            for arg in command.get_arguments() {
                assert!(
                    arg.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    arg.get_id()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
