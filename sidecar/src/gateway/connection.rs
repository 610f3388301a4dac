use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::Interest;
use tokio::task::{consume_budget, yield_now};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tracing::debug;

use super::admission;
use super::client::Client;
use super::client_error::ClientError;
use super::connect_options::ConnectOptions;
use super::door::Door;
use super::end::End;
use super::entry::Entry;
use super::op::Op;
use super::parser::{Parsed, Parser};
use super::place::Place;
use super::reply;
use super::stream::Stream;
use super::turn::Turn;
use tidings::{Held, Inbox};

/// Above this many bytes that wait to be written, nothing more is taken from the inbox. Messages
/// then wait in the mailbox, whose overflow policy decides what becomes of them.
const OUT_BYTES_SOFT: usize = 256 << 10;
/// How much is read at a time. Grows from the first to the last as long as the client fills it, so
/// that an idle client costs little.
const READ_BYTES: (usize, usize) = (4 << 10, 64 << 10);

/// How soon a connection that would need more memory than there is to spare looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Serves one client until it goes, is refused, or the node stops.
pub(super) async fn run(door: Arc<Door>, entry: Entry) {
    let Some(mut connection) = open(&door, entry).await else {
        return;
    };
    let end = connection.serve().await;
    end.log(&connection.place.peer);
    connection.place.ends(&end);
    if end == End::NodeStopped {
        connection.place.say_farewell(&mut connection.client);
    }
    let out = std::mem::take(&mut connection.client.out);
    if end == End::NodeStopped {
        // The node waits for its sessions, so that they get what it has accepted for them.
        end.close(&mut connection.wire.stream, out).await;
    } else {
        // First the session, so that others see at once that the agent is gone. Its inbox even before, so that
        // what others of a queue group get of it they get in its order.
        drop((connection.inbox, connection.client));
        end.close(&mut connection.wire.stream, out).await;
    }
}

/// Lets a client in, or tells it why not.
async fn open(door: &Arc<Door>, entry: Entry) -> Option<Connection> {
    let Entry {
        stream,
        mut place,
        mut greeting,
    } = entry;
    let mut wire = Wire {
        stream,
        input: BytesMut::new(),
        parser: parser(door),
    };
    let accepting = Box::pin(accept(door, &mut wire, &mut greeting, &place));
    let accepting = timeout(door.config.connect_timeout.get(), accepting);
    let accepted = match door.node.leaving().run_until_cancelled(accepting).await {
        Some(Ok(accepted)) => accepted,
        Some(Err(_)) => Err(End::Refused(ClientError::ConnectTimeout)),
        None => Err(End::NodeStopped),
    };
    match accepted {
        Ok((client, inbox)) => {
            debug!(peer = %place.peer, "a client connected");
            Some(Connection::new(door, wire, client, inbox, place))
        }
        Err(end) => {
            end.log(&place.peer);
            place.ends(&end);
            end.close(&mut wire.stream, greeting).await;
            None
        }
    }
}

/// The stream, and what has been read from it and not yet understood.
#[derive(Debug)]
struct Wire {
    stream: Stream,
    input: BytesMut,
    parser: Parser,
}

fn parser(door: &Door) -> Parser {
    let limits = &door.node.config().limits;
    Parser {
        line_bytes_max: door.config.line_bytes_max.get(),
        payload_bytes_max: limits.payload_bytes_max.get(),
    }
}

