use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::process::{Node, complaint, path, printed, tidings};

/// An authority, and what is made by it.
struct Ca(TempDir);

impl Ca {
    fn create() -> Self {
        let ca = Self(tempfile::tempdir().unwrap());
        printed(&[
            "tls",
            "ca",
            "create",
            "--cluster",
            "test",
            "--dir",
            &ca.at("ca"),
        ]);
        ca
    }

    fn at(&self, name: &str) -> String {
        path(&self.0, name)
    }

    fn file(&self, directory: &str, name: &str) -> PathBuf {
        self.0.path().join(directory).join(name)
    }

    /// Certifies a node, in the directory of its name.
    fn certify(&self, node: &str, more: &[&str]) {
        let (ca, dir) = (self.at("ca"), self.at(node));
        let create = [
            "tls", "cert", "create", "--node", node, "--ca-dir", &ca, "--dir", &dir, "--force",
        ];
        printed(&[&create, more].concat());
    }

    fn revoke(&self, node: &str) -> String {
        printed(&["tls", "revoke", "--node", node, "--ca-dir", &self.at("ca")])
    }

    fn start(&self, node: &str, more: &[&str]) -> Node {
        let (tls, data) = (self.at(node), self.at(&format!("{node}-data")));
        let arguments = [
            "--listen",
            "127.0.0.1:0",
            "--tls-dir",
            &tls,
            "--data-dir",
            &data,
        ];
        Node::start(&[&arguments[..], more].concat())
    }
}

fn addr(node: &Node) -> String {
    let nodes = node.nodes();
    let own = nodes.iter().find(|node| node["self"] == true).unwrap();
    own["addr"].as_str().unwrap().to_owned()
}

/// Waits until a node has so many links.
fn has_links(node: &Node, count: usize, limit: Duration) {
    let deadline = Instant::now() + limit;
    let up = || {
        let nodes = node.nodes();
        nodes
            .iter()
            .filter(|node| node["link"]["up"] == true)
            .count()
    };
    while up() != count {
        assert!(Instant::now() < deadline, "never {count} links");
        sleep(Duration::from_millis(10));
    }
}

/// When the certificate of a node runs out, as its metrics have it.
fn expiry(node: &Node) -> f64 {
    metric(node, "tidings_certificate_expiry_seconds")
}

/// A number among the metrics of a node, by its name and labels.
fn metric(node: &Node, series: &str) -> f64 {
    let mut stream = TcpStream::connect(&node.http).unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        node.http
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates go by the wall clock"
)]
fn in_seconds(seconds: u64) -> f64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    (now + Duration::from_secs(seconds)).as_secs_f64()
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_revoked_node_is_shut_out_by_all_and_over_their_restarts() {
    let ca = Ca::create();
    for node in ["n1", "n2", "n3"] {
        ca.certify(node, &[]);
    }
    let first = ca.start("n1", &[]);
    let seed = addr(&first);
    let others = ["n2", "n3"].map(|node| ca.start(node, &["--seed", &seed]));
    let [second, third] = &others;
    for node in [&first, second, third] {
        has_links(node, 2, SOON);
    }

    let told = ca.revoke("n3");
    assert!(
        told.contains("number 1 and names all that are revoked: 1"),
        "{told}"
    );
    fs::copy(ca.file("ca", "revoked.list"), ca.file("n1", "revoked.list")).unwrap();
    first.running.signal("HUP");
    for (node, links) in [(&first, 1), (second, 1), (third, 0)] {
        has_links(node, links, Duration::from_secs(2));
    }
    // As the reason for which its link is closed, or it gets no other.
    first.running.says("certificate is revoked");
    second.running.says("certificate is revoked");
    third.running.has_said("our certificate is revoked");

    // What they know after a restart, they know from their data directories.
    let outcast = addr(third);
    fs::remove_file(ca.file("n1", "revoked.list")).unwrap();
    for (name, node) in [("n1", &first), ("n2", second)] {
        node.running.signal("TERM");
        node.running.says("left");
        let again = ca.start(name, &["--seed", &outcast]);
        again.running.has_said("its certificate is revoked");
        // The outcast knows it, too, and would say so on a link.
        let opened = "tidings_link_changes_total{change=\"opened\"}";
        assert_eq!(metric(&again, opened), 0.0);
    }
}

#[test]
fn a_new_certificate_lets_a_revoked_name_in_again() {
    let ca = Ca::create();
    for node in ["n1", "n2"] {
        ca.certify(node, &[]);
    }
    ca.revoke("n3");
    let told = ca.revoke("n2");
    assert!(
        told.contains("number 2 and names all that are revoked: 2"),
        "{told}"
    );
    fs::copy(ca.file("ca", "revoked.list"), ca.file("n1", "revoked.list")).unwrap();
    let first = ca.start("n1", &[]);
    let second = ca.start("n2", &["--seed", &addr(&first)]);
    second.running.has_said("our certificate is revoked");
    ca.certify("n2", &[]);
    assert!(
        ca.file("n2", "revoked.list").exists(),
        "it comes with what is revoked"
    );
    second.running.signal("HUP");
    second.running.says("read again");
    has_links(&second, 1, SOON);
    has_links(&first, 1, SOON);
}

