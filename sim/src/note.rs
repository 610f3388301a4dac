use serde::{Deserialize, Serialize};
use tidings::{Incarnation, MemberId, Metadata, Outcome, Pattern, QueueGroup, Scope, Topic};

use crate::lie::Lie;

/// The number of a session: they are counted over all hosts of a run.
pub type SessionNumber = usize;

/// Something that happened in a run: what oracles judge, and the trace keeps.
#[derive(Debug, Clone, Hash, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Note {
    /// A new phase of the run.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// An event of the plan, as it is written in a scenario.
    Fault {
        /// The event.
        event: String,
        /// Whether it keeps hosts from reaching each other.
        cut: bool,
    },
    /// A host runs a node from here on.
    Started {
        /// The host.
        host: usize,
        /// Of its node.
        incarnation: Incarnation,
    },
    /// A host's node is gone without a word.
    Crashed {
        /// The host.
        host: usize,
    },
    /// A host's node has begun to leave.
    Leaving {
        /// The host.
        host: usize,
    },
    /// A host stands still, or goes on.
    Frozen {
        /// The host.
        host: usize,
        /// Whether it stands still now.
        frozen: bool,
    },
    /// An agent, a server or somebody who asks has opened a session.
    Opened {
        /// The session.
        session: SessionNumber,
        /// Where.
        host: usize,
        /// The number of the agent on that host.
        agent: usize,
        /// Where its topics are.
        scope: Scope,
        /// The bound of its mailbox.
        mailbox_messages_max: usize,
        /// Whether the mailbox loses the oldest when it is full.
        drops_oldest: bool,
    },
    /// A session is over.
    Ended {
        /// The session.
        session: SessionNumber,
        /// As the node says it.
        reason: String,
        /// Whether the node ended it, because its mailbox was full.
        cut_off: bool,
    },
    /// A session is a member of a pattern.
    Subscribed {
        /// The session.
        session: SessionNumber,
        /// The membership.
        member: MemberId,
        /// The pattern.
        pattern: Pattern,
        /// The queue group that it is in.
        queue: Option<QueueGroup>,
    },
    /// Memberships of a session say something else of themselves from here on.
    Updated {
        /// The session.
        session: SessionNumber,
        /// The memberships.
        members: Vec<MemberId>,
        /// What they say.
        metadata: Metadata,
    },
    /// A membership was ended by its session.
    Unsubscribed {
        /// The session.
        session: SessionNumber,
        /// The membership.
        member: MemberId,
    },
    /// A session has waited until its subscriptions are in the routes of all other nodes, or for as
    /// long as it would.
    Everywhere {
        /// The session.
        session: SessionNumber,
        /// At which step it began to wait.
        since: u64,
        /// The memberships that it had then.
        members: Vec<MemberId>,
        /// The hosts that have them, as they say, and in which run.
        runs: Vec<(usize, Incarnation)>,
        /// The names of live nodes that have not said so.
        lacking: Vec<String>,
    },
    /// A session no longer takes what it receives, or does so again.
    Reading {
        /// The session.
        session: SessionNumber,
        /// Whether it does.
        reading: bool,
    },
    /// A session publishes as fast as it is let, or has come to the end of it.
    Flooding {
        /// The session.
        session: SessionNumber,
        /// Whether it does.
        flooding: bool,
    },
    /// A session was asked to wait for room, and does.
    Waiting {
        /// The session.
        session: SessionNumber,
    },
    /// A node has accepted a message.
    Published {
        /// The publisher.
        session: SessionNumber,
        /// Counts the messages of the publisher, over all topics.
        number: u64,
        /// The topic.
        topic: Topic,
        /// For whom it is.
        reach: Reach,
        /// Whom the node shows as members of the topic at this moment.
        shown: Vec<MemberId>,
        /// To how many other nodes it was handed over.
        nodes: usize,
    },
    /// A session has received a message.
    Delivered {
        /// The session.
        session: SessionNumber,
        /// For which of its memberships.
        member: MemberId,
        /// The publisher.
        from: SessionNumber,
        /// Its number.
        number: u64,
        /// The topic.
        topic: Topic,
    },
    /// A node has accepted an assured message.
    Assured {
        /// The publisher.
        session: SessionNumber,
        /// Counts the assured messages of the publisher.
        number: u64,
        /// The topic.
        topic: Topic,
        /// Whom the node shows as members of the topic at this moment.
        shown: Vec<MemberId>,
        /// How long the publisher waits.
        timeout_ms: u64,
        /// Whether it waits for agents to acknowledge it.
        acknowledged: bool,
    },
    /// A session has received an assured message.
    AssuredDelivered {
        /// The session.
        session: SessionNumber,
        /// For which of its memberships.
        member: MemberId,
        /// The publisher.
        from: SessionNumber,
        /// Its number.
        number: u64,
    },
    /// A session is about to acknowledge an assured message.
    Acknowledged {
        /// For which of its memberships.
        member: MemberId,
        /// The publisher.
        from: SessionNumber,
        /// Its number.
        number: u64,
    },
    /// A publisher was told what became of an assured message.
    Resolved {
        /// The publisher.
        session: SessionNumber,
        /// The number of the message.
        number: u64,
        /// With each member.
        outcomes: Vec<(MemberId, Outcome)>,
        /// After how long.
        took_ms: u64,
    },
    /// A session was told how many messages it missed.
    Missed {
        /// The session.
        session: SessionNumber,
        /// How many.
        count: u64,
    },
    /// A session has asked a question. They are numbered over all hosts, from 0 on.
    Asked {
        /// Who asks.
        session: SessionNumber,
        /// On this topic.
        topic: Topic,
        /// In which way.
        asking: Asking,
        /// Whom the node shows as members of the topic at this moment.
        shown: Vec<MemberId>,
        /// How long is waited for answers, at most.
        limit_ms: u64,
    },
    /// A server has received a question.
    Questioned {
        /// Which.
        question: u64,
        /// The member that passed it on, if one did.
        via: Option<MemberId>,
        /// The server.
        session: SessionNumber,
        /// For which of its memberships.
        member: MemberId,
        /// On which topic.
        topic: Topic,
        /// Whether it answers; otherwise it passes the question on.
        answers: bool,
    },
    /// Who has asked one question was told what became of it.
    Replied {
        /// Which.
        question: u64,
        /// What.
        ending: Ending,
        /// Which question the answer says that it is for, and from which member.
        answer: Option<(u64, MemberId)>,
        /// After how long.
        took_ms: u64,
    },
    /// Who has asked all members was told what became of it.
    Gathered {
        /// Which question.
        question: u64,
        /// The answers, as in [`Note::Replied`].
        answers: Vec<(u64, MemberId)>,
        /// Who has not answered.
        silent: Vec<(MemberId, Outcome)>,
        /// After how long.
        took_ms: u64,
    },
    /// A client that listens at a replica on a host was acknowledged. They are numbered over all hosts, from 0 on.
    Listening {
        /// Which.
        listener: usize,
        /// Where.
        host: usize,
    },
    /// It does no more, since the node leaves.
    ListeningEnded {
        /// Which.
        listener: usize,
    },
    /// It was published that a resource has changed.
    Changed {
        /// Where.
        host: usize,
        /// Which.
        resource: u32,
    },
    /// A listener was told that a resource has changed.
    Told {
        /// Which listener.
        listener: usize,
        /// Which resource.
        resource: u32,
    },
    /// A stream was begun. They are numbered over all hosts, from 0 on.
    StreamBegun {
        /// As what the plan knows it.
        stream: usize,
        /// Where.
        host: usize,
        /// Its name.
        id: String,
    },
    /// A chunk is pushed to a stream.
    StreamPushed {
        /// The stream.
        stream: usize,
    },
    /// A stream is ended by its writer.
    StreamFinished {
        /// The stream.
        stream: usize,
        /// How.
        finish: Finish,
    },
    /// Somebody follows a stream. They are numbered over all hosts, from 0 on.
    StreamFollowed {
        /// The stream.
        stream: usize,
        /// Where.
        host: usize,
        /// After how many chunks it begins.
        from: u64,
    },
    /// Who follows a stream is told something.
    StreamTold {
        /// Who.
        follower: usize,
        /// What.
        told: Telling,
    },
    /// A node takes another to be running.
    NodeUp {
        /// Where it was seen.
        on: usize,
        /// The other.
        host: usize,
        /// Of the other.
        incarnation: Incarnation,
    },
    /// A node takes another to be gone.
    NodeDown {
        /// Where it was seen.
        on: usize,
        /// The other.
        host: usize,
        /// Of the other.
        incarnation: Incarnation,
    },
    /// A node tells that messages are missing on the way from one to another.
    Gap {
        /// Where it is told.
        on: usize,
        /// Where they were published.
        from: usize,
        /// Where they are missing.
        to: usize,
        /// How many; none if that cannot be known.
        frames: Option<u64>,
    },
    /// How much a node's view shows.
    View {
        /// Where.
        on: usize,
        /// Live nodes, itself included.
        nodes: usize,
        /// Memberships.
        members: usize,
        /// A number for what they say of themselves.
        said: u64,
    },
    /// A liar has said something to a host that is not true.
    Lied {
        /// The number of the liar.
        liar: usize,
        /// To whom.
        host: usize,
        /// In what way.
        lie: Lie,
    },
    /// A node has ended the link of another, whom it takes to have broken the protocol.
    Blamed {
        /// The name of the other.
        node: String,
        /// What it is told to have done.
        why: String,
    },
    /// An invariant does not hold.
    Violation {
        /// Which, and how.
        text: String,
    },
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// All hosts start and find each other.
    Boot,
    /// The events of the plan happen. Only what must hold at any time is judged.
    Chaos,
    /// The network is whole, and all hosts run that are to: their views must become the same.
    Healing,
    /// Nothing goes wrong: every message arrives, nobody is taken for dead.
    Quiet,
    /// One host crashes, the others must notice.
    Detection,
    /// It is over.
    Done,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    /// Its writer has finished it.
    Finish,
    /// Its writer has given up.
    Fail,
    /// Its writer is dropped.
    Drop,
}

/// What somebody is told who follows a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Telling {
    /// A chunk.
    Chunk {
        /// After how many it is told to come.
        offset: u64,
        /// Whether it says what was written there.
        is_as_written: bool,
    },
    /// That chunks are not there any more, or something that nobody has written.
    Missed,
    /// That all was told.
    Complete,
    /// That its writer has given up.
    Failed,
    /// That nobody writes it any more.
    Aborted,
    /// That there is no such stream.
    Unknown,
    /// That its node does not answer.
    Unreachable,
}

/// In which way a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asking {
    /// As a request, which ends with the first answer.
    Request,
    /// As a message that names an inbox to which the session itself has subscribed.
    Inbox,
    /// Of all members.
    Gather,
}

/// What becomes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// There is an answer; when all members were asked, each has answered.
    Answered,
    /// Nobody listens.
    NoResponders,
    /// There was none in time; when all members were asked, some have not answered.
    Unanswered,
    /// It was not published.
    Refused,
}

/// For whom a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// All members.
    All,
    /// All members but the publisher's own.
    Others,
    /// The members on the publisher's node.
    Local,
    /// The members on one host.
    Direct(usize),
}
