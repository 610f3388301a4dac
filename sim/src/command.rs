use clap::Subcommand;

mod corpus;
mod mutants;
mod one;
mod run;
mod shrink;
mod swarm;
mod sweep;

/// What there is to do. Each says whether all was well.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::Run),
    Swarm(swarm::Swarm),
    Shrink(shrink::Shrink),
    Sweep(sweep::Sweep),
    Corpus(corpus::Corpus),
    Mutants(mutants::Mutants),
    #[command(hide = true)]
    One(one::One),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<bool> {
        match self {
            Self::Run(command) => command.run(),
            Self::Swarm(command) => command.run(),
            Self::Shrink(command) => command.run(),
            Self::Sweep(command) => command.run(),
            Self::Corpus(command) => command.run(),
            Self::Mutants(command) => command.run(),
            Self::One(command) => command.run(),
        }
    }
}