/// Greets the client and opens its session as soon as it says something, CONNECT or not.
async fn accept(
    door: &Arc<Door>,
    wire: &mut Wire,
    greeting: &mut BytesMut,
    place: &Place,
) -> Result<(Client, Inbox), End> {
    wire.stream.write_all(greeting).await?;
    let identities = &door.config.identities;
    let mut options = loop {
        // Nothing else is held in memory for who has not said who it is.
        let is_connect = wire
            .input
            .first()
            .is_none_or(|byte| matches!(byte, b'C' | b'c'));
        if !is_connect && identities.asks() {
            return Err(ClientError::NotAuthorized.into());
        }
        match wire.parser.parse(&wire.input)? {
            // Whatever it is, it is applied once the session is open.
            Parsed::Op(Op::Connect(json), _) => break ConnectOptions::read(json)?,
            Parsed::Op(..) => break ConnectOptions::default(),
            Parsed::Incomplete(missing) => {
                wire.input.reserve(missing.max(READ_BYTES.0));
                if wire.stream.read_buf(&mut wire.input).await? == 0 {
                    return Err(End::Gone(io::ErrorKind::UnexpectedEof));
                }
            }
        }
    };
    let (session, inbox) = admission::admit(door, &mut options, place.told()).await?;
    let ConnectOptions {
        name,
        lang,
        version,
        ..
    } = &options;
    debug!(?name, ?lang, ?version, "a client says what it is");
    place.greet(&session, &options);
    let greeting = std::mem::take(greeting);
    let mut client = Client::new(session, options, greeting, door);
    client.is_plain = wire.stream.is_plain();
    Ok((client, inbox))
}

/// A client with a session. One task does everything: it reads while a write is pending, writes
/// while the client sends nothing, and takes messages as long as the client takes them.
#[derive(Debug)]
struct Connection {
    place: Box<Place>,
    wire: Wire,
    client: Client,
    inbox: Inbox,
    /// What its buffers are of all that may wait on the node.
    held: Held,
    /// How much to read next.
    read_bytes: usize,
    /// Above this many bytes that wait to be written, no operation is read: a client that asks and
    /// does not take the answers waits for itself.
    out_bytes_max: usize,
    barrier: Barrier,
    turn: Turn,
    /// Since when there is the beginning of an operation and nothing has come for it.
    paused_since: Option<Instant>,
    ticks: Interval,
    /// Whether the client gave a sign of life since the last tick.
    heard: bool,
    /// Whether the client was sent a PING, ever.
    pinged: bool,
    pings_out: usize,
}

/// An operation whose answer comes after the messages that were there before it waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Barrier {
    /// Nothing waits.
    Open,
    /// No operation is read until all has been delivered that was in the inbox when it was marked.
    Waiting,
    /// The messages are through: the next operation is the one that waited.
    Passed,
}

impl Connection {
    fn new(door: &Door, wire: Wire, client: Client, inbox: Inbox, place: Box<Place>) -> Self {
        let (limits, gateway) = (&door.node.config().limits, &door.config);
        let ping_interval = gateway.ping_interval.get();
        let mut ticks = interval_at(Instant::now() + ping_interval, ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            place,
            wire,
            held: client.hold(),
            client,
            inbox,
            read_bytes: READ_BYTES.0,
            // Messages alone, which may pass the soft bound by one, must not keep it from reading.
            out_bytes_max: 2 * OUT_BYTES_SOFT + limits.payload_bytes_max.get(),
            barrier: Barrier::Open,
            turn: Turn::default(),
            paused_since: None,
            ticks,
            heard: true,
            pinged: false,
            pings_out: 0,
        }
    }

