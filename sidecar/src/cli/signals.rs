use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a process to end.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// The signal that asks a node to read its certificates again.
#[derive(Debug)]
pub(crate) struct Hangups(Signal);

/// The signal that asks a node to send its clients to others and then leave.
#[derive(Debug)]
pub(crate) struct Drains(Signal);

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGINT, as from Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
        }
    }
}

impl Hangups {
    /// From now on SIGHUP no longer ends the process.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let hangups = signal(SignalKind::hangup()).context("cannot listen for signals")?;
        Ok(Self(hangups))
    }

    /// Waits for the next one. Several that come at once may count as one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

impl Drains {
    /// From now on SIGUSR2 no longer ends the process.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let drains = signal(SignalKind::user_defined2()).context("cannot listen for signals")?;
        Ok(Self(drains))
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

impl Stop {
    /// What a process exits with that such a signal has killed.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Interrupt => ExitCode::from(128 + 2),
            Self::Terminate => ExitCode::from(128 + 15),
        }
    }
}
