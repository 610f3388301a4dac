use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::process::{Node, complaint, output, printed, text, tidings};

/// A client that is told to go, and takes its time.
fn client(node: &Node) -> BufReader<TcpStream> {
    let mut client = BufReader::new(TcpStream::connect(&node.client).unwrap());
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    let connect = "CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n";
    client.get_mut().write_all(connect.as_bytes()).unwrap();
    line.clear();
    client.read_line(&mut line).unwrap();
    assert_eq!(line, "PONG\r\n");
    client
}

/// What it hears from now on.
fn heard(client: BufReader<TcpStream>) -> Vec<String> {
    client.lines().map(Result::unwrap).collect()
}

fn settings(grace: &str, duration: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let settings =
        format!("gateway.lame_duck_grace = '{grace}'\ngateway.lame_duck_duration = '{duration}'\n");
    file.write_all(settings.as_bytes()).unwrap();
    file
}

#[test]
fn on_sigusr2_a_node_sends_its_clients_away_and_ends() {
    let file = settings("100ms", "100ms");
    let node = Node::start(&["--config", file.path().to_str().unwrap()]);
    let client = client(&node);
    node.running.signal("USR2");
    node.running.says("draining");
    let [info] = &heard(client)[..] else {
        panic!("one line, and the end");
    };
    assert!(
        info.starts_with("INFO {") && info.contains("\"ldm\":true"),
        "{info}"
    );
    let (code, rest) = node.running.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(
        rest.contains("\"drained\"") && rest.contains("\"left\""),
        "{rest}"
    );
}

#[test]
fn tidings_drain_asks_the_node_and_waits_for_its_end() {
    let file = settings("200ms", "0ms");
    let node = Node::start(&["--config", file.path().to_str().unwrap()]);
    let client = client(&node);
    let told = printed(&["drain", "--wait", "--http", &node.http]);
    assert_eq!(told, "node drains; clients: 1\n");
    assert_eq!(heard(client).len(), 1);
    assert_eq!(node.running.end().0, Some(0));
    let again = complaint(tidings(&["drain", "--http", &node.http]));
    assert!(again.contains("cannot ask the node"), "{again}");
}

#[test]
fn a_node_that_drains_leaves_at_once_when_it_is_told_to() {
    let file = settings("1h", "1h");
    let node = Node::start(&["--config", file.path().to_str().unwrap()]);
    let client = client(&node);
    let asked = output(&["drain", "--json", "--http", &node.http]);
    assert!(text(&asked.stdout).contains("\"draining\":true"));
    node.running.says("draining");
    node.running.signal("TERM");
    assert_eq!(node.running.end().0, Some(0));
    assert_eq!(heard(client).len(), 1, "it is told once");
}
