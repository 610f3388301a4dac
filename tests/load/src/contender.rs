//! The two servers that are compared, and how each is told to run: alone, or as one of two nodes of
//! a cluster on loopback.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tidings,
    NatsServer,
}

/// A server to be measured: what it is, and where its program is.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
    /// Whether the connection between two nats-servers is encrypted, as that of Tidings always is.
    pub(crate) tls: bool,
}

/// The addresses that a node is to have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) client: SocketAddr,
    pub(crate) http: SocketAddr,
    peer: SocketAddr,
}

impl Kind {
    /// What it is called in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tidings => "tidings",
            Self::NatsServer => "nats-server",
        }
    }
}

impl Addresses {
    /// Of ports on loopback that are free now.
    pub(crate) fn free() -> Result<Self> {
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (client, http) = (listen()?, listen()?);
        // Tidings listens to its peers on UDP, nats-server on TCP: free are those free of both.
        let (peer, _udp) = loop {
            let peer = listen()?;
            match UdpSocket::bind(peer.local_addr()?) {
                Ok(udp) => break (peer, udp),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Self {
            client: client.local_addr()?,
            http: http.local_addr()?,
            peer: peer.local_addr()?,
        })
    }
}

impl Contender {
    /// The command that runs one node of those with these addresses. The certificates of
    /// [`certify`] are in `dir`, and what else the node needs is written there.
    pub(crate) fn command(
        &self,
        number: usize,
        addresses: &[Addresses],
        dir: &Path,
    ) -> Result<Command> {
        let mine = addresses[number];
        let others = || addresses.iter().map(|a| a.peer).filter(|p| *p != mine.peer);
        match self.kind {
            Kind::Tidings => {
                let mut command = without_settings(&self.program);
                command
                    .args(["run", "--log", "warn", "--name", &node_name(number)])
                    .args(["--client", &mine.client.to_string()])
                    .args(["--http", &mine.http.to_string()]);
                if addresses.len() > 1 {
                    let certificate = dir.join(node_name(number));
                    command.arg("--tls-dir").arg(certificate);
                    command.args(["--listen", &mine.peer.to_string()]);
                }
                for other in others() {
                    command.args(["--seed", &other.to_string()]);
                }
                Ok(command)
            }
            Kind::NatsServer => {
                let mut settings = format!(
                    "server_name: {}\nlisten: \"{}\"\nhttp: \"{}\"\n",
                    node_name(number),
                    mine.client,
                    mine.http
                );
                if addresses.len() > 1 {
                    let routes: Vec<_> = others().map(|o| format!("\"nats://{o}\"")).collect();
                    let (routes, tls) = (routes.join(", "), self.tls_settings(number, dir));
                    let listen = mine.peer;
                    writeln!(
                        settings,
                        "cluster {{\nname: load\nlisten: \"{listen}\"\nroutes: [{routes}]\n{tls}}}"
                    )?;
                }
                let file = dir.join(format!("nats-{}.conf", node_name(number)));
                fs::write(&file, settings)?;
                let mut command = Command::new(&self.program);
                command.arg("--config").arg(file);
                Ok(command)
            }
        }
    }

    fn tls_settings(&self, number: usize, dir: &Path) -> String {
        if !self.tls {
            return String::new();
        }
        let dir = dir.join(node_name(number));
        let file = |name| format!("{:?}", dir.join(name));
        // The certificates are for the names of nodes, and not for loopback's address.
        format!(
            "tls {{\ncert_file: {}\nkey_file: {}\nca_file: {}\ninsecure: true\n}}\n",
            file("node.pem"),
            file("node-key.pem"),
            file("ca.pem")
        )
    }
}

/// Makes certificates for two nodes: each in a directory of its name in `dir`.
pub(crate) fn certify(tidings: &Path, dir: &Path) -> Result<()> {
    let ca = dir.join("ca");
    run(without_settings(tidings)
        .args(["tls", "ca", "create", "--cluster", "load", "--dir"])
        .arg(&ca))?;
    for node in [0, 1].map(node_name) {
        run(without_settings(tidings)
            .args(["tls", "cert", "create", "--node", &node, "--ca-dir"])
            .arg(&ca)
            .arg("--dir")
            .arg(dir.join(&node)))?;
    }
    Ok(())
}

/// What the node of this number, counted from 0, is called.
pub(crate) fn node_name(number: usize) -> String {
    format!("n{}", number + 1)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {errors}");
    Ok(())
}

/// The program without the settings that our own environment has for it.
fn without_settings(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(key);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(tls: bool, nodes: usize) -> String {
        let dir = tempfile::tempdir().unwrap();
        let nats = Contender {
            kind: Kind::NatsServer,
            program: "nats-server".into(),
            tls,
        };
        let addresses: Vec<_> = (0..nodes).map(|_| Addresses::free().unwrap()).collect();
        nats.command(0, &addresses, dir.path()).unwrap();
        fs::read_to_string(dir.path().join("nats-n1.conf")).unwrap()
    }

    #[test]
    fn routes_are_set_up_where_there_are_others_and_encrypted_if_asked_for() {
        assert!(!settings(true, 1).contains("cluster"));
        let plain = settings(false, 2);
        assert!(plain.contains("routes: [\"nats://127.0.0.1:") && !plain.contains("tls"));
        assert!(settings(true, 2).contains("/n1/node-key.pem\""));
    }
}
