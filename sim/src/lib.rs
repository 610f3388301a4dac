//! Simulated clusters of real tidings nodes: the shipped code of broker, membership and transport,
//! with real gossip and real QUIC, on a simulated clock and network, under faults and watched by
//! oracles. Everything that happens follows from a seed and a plan, so any failure can be had again.
//!
//! `docs/simulation.md` says what this proves and what it does not.

/// Sessions that do what they are told.
pub mod agent;
/// Whom nodes blame.
pub mod blame;
/// How paths through the network behave.
pub mod conditions;
mod deed;
/// Plans drawn from a seed.
pub mod draw;
pub mod entropy;
mod excerpt;
mod expectation;
mod explaining;
/// What a plan makes happen.
pub mod fault;
/// Standing still.
pub mod gate;
/// Machines on which nodes run.
pub mod host;
/// Where everything that happens is told to.
pub mod journal;
/// Members that lie.
pub mod liar;
/// In what ways they do.
pub mod lie;
/// The links that nodes show.
pub mod links;
mod listening;
/// Planted bugs.
pub mod mutant;
/// What nodes are called.
pub mod name;
/// The wire.
pub mod network;
/// What happens.
pub mod note;
pub mod oracle;
mod path;
/// What a run does.
pub mod plan;
/// Lines over two axes.
pub mod plot;
mod progress;
/// Who asks, and what becomes of it.
pub mod question;
/// Replicas, and who listens there.
pub mod replica;
/// Runs in processes of their own.
pub mod runner;
/// The simulator's side of the one seam.
pub mod seam;
/// Random streams.
pub mod seed;
/// Sessions that answer.
pub mod server;
mod service;
/// Making failing runs smaller.
pub mod shrink;
mod sightings;
mod situations;
/// Rare situations.
pub mod sometimes;
/// Who writes and follows streams.
pub mod stream;
mod streaming;
/// Many runs.
pub mod swarm;
/// A page that shows a run.
pub mod timeline;
/// What a watch has told.
pub mod told;
/// How everything really is.
pub mod truth;
/// A whole run.
pub mod world;