    async fn serve(&mut self) -> End {
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    /// Does all that can be done at once, then waits until something more can be.
    async fn step(&mut self) -> Result<(), End> {
        // Under load there is always something to do, and others want to run as well.
        if self.turn.is_over() {
            yield_now().await;
            self.turn = Turn::default();
        } else {
            consume_budget().await;
        }
        loop {
            let is_input_used_up = self.take_operations()?;
            self.take_deliveries()?;
            self.place.tell_news(&mut self.client);
            let is_stopped = self.client.is_pressing || !self.may_take_deliveries();
            if is_input_used_up || self.turn.is_over() || is_stopped {
                self.write()?;
            }
            if self.turn.is_over() {
                return Ok(());
            }
            let is_stuck = !(self.may_take_operations() || self.may_take_deliveries());
            if is_input_used_up || is_stuck || self.client.is_pressing {
                break;
            }
        }

        self.give_back_memory();
        self.held
            .set(self.wire.input.capacity() + self.client.out.capacity());
        let now = Instant::now();
        let (subscriptions, out_bytes) = (self.client.subscriptions(), self.client.out.len());
        self.place.look(subscriptions, out_bytes, now);
        let is_paused = self.may_take_operations() && !self.wire.input.is_empty();
        self.paused_since = is_paused.then(|| self.paused_since.unwrap_or(now));
        let overdue =
            self.paused_since.unwrap_or(now) + self.place.config().operation_timeout.get();
        let may_read = self.may_read();
        let is_starved = self.may_take_operations() && !may_read;
        let look_again = if is_starved {
            overdue.min(now + LOOK_AGAIN)
        } else {
            overdue
        };

        let may_write = !self.client.out.is_empty() || self.wire.stream.is_behind();
        let interest = match (may_read, may_write) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        let ready = self
            .wire
            .stream
            .ready(interest.unwrap_or(Interest::READABLE));
        let may_take_deliveries = self.may_take_deliveries();
        let inbox = &mut self.inbox;
        let delivery = async {
            if may_take_deliveries {
                inbox.recv().await
            } else {
                // A client that takes nothing is to be cut off all the same.
                Err(inbox.overflowed().await)
            }
        };
        let is_pressing = self.client.is_pressing;
        let (session, requests, assured) = self.client.waits();
        tokio::select! {
            ready = ready, if interest.is_some() => {
                let ready = ready?;
                if ready.is_readable() && may_read {
                    self.read()?;
                }
                // What can be written is written by the next step.
            }
            delivery = delivery => {
                let delivery = delivery?;
                self.place.deliver(&mut self.client, &delivery);
                self.look_at_barrier();
            }
            () = session.room(), if is_pressing => self.client.is_pressing = false,
            (to, answers) = requests.next(), if may_take_deliveries => {
                self.client.answer_all(&to, answers);
            }
            ended = session.disallowed() => self.client.disallow(&ended),
            Some(Ok((reply_to, outcomes))) = assured.join_next() => self.client.tell(reply_to, outcomes),
            () = self.place.news() => if self.place.take_news() {
                // Rarely needed, so not kept room for.
                Box::pin(session.finish()).await;
            },
            _ = self.ticks.tick() => self.tick()?,
            () = sleep_until(look_again), if is_paused || is_starved => {
                if is_paused && look_again == overdue {
                    return Err(ClientError::Stale.into());
                }
            }
        }
        Ok(())
    }

    fn may_take_operations(&self) -> bool {
        let waits = self.barrier == Barrier::Waiting || self.client.is_pressing;
        !waits && self.client.out.len() < self.out_bytes_max
    }

    /// A large operation is read only as far as the node has memory to spare.
    fn may_read(&self) -> bool {
        let is_little = self.read_bytes <= READ_BYTES.1 && self.wire.input.len() <= READ_BYTES.1;
        self.may_take_operations() && (is_little || self.held.admits(self.read_bytes))
    }

    fn may_take_deliveries(&self) -> bool {
        match self.client.out.len() {
            out_bytes if out_bytes < READ_BYTES.0 => true,
            out_bytes => out_bytes < OUT_BYTES_SOFT && self.held.admits(0),
        }
    }

    /// Applies the operations that have arrived whole, as many as the turn allows, and says whether
    /// there are no more of them.
    fn take_operations(&mut self) -> Result<bool, End> {
        let mut taken = 0;
        let mut is_input_used_up = false;
        while !is_input_used_up && self.may_take_operations() && !self.turn.is_over() {
            match self.wire.parser.parse(&self.wire.input[taken..])? {
                Parsed::Op(op, _) if op.follows_deliveries() && self.barrier == Barrier::Open => {
                    self.client.prepare(&op);
                    self.inbox.mark();
                    self.barrier = Barrier::Waiting;
                }
                Parsed::Op(op, op_bytes) => {
                    self.barrier = Barrier::Open;
                    self.place.count_in(&op);
                    let recipients = self.client.apply(&op)?;
                    self.turn.operation(&op, recipients);
                    taken += op_bytes;
                }
                Parsed::Incomplete(missing) => {
                    self.read_bytes = self.read_bytes.max(missing);
                    is_input_used_up = true;
                }
            }
        }
        self.wire.input.advance(taken);
        Ok(is_input_used_up)
    }

    /// Translates what the inbox has, as far as there is room.
    fn take_deliveries(&mut self) -> Result<(), End> {
        let out_bytes = self.client.out.len();
        while self.may_take_deliveries() {
            self.look_at_barrier();
            let Some(delivery) = self.inbox.try_recv()? else {
                break;
            };
            self.place.deliver(&mut self.client, &delivery);
        }
        self.turn.delivered(self.client.out.len() - out_bytes);
        Ok(())
    }

    fn look_at_barrier(&mut self) {
        if self.barrier == Barrier::Waiting && self.inbox.is_past_mark() {
            self.barrier = Barrier::Passed;
        }
    }

    fn read(&mut self) -> Result<(), End> {
        let Wire { stream, input, .. } = &mut self.wire;
        input.reserve(self.read_bytes);
        match stream.try_read_buf(input) {
            Ok(0) => return Err(End::Gone(io::ErrorKind::UnexpectedEof)),
            Ok(bytes) => {
                self.heard = true;
                self.paused_since = None;
                let filled = bytes >= self.read_bytes;
                let next = if filled {
                    2 * self.read_bytes
                } else {
                    self.read_bytes
                };
                self.read_bytes = next.clamp(READ_BYTES.0, READ_BYTES.1);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Writes what the socket takes now.
    fn write(&mut self) -> Result<(), End> {
        let (out, stream) = (&mut self.client.out, &mut self.wire.stream);
        while !out.is_empty() || stream.is_behind() {
            match stream.try_write(out) {
                Ok(written) => out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What little is empty is not kept: most clients are idle most of the time.
    fn give_back_memory(&mut self) {
        for buffer in [&mut self.wire.input, &mut self.client.out] {
            if buffer.is_empty() && buffer.capacity() <= READ_BYTES.0 {
                *buffer = BytesMut::new();
            }
        }
    }

    /// Asks a silent client for a sign of life, or gives it up.
    fn tick(&mut self) -> Result<(), End> {
        // What a burst or a large payload took must not be held as long as the client stays.
        for buffer in [&mut self.wire.input, &mut self.client.out] {
            if buffer.is_empty() {
                *buffer = BytesMut::new();
            }
        }
        self.read_bytes = READ_BYTES.0;
        // Who is made to wait is not heard. Everybody is asked once, by which clients measure the round trip.
        let is_heard = std::mem::take(&mut self.heard) || self.client.is_pressing;
        if is_heard && std::mem::replace(&mut self.pinged, true) {
            self.pings_out = 0;
            return Ok(());
        }
        if self.pings_out >= self.place.config().pings_out_max.get() {
            return Err(End::Refused(ClientError::Stale));
        }
        self.pinged = true;
        self.pings_out += 1;
        reply::ping(&mut self.client.out);
        self.place.asked();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidings::{Config, Node};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::Gateway;
    use super::super::peer::Peer;
    use crate::GatewayConfig;

    #[tokio::test]
    async fn what_a_connection_needs_while_nothing_happens_is_little() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stream = TcpStream::connect(addr).await.unwrap();
        let node = Node::start(Config::default(), None).await.unwrap();
        let gateway = Gateway::new(&node, GatewayConfig::default(), None).unwrap();
        let task = gateway.serve_tcp(stream, Peer::network(addr));
        let bytes = size_of_val(&task);
        assert!(bytes <= 3 << 10, "{bytes}");
    }
}
