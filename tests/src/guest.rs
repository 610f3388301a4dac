use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::{Cluster, Http, Program, binary, tidings};

/// A node beside those of a cluster: it shares the network of one of them, and has ports, a name
/// and a certificate of its own.
#[derive(Debug)]
pub struct Guest {
    /// Its process.
    pub program: Program,
    http: String,
}

impl Guest {
    /// Starts it in the network of the node `host`, with the nodes `seeds` as its seeds. Guests of
    /// one host differ in `slot`, which is 0 to 49.
    pub fn start(
        cluster: &Cluster,
        (host, slot): (usize, u16),
        name: &str,
        tls: &Path,
        seeds: &[usize],
    ) -> Result<Self> {
        let host = cluster.node(host)?;
        let at = |port: u16| host.cluster.replace(":7946", &format!(":{}", port + slot));
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", host.ns))
            .arg(binary())
            .env_remove("TIDINGS_BIN")
            .env_remove("TIDINGS_PREVIOUS_BIN")
            .args(["run", "--name", name, "--cluster", cluster.name()])
            .args(["--listen", &at(7950), "--client", &at(4250)])
            .args(["--http", &at(8250)])
            .arg("--tls-dir")
            .arg(tls);
        for &seed in seeds {
            command.args(["--seed", &cluster.node(seed)?.cluster]);
        }
        Ok(Self {
            program: Program::start(command)?,
            http: at(8250),
        })
    }

    /// Asks it over HTTP.
    pub fn http(&self) -> Result<Http> {
        Http::new(&self.http)
    }
}

/// Makes an authority for a cluster of this name.
pub fn create_authority(cluster: &str, directory: &Path) -> Result<()> {
    let directory = directory.to_string_lossy();
    run(&[
        "tls",
        "ca",
        "create",
        "--cluster",
        cluster,
        "--dir",
        &directory,
    ])
}

/// Makes a certificate for a node by the authority in the directory `ca`; `more` are further
/// arguments of `tidings tls cert create`.
pub fn create_certificate(ca: &Path, directory: &Path, node: &str, more: &[&str]) -> Result<()> {
    let (ca, directory) = (ca.to_string_lossy(), directory.to_string_lossy());
    let create = [
        "tls", "cert", "create", "--node", node, "--ca-dir", &ca, "--dir", &directory,
    ];
    run(&[&create, more].concat())
}

/// Revokes a node by the authority in the directory `ca`.
pub fn revoke(ca: &Path, node: &str) -> Result<()> {
    let ca = ca.to_string_lossy();
    run(&["tls", "revoke", "--node", node, "--ca-dir", &ca])
}

fn run(arguments: &[&str]) -> Result<()> {
    let output = tidings(arguments).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tidings {arguments:?}: {errors}");
    Ok(())
}
