//! Tidings: process groups and pub/sub among agents on many nodes, with no broker between them.
//!
//! A [`Node`] keeps the topic memberships of the [`Session`]s on it, gossips them until every node
//! of the cluster holds the same view of who is where, and delivers broadcasts over one
//! authenticated QUIC link to each peer. A partition leaves every side working on its own; when it
//! heals, the view and the delivery come back by themselves.

mod access;
mod account;
mod answers;
mod asking;
mod assurance;
mod assured;
mod broker;
mod changes;
mod charge;
mod clock;
mod config;
mod congestion;
mod counters;
mod delivery;
mod departed;
mod envelope;
mod everywhere;
mod expiry;
mod explanation;
#[cfg(fuzzing)]
pub mod fuzzing;
mod headers;
mod histogram;
mod holds;
mod homes;
mod inbox;
mod incarnation;
mod interested;
mod leg;
mod limits;
mod local_cluster;
mod locals;
mod longest;
mod mailbox;
mod mailroom;
mod message;
mod node;
mod node_error;
mod open_message;
mod outcome;
mod outgoing;
mod outstanding;
mod places;
mod pressure;
mod publishing;
mod question;
mod queues;
mod receipt;
mod received;
mod registry;
mod remote;
mod requests;
mod revoked;
mod route;
mod routes;
mod schema_size;
mod schemas;
mod scopes;
mod seeds;
mod session;
mod session_error;
mod source;
mod stats;
mod streams;
mod ticket;
mod turns;
mod waits;
mod wildcards;
mod window;
mod wiring;

pub use access::{
    Access, Denied, Disallowed, Permissions, Responses, RuleError, Rules, Sight, SubscribeRule,
};
pub use assured::Assured;
pub use changes::{CHANGE_HEADER, ChangeNumber, Position, Recall, Recalled};
pub use config::{Config, ConfigError, PORT};
pub use congestion::Congestion;
pub use delivery::{Delivery, RecvError};
pub use everywhere::{Lack, Lacking, NotEverywhere};
pub use explanation::{Difference, ExplainedNode, Explanation, OtherView, Seen, Testimony};
pub use headers::{Headers, HeadersError};
pub use histogram::Distribution;
pub use inbox::Inbox;
pub use incarnation::IncarnationError;
pub use limits::Limits;
pub use local_cluster::{LocalCluster, LocalClusterError, NotJoinedError};
pub use mailbox::{MailboxConfig, Overflow};
pub use message::Message;
pub use node::Node;
pub use node_error::{RenewError, StartError};
pub use outcome::{AssuredOptions, MemberOutcome, Outcome, Outcomes, WaitFor};
pub use receipt::Receipt;
pub use registry::OpenError;
pub use requests::{Answer, AnswerError, Asker, FROM_HEADER, Gathered, RequestError};
pub use revoked::RevokedError;
pub use seeds::{Seed, SeedError};
pub use session::{Observer, Session, SessionOptions, SubscribeOptions};
pub use session_error::{BroadcastError, PresenceError, SubscribeError, UnsubscribeError};
pub use stats::Stats;
pub use streams::{
    FollowError, Followed, Following, STREAM_END_HEADER, STREAM_OFFSET_HEADER, StreamEnd,
    StreamError, StreamId, StreamIdError, StreamOptions, StreamWriter,
};
pub use ticket::Acknowledger;
pub use tidings_bounds::{Count, CountError, Time, TimeError};
pub use tidings_identity::{
    Authority, AuthorityError, AuthorityKey, ClusterName, ForeignListError, Identity,
    IdentityError, Incarnation, Learnt, NameError, NodeCertificate, NodeId, NodeRun,
    RevocationList, RevocationListError, RevocationWatch, Revocations, RevokeError, Validity,
    ValidityError,
};
pub use tidings_membership::{
    AgentName, AgentNameError, CLIENT_ADDRS_MAX, ClientAddr, ClientDoor, ClientDoorError,
    Config as GossipConfig, DescribeError, DoorWatch, Event, Fault as GossipFault, GossipError,
    JoinError, Joins, METADATA_BYTES_MAX, Member, MemberId, Metadata, MetadataError, NodeSummary,
    Pattern, QUEUE_GROUP_BYTES_MAX, QueueGroup, QueueGroupError, SCHEMA_BYTES_MAX, Schema,
    SchemaDigest, SchemaError, Scope, ScopeError, Stamp, TOPIC_DESCRIPTION_BYTES_MAX,
    TOPIC_LABEL_BYTES_MAX, Topic, TopicError, TopicInfo, TopicInfoError, TopicPart, TopicRecord,
    TopicSummary, UpdateError, View, Watch, Watched,
};
pub use tidings_transport::{
    Carried, Config as LinksConfig, Held, LinkInfo, LinkNumber, LinkUp, Net, SystemNet,
};

/// Runs the program in the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Compiles the programs in the guide for embedders.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
struct Embedding;
