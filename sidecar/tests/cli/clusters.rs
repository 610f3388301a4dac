use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::process::{Node, Running, complaint, lines, path, printed, tidings};

/// Two nodes that see each other, and what they live on.
struct Pair {
    _directory: TempDir,
    first: Node,
    second: Node,
}

impl Pair {
    /// Makes the certificates and starts the nodes, both with these settings in a file.
    fn start(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name| path(&directory, name);
        let (ca, file) = (at("ca"), at("tidings.toml"));
        fs::write(&file, settings).unwrap();
        printed(&["tls", "ca", "create", "--cluster", "test", "--dir", &ca]);
        let start = |name, seed: &[&str]| {
            let dir = at(name);
            let create = [
                "tls", "cert", "create", "--node", name, "--ca-dir", &ca, "--dir", &dir,
            ];
            assert!(printed(&create).contains("tidings run --tls-dir"));
            let arguments = [
                "--listen",
                "127.0.0.1:0",
                "--tls-dir",
                &dir,
                "--config",
                &file,
            ];
            Node::start(&[&arguments[..], seed].concat())
        };
        let first = start("n1", &[]);
        let seed = first.nodes()[0]["addr"].as_str().unwrap().to_owned();
        let second = start("n2", &["--seed", &seed]);
        first.running.says("node is up");
        second.running.says("node is up");
        Self {
            _directory: directory,
            first,
            second,
        }
    }
}

