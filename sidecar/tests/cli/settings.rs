use std::fs;

use crate::process::{complaint, path, text, tidings};

#[test]
fn config_check_prints_what_results_and_names_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let config = path(&directory, "tidings.toml");
    fs::write(&config, "name = 'n1'\ngossip.interval = '300ms'").unwrap();
    let arguments = ["config", "check", "--config", &config, "--http", "none"];
    let output = tidings(&arguments)
        .env("TIDINGS_GOSSIP__INTERVAL", "500ms")
        .output()
        .unwrap();
    let result: toml::Table = text(&output.stdout).parse().unwrap();
    assert_eq!(result["gossip"]["interval"].as_str(), Some("500ms"));
    assert_eq!(result["name"].as_str(), Some("n1"));
    assert_eq!(result["http"].as_str(), Some("none"));

    fs::write(&config, "gossip.interval = '1us'").unwrap();
    let told = complaint(tidings(&["config", "check", "--config", &config]));
    assert!(
        told.starts_with(&format!("error: in {config}: gossip.interval: ")),
        "{told}"
    );
    let mut command = tidings(&["config", "check"]);
    command.env("TIDINGS_LISTEN", "here");
    let told = complaint(command);
    assert!(
        told.starts_with("error: in environment variable TIDINGS_LISTEN: listen: "),
        "{told}"
    );
    let told = complaint(tidings(&["run", "--listen", "here"]));
    assert!(
        told.starts_with("error: in flag --listen: listen: "),
        "{told}"
    );
}
