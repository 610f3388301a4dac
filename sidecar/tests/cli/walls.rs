//! What the node withstands: clients that ask without pause.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::process::Node;

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
