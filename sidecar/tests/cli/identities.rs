use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::process::{Node, complaint, path, printed, text, tidings};

/// The hash of a password, as the command prints it.
fn hash(password: &str) -> String {
    let mut command = tidings(&["passwd"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = command.spawn().unwrap();
    let mut stdin = running.stdin.take().unwrap();
    writeln!(stdin, "{password}").unwrap();
    drop(stdin);
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success());
    text(&output.stdout).trim_end().to_owned()
}

#[test]
fn identities_are_read_when_a_node_starts_and_again_on_sighup() {
    let directory = tempfile::tempdir().unwrap();
    let config = path(&directory, "tidings.toml");
    let (hash, made) = (
        hash("s3cret"),
        tidings(&["passwd", "--token"]).output().unwrap(),
    );
    let token = text(&made.stderr)
        .trim_end()
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();
    let settings = |role: &str| {
        format!(
            "[[identities]]\nname = 'planner'\nrole = '{role}'\npassword = '{hash}'\n\
             [[identities]]\nname = 'tok'\nrole = 'all'\ntoken = '{}'\n\
             [roles.all]\n[roles.readers]\npublish = {{ allow = [] }}\n",
            text(&made.stdout).trim_end()
        )
    };
    fs::write(&config, settings("all")).unwrap();
    let node = Node::start(&["--config", &config]);
    node.running.says("is refused");
    let publish = |user: &str, password: &str| {
        let mut command = tidings(&["pub", "--server", &node.client, "a", "x"]);
        command
            .args(["--user", user])
            .env("TIDINGS_PASSWORD", password);
        command
    };
    assert!(
        publish("planner", "s3cret")
            .output()
            .unwrap()
            .status
            .success()
    );
    let refused = complaint(publish("planner", "secret"));
    assert!(refused.contains("Authorization Violation"), "{refused}");
    let mut members = tidings(&["members", "--http", &node.http, "a"]);
    assert!(
        members
            .env("TIDINGS_TOKEN", token)
            .output()
            .unwrap()
            .status
            .success()
    );
    let refused = complaint(tidings(&["members", "--http", &node.http, "a"]));
    assert!(refused.contains("401"), "{refused}");

    fs::write(&config, settings("readers")).unwrap();
    node.running.signal("HUP");
    node.running.says("identities and roles were read again");
    let refused = complaint(publish("planner", "s3cret"));
    assert!(
        refused.contains("Permissions Violation for Publish"),
        "{refused}"
    );
    fs::write(&config, settings("nobody")).unwrap();
    node.running.signal("HUP");
    let told = node.running.says("identities and roles stay as they were");
    assert!(told.contains("no [roles.nobody]"), "{told}");
}

#[test]
fn a_node_without_identities_says_so_and_lets_everybody_in() {
    let node = Node::start(&[]);
    node.running.says("there are no identities");
    node.publish(&["a", "x"]);
}

#[test]
fn settings_with_identities_print_as_they_are_and_name_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let config = path(&directory, "tidings.toml");
    let settings = "[[identities]]\nname = 'guest'\nrole = 'guests'\nanonymous = true\n\
         [roles.guests]\nscope = 'lobby'\nallow_responses = true\nview = 'nothing'\n\
         publish = { deny = ['a.>'] }\nsubscribe = { allow = ['b.* workers'] }\n";
    fs::write(&config, settings).unwrap();
    let check = ["config", "check", "--config", &config];
    let first = printed(&check);
    fs::write(&config, &first).unwrap();
    assert_eq!(printed(&check), first);
    let read: toml::Table = first.parse().unwrap();
    let role = &read["roles"]["guests"];
    assert_eq!(role["subscribe"]["allow"][0].as_str(), Some("b.* workers"));
    assert_eq!(role["allow_responses"]["max"].as_integer(), Some(1));
    for (wrong, expected) in [
        (
            "anonymous = true",
            "identities: \"guest\": it has just one of",
        ),
        ("role = 'guests'", "missing field `role`"),
        ("view = 'nothing'", ""),
    ] {
        fs::write(&config, settings.replacen(wrong, "", 1)).unwrap();
        let output = tidings(&check).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.success(), expected.is_empty(), "{told}");
        assert!(told.contains(expected), "{told}");
    }
    for (wrong, instead, expected) in [
        ("view = 'nothing'", "view = 'all'", "unknown variant"),
        (
            "'b.* workers'",
            "'b.* workers x'",
            "neither a topic nor a topic and a queue group",
        ),
        ("['a.>']", "['a..b']", "no empty token"),
        (
            "allow_responses = true",
            "allow_responses = { most = 1 }",
            "not true, false or a table",
        ),
        ("anonymous = true", "password = 'plain'", "tidings passwd"),
    ] {
        fs::write(&config, settings.replacen(wrong, instead, 1)).unwrap();
        let told = complaint(tidings(&check));
        assert!(told.starts_with(&format!("error: in {config}: ")), "{told}");
        assert!(told.contains(expected), "{told}");
    }
}
