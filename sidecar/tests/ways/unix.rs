use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use async_nats::ConnectOptions;
use tidings_sidecar::gateway::UnixDoor;
use tidings_sidecar::{Config, FileMode, GatewayConfig, Sidecar, SidecarError};
use tokio::net::UnixStream;

use crate::client::Client;
use crate::gate::Gate;

async fn connect(path: &Path) -> Client<UnixStream> {
    Client::new(UnixStream::connect(path).await.unwrap())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_client_is_served_by_a_unix_socket_as_by_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidings.sock");
    let gate = Gate::open(GatewayConfig::default()).await;
    gate.unix(&path).await;
    assert_eq!(mode(&path), 0o600, "only its user connects");
    let mut client = connect(&path).await;
    let info = client.info().await;
    assert_eq!(info["headers"], true);
    assert_eq!(info.get("client_ip"), None, "it has none");
    let topic = client.expect_served().await;
    // Both ways lead to the same node.
    let mut other = gate.plain().await;
    other.info().await;
    other
        .send(format!("CONNECT {{}}\r\nPUB {topic} 2\r\nhi\r\n"))
        .await;
    client.expect(&[&format!("MSG {topic} 7 2"), "hi"]).await;
    client.send("FROB\r\n").await;
    client.expect(&["-ERR 'Unknown Protocol Operation'"]).await;
    client.expect_closed().await;
}

#[tokio::test]
async fn a_file_that_was_left_behind_is_replaced_and_removed_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidings.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the file is left behind");
    let gateway = GatewayConfig {
        unix: Some(path.clone()),
        unix_mode: FileMode::try_from("0660".to_owned()).unwrap(),
        ..GatewayConfig::default()
    };
    let config = Config {
        client: None,
        http: None,
        gateway,
        ..Config::default()
    };
    let sidecar = Sidecar::start(config, None).await.unwrap();
    assert_eq!(mode(&path), 0o660);
    let mut client = connect(&path).await;
    client.info().await;
    client.expect_served().await;
    sidecar.node().leave().await;
    assert!(!path.exists(), "it is gone with the node");
    client.expect_closed().await;
}

#[tokio::test]
async fn a_path_at_which_somebody_listens_or_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidings.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let error = UnixDoor::bind(&path, FileMode::OWNER).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    drop(listener);

    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let error = UnixDoor::bind(&file, FileMode::OWNER).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    let gateway = GatewayConfig {
        unix: Some(file),
        ..GatewayConfig::default()
    };
    let config = Config {
        client: None,
        http: None,
        gateway,
        ..Config::default()
    };
    let error = Sidecar::start(config, None).await.unwrap_err();
    assert!(matches!(error, SidecarError::BindUnix { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_another_has_put_in_its_place_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidings.sock");
    let door = UnixDoor::bind(&path, FileMode::OWNER).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(door);
    assert!(path.exists());
}

#[tokio::test]
async fn places_are_shared_by_all_ways() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidings.sock");
    let mut node = tidings::Config::default();
    node.limits.sessions_max = tidings::Count::of::<2>();
    let gate = Gate::open_on(node, GatewayConfig::default()).await;
    gate.unix(&path).await;
    let mut first = connect(&path).await;
    first.info().await;
    first.expect_served().await;
    let mut second = gate.plain().await;
    second.info().await;
    let topic = second.expect_served().await;
    connect(&path).await.expect_closed().await;
    let url = gate.addr.to_string();
    let third = ConnectOptions::new().connect(&url).await;
    assert!(third.is_err(), "there are two places for all ways together");
    drop(second);
    gate.members_become(&topic, 0).await;
    // The place is free once the socket is closed, a moment later.
    let again = async {
        loop {
            let mut client = connect(&path).await;
            if !client.line().await.is_empty() {
                return client;
            }
        }
    };
    let mut client = tokio::time::timeout(crate::client::SOON, again)
        .await
        .unwrap();
    client.expect_served().await;
}