#[test]
fn a_hangup_renews_the_certificate_and_never_ends_the_node() {
    let ca = Ca::create();
    ca.certify("n1", &["--valid-for", "10m"]);
    let node = ca.start("n1", &[]);
    assert!((in_seconds(500)..in_seconds(601)).contains(&expiry(&node)));
    ca.certify("n1", &["--valid-for", "20m"]);
    node.running.signal("HUP");
    node.running.says("read again");
    let renewed = expiry(&node);
    assert!((in_seconds(1_100)..in_seconds(1_201)).contains(&renewed));

    let certificate = ca.file("n1", "node.pem");
    fs::write(&certificate, "nonsense").unwrap();
    node.running.signal("HUP");
    let told = node.running.says("were not read again");
    assert!(told.contains("node.pem"), "{told}");
    ca.certify("n2", &[]);
    for file in ["node.pem", "node-key.pem"] {
        fs::copy(ca.file("n2", file), ca.file("n1", file)).unwrap();
    }
    node.running.signal("HUP");
    let told = node.running.says("were not read again");
    assert!(
        told.contains("the certificate is for node n2, but this node is n1"),
        "{told}"
    );
    assert_eq!(expiry(&node), renewed);

    let alone = Node::start(&[]);
    alone.running.signal("HUP");
    alone.running.says("no directory with certificates");
    alone.running.signal("TERM");
    assert_eq!(alone.running.end().0, Some(0));
}

#[test]
fn a_hangup_renews_the_certificate_for_clients_and_an_error_is_told_before_anything_starts() {
    let ca = Ca::create();
    ca.certify("n1", &[]);
    let (certificate, key) = (ca.file("n1", "node.pem"), ca.file("n1", "node-key.pem"));
    let config = ca.at("tidings.toml");
    let tls = format!("gateway.tls = {{ cert = {certificate:?}, key = {key:?} }}");
    fs::write(&config, &tls).unwrap();
    let node = Node::start(&["--config", &config]);
    ca.certify("n1", &[]);
    node.running.signal("HUP");
    node.running
        .says("the certificate for clients was read again");
    fs::write(&certificate, "nonsense").unwrap();
    node.running.signal("HUP");
    let told = node
        .running
        .says("the certificate for clients was not read again");
    assert!(told.contains("gateway.tls.cert: "), "{told}");
    node.running.signal("TERM");
    assert_eq!(node.running.end().0, Some(0));
    for command in [&["config", "check"][..], &["run"]] {
        let arguments = [command, &["--config", &config]].concat();
        let told = complaint(tidings(&arguments));
        let expected = format!("error: in {config}: gateway.tls.cert: ");
        assert!(told.starts_with(&expected), "{told}");
    }
}

#[test]
fn files_that_are_written_are_read_without_being_asked() {
    let ca = Ca::create();
    ca.certify("n1", &["--valid-for", "10m"]);
    let node = ca.start("n1", &[]);
    // What comes at the same time as the first look is seen at the next change only.
    let deadline = Instant::now() + SOON;
    while expiry(&node) < in_seconds(1_000) {
        assert!(Instant::now() < deadline, "never read again");
        ca.certify("n1", &["--valid-for", "20m"]);
        sleep(Duration::from_secs(5));
    }
}

#[test]
fn a_certificate_that_runs_out_is_complained_of_in_time() {
    let ca = Ca::create();
    ca.certify("n1", &["--valid-for", "4s"]);
    let node = ca.start("n1", &[]);
    let warned = node.running.has_said("runs out soon");
    assert!(
        warned.contains("WARN") && warned.contains("\"days_left\":0"),
        "{warned}"
    );
    assert!(expiry(&node) < in_seconds(5));
    assert!(node.running.says("has run out").contains("ERROR"));
}

#[test]
fn revoking_goes_on_from_the_list_of_this_authority_only() {
    let (ours, theirs) = (Ca::create(), Ca::create());
    theirs.revoke("n1");
    fs::copy(
        theirs.file("ca", "revoked.list"),
        ours.file("ca", "revoked.list"),
    )
    .unwrap();
    let dir = ours.at("ca");
    let told = complaint(tidings(&[
        "tls", "revoke", "--node", "n1", "--ca-dir", &dir,
    ]));
    assert!(
        told.contains("revoked.list is of another authority"),
        "{told}"
    );
    fs::write(ours.file("ca", "revoked.list"), "x").unwrap();
    let told = complaint(tidings(&[
        "tls", "revoke", "--node", "n1", "--ca-dir", &dir,
    ]));
    assert!(told.contains("revoked.list is of no use"), "{told}");
    printed(&["tls", "ca", "create", "--dir", &dir, "--force"]);
    let told = ours.revoke("n1");
    assert!(told.contains("number 1 "), "{told}");
}
