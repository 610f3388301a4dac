//! Who is where: the topics, members and nodes of a cluster, gossiped until every node agrees.
//!
//! A node makes memberships with [`Membership::join`] and reads everyone's from a [`View`], a
//! snapshot that is always at hand; a [`Watch`] tells what changes. Gossip messages go out and
//! come in through a [`Pipe`], so this crate knows nothing of sockets.

mod address_book;
mod agent_name;
mod agents;
mod author;
mod bucket;
mod buckets;
mod client_door;
mod config;
mod credentials;
mod difference;
mod door_watch;
mod error;
mod event;
mod farewell;
mod fault;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gaps;
mod gossip;
mod guard;
mod joins;
mod kin;
mod liveness;
mod member_id;
mod membership;
mod message_kind;
mod metadata;
mod names;
mod node_view;
mod pace;
mod packed;
mod pattern;
mod peer;
mod peer_state;
mod peers;
mod pipe;
mod profile;
mod queue_group;
mod records;
mod schema;
mod scope;
mod share;
mod sight;
mod sighting;
mod socket;
mod spread;
mod starter;
mod stats;
mod tickets;
mod topic;
mod topic_info;
mod topic_watch;
mod view;
mod views;
mod watch;
mod watched;
mod wire;
mod written;

pub use agent_name::{AGENT_NAME_BYTES_MAX, AgentName, AgentNameError};
pub use client_door::{CLIENT_ADDRS_MAX, ClientAddr, ClientDoor, ClientDoorError};
pub use config::{BUCKET_BYTES_MAX, BUCKETS_MAX, Config, ConfigError};
pub use credentials::{Credentials, UnixTime};
pub use door_watch::DoorWatch;
pub use error::{DescribeError, GossipError, JoinError, LeaveError, StartError, UpdateError};
pub use event::{Event, EventSink};
pub use fault::{Fault, Faults};
pub use joins::Joins;
pub use member_id::{MemberId, MemberIdError, MemberIds};
pub use membership::{Membership, Task};
pub use metadata::{METADATA_BYTES_MAX, Metadata, MetadataError};
pub use pattern::Pattern;
pub use pipe::{Blame, GOSSIP_BYTES_MAX, Handover, Inbound, Outbound, Pipe, Receiving};
pub use profile::Profile;
pub use queue_group::{QUEUE_GROUP_BYTES_MAX, QueueGroup, QueueGroupError};
pub use schema::{SCHEMA_BYTES_MAX, Schema, SchemaDigest, SchemaError};
pub use scope::{SCOPE_BYTES_MAX, Scope, ScopeError};
pub use share::Share;
pub use sight::{Known, Sight};
pub use stats::Stats;
pub use topic::{TOPIC_BYTES_MAX, Topic, TopicError};
pub use topic_info::{
    Stamp, TOPIC_DESCRIPTION_BYTES_MAX, TOPIC_LABEL_BYTES_MAX, TopicInfo, TopicInfoError,
    TopicPart, TopicRecord,
};
pub use topic_watch::TopicWatch;
pub use view::{Member, NodeSummary, TopicSummary, View};
pub use watch::Watch;
pub use watched::Watched;

/// Runs the program in the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
