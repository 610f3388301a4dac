use std::net::SocketAddr;

use serde_json::json;

use crate::process::{Node, complaint, printed, tidings};

#[test]
fn a_node_alone_serves_and_leaves_on_sigterm() {
    let node = Node::start(&["--name", "n1"]);
    assert!(node.client.parse::<SocketAddr>().unwrap().port() > 0);
    assert!(
        node.running
            .says("without certificates")
            .contains("tidings tls ca create")
    );

    let nodes = node.nodes();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0]["node"], "n1");
    assert_eq!(
        (&nodes[0]["live"], &nodes[0]["self"]),
        (&json!(true), &json!(true))
    );
    let table = printed(&["nodes", "--http", &format!("http://{}", node.http)]);
    assert!(table.starts_with("NODE") && table.contains("n1"), "{table}");

    node.running.signal("TERM");
    assert_eq!(node.running.end().0, Some(0));
}

#[test]
fn sigint_leaves_too() {
    let node = Node::start(&[]);
    node.running.signal("INT");
    assert_eq!(node.running.end().0, Some(0));
}

#[test]
fn an_address_in_use_is_named() {
    let node = Node::start(&[]);
    let told = complaint(tidings(&[
        "run",
        "--client",
        &node.client,
        "--http",
        "none",
    ]));
    let expected = format!(
        "error: cannot listen on {} (the address `client`)",
        node.client
    );
    assert!(told.starts_with(&expected), "{told}");
}

#[test]
fn without_a_node_commands_say_so() {
    for arguments in [
        ["nodes", "--http", "127.0.0.1:1"],
        ["topics", "--http", "127.0.0.1:1"],
    ] {
        let told = complaint(tidings(&arguments));
        assert!(
            told.starts_with("error: cannot ask the node at 127.0.0.1:1: "),
            "{told}"
        );
    }
    let told = complaint(tidings(&["pub", "a", "b", "--server", "127.0.0.1:1"]));
    assert!(
        told.starts_with("error: cannot connect to 127.0.0.1:1: "),
        "{told}"
    );
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        assert!(script.contains("members"), "{shell}");
    }
}

#[test]
fn a_topic_is_described_and_shown() {
    let node = Node::start(&[]);
    let describe = |arguments: &[&str]| {
        let describe = ["topics", "describe", "--http", &node.http, "kb.updates"];
        printed(&[&describe[..], arguments].concat())
    };
    assert_eq!(describe(&[]), "nothing is known of it\n");
    describe(&["--description", "pages that changed", "--owner", "kb"]);
    let told = describe(&["--content-type", "text/plain", "--owner", ""]);
    let told: Vec<_> = told.lines().collect();
    assert_eq!(
        told[..2],
        [
            "description: pages that changed",
            "content type: text/plain"
        ]
    );
    assert!(told[2].starts_with("set on: "), "{told:?}");

    let long = printed(&["topics", "--http", &node.http, "--described"]);
    assert!(long.contains("text/plain"), "{long}");
    assert!(!printed(&["topics", "--http", &node.http, "--long"]).contains("kb.updates"));
    let _subscriber = node.subscriber(&["kb.updates"]);
    let long = printed(&["topics", "--http", &node.http, "--long"]);
    assert!(long.contains("pages that changed"), "{long}");
    assert_eq!(describe(&["--clear"]), "nothing is known of it\n");
}