#[test]
fn certificates_make_a_cluster_and_who_leaves_it_says_so() {
    // Whoever is merely silent is thought to be alive for longer than this test waits.
    let Pair {
        first,
        second,
        _directory,
    } = Pair::start("gossip.silence_min = '1m'");
    let live = || {
        let live = first
            .nodes()
            .into_iter()
            .filter(|node| node["live"] == true);
        live.map(|node| node["node"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(live(), ["n1", "n2"]);
    second.running.signal("TERM");
    assert_eq!(second.running.end().0, Some(0));
    first.running.says("node has left");
    assert_eq!(live(), ["n1"]);
}

#[test]
fn a_node_whose_clock_was_ahead_begins_again_after_the_run_that_peers_know() {
    // Half an hour ahead of all clocks that there will be.
    let Pair {
        first,
        second,
        _directory,
    } = Pair::start("incarnation_min = 4_000_000_000_000");
    let own = |node: &Node| {
        let nodes = node.nodes().into_iter();
        let mut own = nodes.filter(|node| node["self"] == true);
        own.next().unwrap()["addr"].as_str().unwrap().to_owned()
    };
    let (seed, addr) = (own(&first), own(&second));
    drop(second);
    first.running.says("node is down");
    let dir = path(&_directory, "n2");
    let arguments = ["--listen", &addr, "--tls-dir", &dir, "--seed", &seed];
    let second = Node::start(&arguments);
    second.running.says("starting again after that one");
    let again = second.running.says("listening");
    assert!(
        again.contains("\"incarnation\":\"4000000000001\""),
        "{again}"
    );
    assert!(again.contains(&addr), "{again}");
    second.running.says("node is up");
    first.running.says("node is up");
}

#[test]
fn the_links_to_the_peers_are_shown() {
    let pair = Pair::start("");
    let first = &pair.first;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let nodes = first.nodes();
        assert!(nodes[0]["link"].is_null(), "a node has no link to itself");
        if nodes[1]["link"]["up"] == true {
            break;
        }
        assert!(Instant::now() < deadline, "never up: {nodes:?}");
    }
    let table = printed(&["nodes", "--long", "--http", &first.http]);
    let [headings, own, peer] = table.lines().collect::<Vec<_>>()[..] else {
        panic!("{table}");
    };
    assert!(headings.contains("ROUND TRIP"), "{table}");
    let is_shown = |line: &str, node: &Node| line.contains(&format!(" {} ", node.client));
    assert!(
        own.contains("this node ") && is_shown(own, first),
        "{table}"
    );
    assert!(own.contains(" -  "), "{table}");
    assert!(is_shown(peer, &pair.second), "{table}");
    assert!(peer.contains(" up ") && peer.contains(" ms "), "{table}");
}

#[test]
fn a_topic_is_explained_and_so_is_who_does_not_answer() {
    let pair = Pair::start("gossip.silence_min = '1m'");
    let subscribed = Running::start(tidings(&[
        "sub",
        "--server",
        &pair.second.client,
        "work.*",
        "--barrier",
    ]));
    subscribed.says("everywhere");
    let explain = |more: &[&str]| {
        let explain = ["explain", "work.1", "--http", &pair.first.http];
        printed(&[&explain[..], more].concat())
    };
    let told = explain(&[]);
    let says = |words: &str| {
        told.lines()
            .any(|line| line.split_whitespace().eq(words.split(' ')))
    };
    assert!(
        told.starts_with("work.1 in the scope default has 1 member.\n"),
        "{told}"
    );
    assert!(says("n2 the same"), "{told}");
    let row = told
        .lines()
        .find(|line| line.starts_with("n2") && line.contains("live"));
    assert!(row.is_some_and(|row| row.contains(" up ")), "{told}");

    pair.second.running.signal("STOP");
    let told = explain(&["--timeout", "100ms"]);
    assert!(told.contains("no answer in time"), "{told}");
    let json: Value = serde_json::from_str(&explain(&["--timeout", "100ms", "--json"])).unwrap();
    assert_eq!(json["others"][0]["says"], "no-answer");
    assert_eq!(json["nodes"][1]["members_count"], 1);
    pair.second.running.signal("CONT");
}

#[test]
fn a_second_signal_ends_a_node_at_once() {
    // The second node does not answer, and so the first would take its time to leave.
    let Pair {
        first,
        second,
        _directory,
    } = Pair::start("drain = '5m'");
    second.running.signal("STOP");
    first.running.signal("TERM");
    first.running.says("leaving");
    first.running.signal("TERM");
    assert_eq!(first.running.end().0, Some(143));
}

#[test]
fn an_authority_is_not_overwritten_by_accident() {
    let directory = tempfile::tempdir().unwrap();
    let ca = path(&directory, "ca");
    let create = ["tls", "ca", "create", "--dir", &ca];
    printed(&create);
    let key = || fs::read(Path::new(&ca).join("ca-key.pem")).unwrap();
    let before = key();
    let told = complaint(tidings(&create));
    assert!(
        told.contains("ca.pem is there already; --force overwrites it"),
        "{told}"
    );
    assert_eq!(key(), before);
    printed(&[&create[..], &["--force"]].concat());
    assert_ne!(key(), before);
}

#[test]
fn dev_runs_a_cluster_and_tells_how_to_reach_it() {
    let mut dev = Running::start(tidings(&["dev", "--nodes", "2"]));
    let mut told = dev.stdout();
    let mut addresses = Vec::new();
    while addresses.len() < 2 {
        let mut line = String::new();
        assert!(told.read_line(&mut line).unwrap() > 0, "it ends early");
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        if words.first().is_some_and(|word| word.starts_with('n')) {
            addresses.push((words[1].clone(), words[2].clone()));
        }
    }
    let (first, last) = (&addresses[0], &addresses[1]);
    let wait = ["--barrier", "--timeout", "20s"];
    let subscribe = ["sub", "--count", "1", "--server", &last.0, "weather.>"];
    let mut subscriber = Running::start(tidings(&[&subscribe[..], &wait].concat()));
    // Once the first node has said that it has it, a message cannot miss it.
    subscriber.says("subscribed everywhere (n1)");
    printed(&["pub", "--server", &first.0, "weather.sf", "sunny"]);
    assert_eq!(lines(subscriber.stdout()), ["sunny"]);
    dev.signal("INT");
    assert_eq!(dev.end().0, Some(0));
}

#[test]
fn a_watch_tells_of_members_and_nodes_and_messages_go_to_one_node() {
    let Pair {
        first,
        second,
        _directory,
    } = Pair::start("");
    let watch = |arguments: &[&str]| {
        let mut running = Running::start(tidings(
            &[&["watch", "--http", &first.http], arguments].concat(),
        ));
        let out = running.stdout();
        (running, out)
    };
    let line = |out: &mut dyn BufRead| {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ends early");
        line.trim_end().to_owned()
    };
    let (_all, mut all) = watch(&["--scope", "staging"]);
    assert_eq!([line(&mut all), line(&mut all)], ["node\tn1", "node\tn2"]);
    let (watcher, mut nodes) = watch(&["--nodes", "--json"]);
    let snapshot: Value = serde_json::from_str(&line(&mut nodes)).unwrap();
    assert_eq!(snapshot["event"], "snapshot");
    assert_eq!(snapshot["nodes"].as_array().unwrap().len(), 2);

    let staging = [
        "--scope", "staging", "--agent", "reader", "--count", "2", "a.b",
    ];
    let mut here = first.subscriber(&staging);
    assert!(line(&mut all).starts_with("joined\ta.b\tstaging\tn1\treader\t"));
    let mut there = second.subscriber(&staging);
    assert!(line(&mut all).starts_with("joined\ta.b\tstaging\tn2\treader\t"));
    let listed = printed(&["topics", "--http", &first.http, "--scope", "staging"]);
    assert!(listed.contains("a.b"), "{listed}");
    let listed = printed(&["topics", "--http", &first.http, "--scope", "default"]);
    assert!(!listed.contains("a.b"), "{listed}");

    first.publish(&["a.b", "another scope"]);
    first.publish(&["a.b", "local", "--local", "--scope", "staging"]);
    first.publish(&["a.b", "there", "--node", "n2", "--scope", "staging"]);
    first.publish(&["a.b", "both", "--scope", "staging"]);
    assert_eq!(lines(here.stdout()), ["local", "both"]);
    assert_eq!(lines(there.stdout()), ["there", "both"]);
    let to_nobody = ["pub", "--server", &first.client, "--node", "n7", "a.b", "x"];
    let told = complaint(tidings(&to_nobody));
    assert!(told.contains("no live node is called n7"), "{told}");
    let wrong = [
        "pub",
        "--server",
        &first.client,
        "--scope",
        "a b",
        "a.b",
        "x",
    ];
    let output = tidings(&wrong).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "clap says what is wrong");

    second.running.signal("TERM");
    let mut told = || serde_json::from_str::<Value>(&line(&mut nodes)).unwrap();
    // That a message may be missing is told as well.
    let mut events = std::iter::repeat_with(&mut told);
    let down = events.find(|event| event["event"] == "node-down").unwrap();
    assert_eq!((&down["node"], &down["left"]), (&"n2".into(), &true.into()));
    // Watchers hold up the end of nobody, and end with their node.
    first.running.signal("TERM");
    assert_eq!(first.running.end().0, Some(0));
    let (code, told) = watcher.end();
    assert_eq!(code, Some(1));
    assert!(told.contains("the node ended the connection"), "{told}");
}
