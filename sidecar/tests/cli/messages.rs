use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::process::{Node, complaint, lines, output, path, printed, text, tidings};

#[test]
fn messages_are_printed_in_order_over_all_topics() {
    let node = Node::start(&[]);
    let mut subscriber = node.subscriber(&["--count", "41", "t.a", "t.b"]);
    let publisher = &mut tidings(&["pub", "--server", &node.client, "t.a", "-", "--count", "20"]);
    let mut publisher = publisher.stdin(Stdio::piped()).spawn().unwrap();
    publisher
        .stdin
        .take()
        .unwrap()
        .write_all(b"from a pipe")
        .unwrap();
    assert!(publisher.wait().unwrap().success());
    node.publish(&["t.b", "x", "--count", "20"]);
    node.publish(&["t.c", "not for it"]);
    node.publish(&["t.a", "last"]);
    let read = lines(subscriber.stdout());
    assert_eq!(read[..20], vec!["from a pipe"; 20]);
    assert_eq!(read[20..40], vec!["x"; 20]);
    assert_eq!(read[40..], ["last"]);
    assert_eq!(subscriber.end().0, Some(0));
}

#[test]
fn json_lines_have_topic_payload_and_headers() {
    let node = Node::start(&[]);
    let mut subscriber = node.subscriber(&["--json", "--count", "1", "--agent", "reader", "w.>"]);
    let members = printed(&["members", "--http", &node.http, "--json", "w.>"]);
    let members: Value = serde_json::from_str(&members).unwrap();
    assert_eq!(members[0]["agent"], "reader");
    let topics = printed(&["topics", "--http", &node.http]);
    assert!(topics.contains("w.>"), "{topics}");

    node.publish(&["w.sf", "sunny", "--header", "Trace: 1"]);
    let read: Value = serde_json::from_str(&lines(subscriber.stdout())[0]).unwrap();
    let expected = json!({
        "topic": "w.sf", "payload": "sunny", "headers": {"Trace": ["1"]}, "reply_to": null,
    });
    assert_eq!(read, expected);
}

#[test]
fn a_subscriber_says_something_of_itself() {
    let node = Node::start(&[]);
    let meta = ["--meta", "does=indexing", "--meta", "since=noon=12"];
    let _subscriber = node.subscriber(&[&meta[..], &["--agent", "reader", "w.*", "v"]].concat());
    for topic in ["w.*", "v"] {
        let members = printed(&["members", "--http", &node.http, "--json", topic]);
        let members: Value = serde_json::from_str(&members).unwrap();
        let said = json!({"does": "indexing", "since": "noon=12"});
        assert_eq!(members[0]["metadata"], said);
    }
    let members = printed(&["members", "--http", &node.http, "v"]);
    let said = r#"{"does":"indexing","since":"noon=12"}"#;
    assert!(members.contains(said), "{members}");

    let large = format!("does={}", "x".repeat(2_000));
    let server = &node.client;
    let refused = complaint(tidings(&["sub", "--server", server, "--meta", &large, "w"]));
    assert!(refused.contains("metadata_bytes_max"), "{refused}");
}

#[test]
fn a_subscriber_ends_quietly_when_nobody_reads_it() {
    let node = Node::start(&[]);
    let mut subscriber = node.subscriber(&["t"]);
    drop(subscriber.stdout());
    node.publish(&["t", "x", "--count", "3"]);
    assert_eq!(subscriber.end(), (Some(0), String::new()));
}

#[test]
fn what_the_node_refuses_fails_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let config = path(&directory, "small.toml");
    fs::write(
        &config,
        "limits.payload_bytes_max = 10\nlimits.subscriptions_per_session_max = 1",
    )
    .unwrap();
    let node = Node::start(&["--config", &config]);
    let refused = complaint(tidings(&[
        "pub",
        "--server",
        &node.client,
        "t",
        "twelve bytes",
    ]));
    assert_eq!(
        refused,
        "error: payload and headers have 12 bytes, the node takes 10"
    );
    let refused = complaint(tidings(&["sub", "--server", &node.client, "a", "b"]));
    assert!(
        refused.starts_with("error: the node refuses: "),
        "{refused}"
    );
}

