//! What the node withstands: clients that ask without pause, a log that cannot be written.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::process::{Node, tidings};

const SOON: Duration = Duration::from_secs(20);
const HELLO: &str = "CONNECT {\"verbose\":false}\r\n";

/// Sends the same all the time, as fast as it is taken, and reads the answers.
struct Flood {
    ended: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Flood {
    fn start(node: &Node, what: &str) -> Self {
        let mut stream = TcpStream::connect(&node.client).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let bytes = what.repeat((64 << 10) / what.len() + 1);
        stream.write_all(HELLO.as_bytes()).unwrap();
        let mut answers = stream.try_clone().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::clone(&ended);
        let write = move || {
            while !is_ended.load(Relaxed) && stream.write_all(bytes.as_bytes()).is_ok() {}
            let _ = stream.shutdown(std::net::Shutdown::Both);
        };
        let read = move || {
            let mut unread = vec![0; 64 << 10];
            while answers.read(&mut unread).is_ok_and(|bytes| bytes > 0) {}
        };
        let threads = vec![thread::spawn(write), thread::spawn(read)];
        Self { ended, threads }
    }

    fn is_going_on(&self) -> bool {
        !self.threads.iter().any(thread::JoinHandle::is_finished)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A client that asks and waits for the answer.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(addr: &str) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut client = Self(BufReader::new(stream));
        assert!(client.line().starts_with("INFO {"));
        client.send(HELLO);
        client
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in time");
        line.trim_end().to_owned()
    }

    fn ask(&mut self) {
        self.send("PING\r\n");
        assert_eq!(self.line(), "PONG");
    }
}

/// The status and the body that a GET is answered with.
fn get(addr: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn metric(http: &str, name: &str) -> f64 {
    let (_, metrics) = get(http, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.expect("there is such a metric")
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn clients_that_send_without_pause_delay_nobody() {
    let node = Node::start(&[]);
    let mut innocent = Client::connect(&node.client);
    let floods = [
        Flood::start(&node, "PING\r\n"),
        Flood::start(&node, "SUB flood.a 1\r\nUNSUB 1\r\n"),
        Flood::start(&node, "PUB flood.b 1\r\nx\r\n"),
    ];
    let begun = Instant::now();
    for _ in 0..20 {
        innocent.ask();
        assert_eq!(get(&node.http, "/livez").0, 200);
        assert!(begun.elapsed() < SOON, "the others are held up");
    }
    assert!(floods.iter().all(Flood::is_going_on));
}

/// A node whose log goes where this test cannot read it.
struct Silent {
    child: Child,
    client: String,
    http: String,
}

impl Silent {
    fn start(log: impl Into<Stdio>) -> Self {
        let any = || TcpListener::bind("127.0.0.1:0").unwrap();
        let free = [any(), any()].map(|listener| listener.local_addr().unwrap().to_string());
        let [client, http] = free;
        let mut command = tidings(&["run", "--client", &client, "--http", &http]);
        let child = command.stderr(log).spawn().unwrap();
        let mut node = Self {
            child,
            client,
            http,
        };
        // What it has said up to here is nobody's.
        drop(node.child.stderr.take());
        let begun = Instant::now();
        while TcpStream::connect(&node.client).is_err() {
            assert!(node.runs() && begun.elapsed() < SOON, "it does not start");
            thread::sleep(Duration::from_millis(5));
        }
        node
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Clients that are closed make lines in the log.
    fn goes_on(mut self) {
        for _ in 0..3 {
            let mut client = Client::connect(&self.client);
            client.send("NONSENSE\r\n");
            assert_eq!(client.line(), "-ERR 'Unknown Protocol Operation'");
        }
        let begun = Instant::now();
        let lost = "tidings_log_lines_lost_total{reason=\"unwritten\"} ";
        while metric(&self.http, lost) < 4.0 {
            assert!(begun.elapsed() < SOON, "lost lines are counted");
            thread::sleep(Duration::from_millis(5));
        }
        Client::connect(&self.client).ask();
        assert!(self.runs());
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .unwrap();
        assert_eq!(
            self.child.wait().unwrap().code(),
            Some(0),
            "it leaves in order"
        );
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    Silent::start(Stdio::piped()).goes_on();
}

#[test]
fn a_log_on_a_full_disk_ends_nothing() {
    Silent::start(File::options().write(true).open("/dev/full").unwrap()).goes_on();
}

#[test]
fn what_clients_do_wrong_does_not_fill_the_log() {
    let node = Node::start(&[]);
    for _ in 0..200 {
        let mut client = Client::connect(&node.client);
        client.send("NONSENSE\r\n");
        client.line();
    }
    assert!(
        metric(
            &node.http,
            "tidings_log_lines_lost_total{reason=\"limited\"} "
        ) > 150.0
    );
    node.running.signal("TERM");
    let (code, rest) = node.running.end();
    assert_eq!(code, Some(0));
    let told = rest
        .lines()
        .filter(|line| line.contains("Unknown Protocol"));
    assert!((1..20).contains(&told.count()), "{rest}");
    assert!(rest.contains("\"left_out\":190"), "{rest}");
}

/// With files for so many sockets and no more.
fn with_open_files(number: usize, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {number}; exec \"$@\""), "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.stdin(Stdio::null());
    limited
}

/// A client that asks, and what it is told.
fn newcomer(addr: &str) -> (BufReader<TcpStream>, String) {
    let mut client = BufReader::new(TcpStream::connect(addr).unwrap());
    client.get_ref().set_read_timeout(Some(SOON)).unwrap();
    let mut line = String::new();
    client.read_line(&mut line).expect("a greeting in time");
    assert!(line.starts_with("INFO {"), "{line}");
    // It may be closed already, and what it was told is there all the same.
    let _ = client.get_mut().write_all(b"PING\r\n");
    line.clear();
    client.read_line(&mut line).expect("an answer in time");
    (client, line.trim_end().to_owned())
}

/// Connects until one client is told that it is one too many; fewer than `max` are not.
fn crowd(node: &Node, max: usize) -> Vec<BufReader<TcpStream>> {
    let mut idle = Vec::new();
    let told = loop {
        let (client, answer) = newcomer(&node.client);
        idle.push(client);
        if answer != "PONG" {
            break answer;
        }
        assert!(idle.len() < max, "nobody is one too many");
    };
    assert_eq!(told, "-ERR 'maximum connections exceeded'");
    idle
}

#[test]
fn when_clients_take_all_descriptors_the_node_answers_and_newcomers_are_told() {
    let node = Node::start_as(|command| with_open_files(256, &command), &[]);
    let mut first = Client::connect(&node.client);
    let idle = crowd(&node, 250);
    // As many as there may be callers that say nothing, and some more.
    let silent: Vec<_> = (0..60)
        .map(|_| TcpStream::connect(&node.http).unwrap())
        .collect();
    assert_eq!(get(&node.http, "/livez").0, 200);
    first.ask();
    drop((idle, silent));
    let begun = Instant::now();
    while metric(&node.http, "tidings_sessions ") > 1.0 {
        assert!(
            begun.elapsed() < SOON,
            "those that have gone leave their places"
        );
        thread::sleep(Duration::from_millis(5));
    }
    Client::connect(&node.client).ask();
}

#[test]
fn when_no_descriptor_is_left_at_all_newcomers_are_told_so() {
    // Fewer than the doors' shares and what the node needs for itself.
    let node = Node::start_as(|command| with_open_files(32, &command), &[]);
    // The share is not what is tested here.
    drop(crowd(&node, 24));
    let begun = Instant::now();
    while newcomer(&node.client).1 != "PONG" {
        assert!(begun.elapsed() < SOON, "there is room again");
    }
    assert_eq!(get(&node.http, "/livez").0, 200);
}
