//! Client libraries of several languages, as they are, each over three nodes: what NATS promises its
//! clients, and going on at another node when theirs is killed.
//!
//! The programs are in `tests/python`, `tests/node` and `tests/c`, and for Rust in `rust.rs`.

mod rust;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tidings_tests::{Cluster, Program, repository, wait_until};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_is_served_across_nodes() -> Result<()> {
    let cluster = Cluster::up(3)?;
    tours(&cluster, || python("tour.py"))?;
    goes_on(&cluster, python("failover.py")?).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_connects_over_tls_with_its_certificate_and_not_without() -> Result<()> {
    let files = tempfile::tempdir()?;
    let file = |name: &str| files.path().join(name);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // With the name of those it signs, OpenSSL would take them for self-signed.
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "authority of the test");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(file("ca.pem"), authority.pem())?;
    for name in ["server", "agent"] {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![name.to_owned()])?;
        let certificate = params.signed_by(&key, &authority)?;
        std::fs::write(file(&format!("{name}.pem")), certificate.pem())?;
        std::fs::write(file(&format!("{name}-key.pem")), key.serialize_pem())?;
    }
    let config = format!(
        "gateway.tls = {{ cert = {:?}, key = {:?}, ca = {:?} }}",
        file("server.pem"),
        file("server-key.pem"),
        file("ca.pem"),
    );
    let cluster = Cluster::with_config(1, &config)?;
    let mut client = python("tls.py")?;
    client.args([&cluster.node(1)?.client, "server"]);
    client.args([file("ca.pem"), file("agent.pem"), file("agent-key.pem")]);
    let told = Program::start(client)?.finish()?;
    ensure!(told.contains("a certificate, and none without"), "{told}");
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_js_is_served_across_nodes() -> Result<()> {
    let cluster = Cluster::up(3)?;
    tours(&cluster, || node("tour.mjs"))?;
    goes_on(&cluster, node("failover.mjs")?).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_c_client_is_served_across_nodes() -> Result<()> {
    let cluster = Cluster::up(3)?;
    tours(&cluster, || c("tour"))?;
    goes_on(&cluster, c("failover")?).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn async_nats_is_served_across_nodes() -> Result<()> {
    let cluster = Cluster::up(3)?;
    rust::tours(&cluster).await?;
    rust::goes_on(&cluster).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_one_node_goes_to_another_when_that_is_killed() -> Result<()> {
    let cluster = Cluster::up(3)?;
    rust::finds_another(&cluster).await?;
    cluster.down()?;
    let cluster = Cluster::up(3)?;
    goes_on_from(&cluster, python("failover.py")?, 1).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn faststream_runs_its_services_as_they_are() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let mut service = python("faststream_service.py")?;
    service.arg(&cluster.node(1)?.client);
    let mut service = Program::start(service)?;
    cluster.wait_members(&[1, 2], "orders", 1, SOON).await?;
    cluster.wait_members(&[1, 2], "prices.*", 1, SOON).await?;

    let mut client = python("faststream_client.py")?;
    client.arg(&cluster.node(2)?.client);
    let told = Program::start(client)?.finish()?;
    ensure!(told.contains("all of it holds"), "{told}");
    service.kill()?;
    cluster.down()
}

/// What a program asserts of all three nodes holds, whichever of them it publishes at.
fn tours(cluster: &Cluster, program: impl Fn() -> Result<Command>) -> Result<()> {
    for order in [[1, 2, 3], [3, 1, 2]] {
        let mut program = program()?;
        for number in order {
            program.arg(cluster.node(number)?.client);
        }
        let told = Program::start(program)?.finish()?;
        ensure!(told.contains("all of it holds"), "{order:?}: {told}");
    }
    Ok(())
}

/// A program that is subscribed at the first node is so at another one when the first is killed.
async fn goes_on(cluster: &Cluster, program: Command) -> Result<()> {
    goes_on_from(cluster, program, 2).await
}

/// The same of one that is told the addresses of so many.
async fn goes_on_from(cluster: &Cluster, mut program: Command, known: usize) -> Result<()> {
    let first = cluster.node(1)?.client;
    for number in 1..=known {
        program.arg(cluster.node(number)?.client);
    }
    let mut program = Program::start(program)?;
    wait_until("it has subscribed", SOON, async || {
        program.output().contains("subscribed at") || !program.runs()
    })
    .await;
    let told = program.output();
    ensure!(told.contains(&first), "{told}");

    cluster.kill("n1")?;
    let now = cluster.node(moved(cluster).await?)?.client;
    cluster.node(3)?.publish("news", "more").await?;
    let told = program.finish()?;
    ensure!(
        told.contains("got more at ") && told.contains(&now),
        "{told}"
    );
    Ok(())
}

/// Waits until the one member of `news` is not at the first node any more, and says at which it is.
async fn moved(cluster: &Cluster) -> Result<usize> {
    let http = cluster.node(3)?.http()?;
    let mut number = 1;
    wait_until("the subscription is at another node", SOON, async || {
        let members = http.members("news").await.unwrap_or_default();
        if let [member] = &members[..] {
            number = member.node.trim_start_matches('n').parse().unwrap_or(1);
        }
        number != 1
    })
    .await;
    Ok(number)
}

fn python(program: &str) -> Result<Command> {
    let mut command = Command::new(installed("python/venv")?);
    command.arg(repository().join("tests/python").join(program));
    Ok(command)
}

fn node(program: &str) -> Result<Command> {
    let mut command = Command::new("node");
    command.arg(installed("node/programs")?.join(program));
    Ok(command)
}

fn c(program: &str) -> Result<Command> {
    Ok(Command::new(installed("c/programs")?.join(program)))
}

/// What a script of `tests` installs or builds, if it is not there yet.
fn installed(script: &str) -> Result<PathBuf> {
    let script = repository().join("tests").join(script);
    let path = Program::start(Command::new(script))?.finish()?;
    Ok(Path::new(path.trim()).to_owned())
}