#[test]
fn a_request_prints_what_is_answered_or_fails() {
    let node = Node::start(&[]);
    let ask = |arguments: &[&str]| {
        let mut command = tidings(&["request", "--server", &node.client]);
        command.args(arguments).output().unwrap()
    };
    let nobody = ask(&["sum", "6 * 7"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(text(&nobody.stderr).trim(), "error: nobody listens on sum");

    let one = node.answerer(&["--count", "2", "sum", "42"]);
    let shell = "cat; printf ' on %s' $TIDINGS_TOPIC; test \"$TIDINGS_TOPIC\" != sum.none";
    let _other = node.answerer(&["--queue", "q", "sum.*", "--run", shell]);
    let answered = ask(&["sum", "6 * 7"]);
    assert_eq!(text(&answered.stdout), "42\n");
    assert_eq!(text(&ask(&["sum.up", "what"]).stdout), "what on sum.up\n");
    let failed = ask(&["--json", "sum.none", "what"]);
    let failed: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(failed["headers"]["Nats-Service-Error-Code"], json!(["500"]));

    let late = ask(&["--count", "2", "--timeout", "200ms", "sum", "x"]);
    assert_eq!(text(&late.stdout), "42\n");
    assert_eq!(
        text(&late.stderr).trim(),
        "error: 1 of 2 answers within 200ms"
    );
    assert_eq!(one.end().0, Some(0));
}

#[test]
fn of_a_queue_group_one_subscriber_prints_each_message() {
    let node = Node::start(&[]);
    let all = ["--queue", "q", "job", "end"];
    let subscribers = [node.subscriber(&all), node.subscriber(&all)];
    let members = printed(&["members", "--http", &node.http, "job"]);
    assert_eq!(
        members.lines().filter(|line| line.contains(" q ")).count(),
        2,
        "{members}"
    );
    node.publish(&["--count", "40", "job", "x"]);
    drop(node);
    let counts = subscribers.map(|mut one| lines(one.stdout()).len());
    assert_eq!(counts[0] + counts[1], 40);
    assert!(counts[0] > 5 && counts[1] > 5, "{counts:?}");
}

#[test]
fn an_assured_message_prints_what_became_of_it_and_fails_unless_all_have_taken_it() {
    let node = Node::start(&[]);
    let mut subscriber = node.subscriber(&["--agent", "reader", "--count", "2", "t.*"]);
    let publish = |arguments: &[&str]| {
        let mut command = tidings(&["pub", "--server", &node.client, "--assured"]);
        command.args(arguments).output().unwrap()
    };
    let told = publish(&["--timeout", "30s", "t.a", "one"]);
    let table = String::from_utf8(told.stdout).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_ascii_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NODE", "AGENT", "MEMBER", "OUTCOME"]);
    assert_eq!((rows.len(), rows[1][1], rows[1][3]), (2, "reader", "taken"));
    assert!(told.status.success());
    // Nobody is missing where there is nobody.
    assert!(publish(&["other", "nobody"]).status.success());

    let wrong = output(&["pub", "--assured", "--timeout", "1h", "t.a", "x"]);
    assert_eq!(wrong.status.code(), Some(2));
    let wrong = text(&wrong.stderr);
    assert!(wrong.contains("1h is not within 1ms to 10m"), "{wrong}");

    node.publish(&["--member", rows[1][2], "t.b", "two"]);
    assert_eq!(lines(subscriber.stdout()), ["one", "two"]);
    assert_eq!(subscriber.end().0, Some(0));
}

#[test]
fn an_assured_message_that_somebody_has_no_room_for_fails() {
    let directory = tempfile::tempdir().unwrap();
    let config = path(&directory, "full.toml");
    // Nothing but the first message finds room, as long as it is not read.
    let text = "gateway.mailbox.messages_max = 1\ngateway.mailbox.overflow = \"drop-newest\"";
    fs::write(&config, text).unwrap();
    let node = Node::start(&["--config", &config]);
    let payload = "x".repeat(900_000);
    let subscriber = node.subscriber(&["t"]);
    subscriber.signal("STOP");
    let mut last = None;
    for _ in 0..50 {
        let mut command = tidings(&["pub", "--server", &node.client, "--assured", "t", "-"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut publisher = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = publisher.stdin.take().unwrap();
        stdin.write_all(payload.as_bytes()).unwrap();
        drop(stdin);
        let output = publisher.wait_with_output().unwrap();
        if !output.status.success() {
            last = Some(output);
            break;
        }
    }
    let output = last.expect("the mailbox is full at last");
    assert!(String::from_utf8_lossy(&output.stdout).contains("refused"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("1 of 1 members have not taken the message"),
        "{told}"
    );
}

#[test]
fn changes_at_an_mcp_server_are_told_by_the_convention() {
    let node = Node::start(&[]);
    let mut subscriber = node.subscriber(&["--json", "--count", "3", "mcp.weather.>"]);
    let notify = |args: &[&str]| {
        let notify = ["mcp", "notify", "--server", &node.client];
        output(&[&notify[..], args].concat())
    };
    let told = notify(&["weather", "--tools", "weather://sf", "weather://la"]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    let read = lines(subscriber.stdout());
    let read = read
        .iter()
        .map(|line| -> Value { serde_json::from_str(line).unwrap() });
    let read: Vec<_> = read
        .map(|told| json!([told["topic"], told["payload"]]))
        .collect();
    assert_eq!(
        read,
        [
            json!(["mcp.weather.tools.list_changed", "{}"]),
            json!(["mcp.weather.resources.updated", r#"{"uri":"weather://sf"}"#]),
            json!(["mcp.weather.resources.updated", r#"{"uri":"weather://la"}"#]),
        ]
    );
    for (args, why) in [
        (&["weather"][..], "required"),
        (&["we.ather", "--tools"], "letters, digits"),
        (&["weather", ""], "1 to 2048 bytes"),
    ] {
        let told = notify(args);
        let complaint = text(&told.stderr);
        assert!(
            !told.status.success() && complaint.contains(why),
            "{args:?}: {complaint}"
        );
    }
}
