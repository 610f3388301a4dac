use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tidings::Incarnation;
use tidings_sidecar::{Sidecar, descriptors};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::cli::signals::{Drains, Hangups, Signals};
use crate::settings::{Setting, Settings, SettingsError, Sources};

/// Run a node until it is told to leave by SIGTERM or SIGINT; a second signal ends it at once
///
/// On SIGUSR2, or when `tidings drain` says so, it sends its clients to other nodes before it leaves.
///
/// On SIGHUP it reads its certificates and what is revoked again, as it does by itself some seconds
/// after they were written, and the identities and roles of its settings.
///
/// Flags win over the environment, which wins over the file, which wins over the defaults. In the
/// environment a setting such as `gossip.interval` is TIDINGS_GOSSIP__INTERVAL; lists are separated by
/// commas.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// The flags that say how a node runs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SettingsArgs {
    /// A TOML file with settings; `tidings config check` prints all there are
    #[arg(
        long,
        value_name = "FILE",
        env = "TIDINGS_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// The node's name, unique in the cluster [default: as in its certificate, or else `node`]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The cluster's name [default: as in the certificate, or else `tidings`]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The UDP address for other nodes [default: 0.0.0.0:7946]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The address that other nodes are told [default: that of --listen]
    #[arg(long, value_name = "ADDR")]
    advertise: Option<String>,
    /// A node to find the cluster through, by address or DNS name; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    seed: Vec<String>,
    /// Where clients connect, or `none` [default: 127.0.0.1:4222]
    #[arg(long, value_name = "ADDR")]
    client: Option<String>,
    /// Where HTTP is served, or `none` [default: 127.0.0.1:8222]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// The directory with ca.pem, node.pem and node-key.pem, and revoked.list if there is one; without
    /// it the node runs alone
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<String>,
    /// Where the node keeps what must survive a restart
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl SettingsArgs {
    /// The settings from these flags and from where else there are some.
    pub(crate) fn load(&self) -> Result<Settings, SettingsError> {
        let one = |text: &Option<String>| text.clone().map(Setting::One);
        let seeds = (!self.seed.is_empty()).then(|| Setting::Many(self.seed.clone()));
        let flags = [
            ("--name", "name", one(&self.name)),
            ("--cluster", "cluster", one(&self.cluster)),
            ("--listen", "listen", one(&self.listen)),
            ("--advertise", "advertise", one(&self.advertise)),
            ("--seed", "seeds", seeds),
            ("--client", "client", one(&self.client)),
            ("--http", "http", one(&self.http)),
            ("--tls-dir", "tls_dir", one(&self.tls_dir)),
            ("--data-dir", "data_dir", one(&self.data_dir)),
        ];
        let given = |(flag, key, setting): (_, _, Option<Setting>)| Some((flag, key, setting?));
        let sources = Sources {
            file: self.config.clone(),
            environment: Sources::environment()?,
            flags: flags.into_iter().filter_map(given).collect(),
        };
        sources.load()
    }
}

/// Runs a node to its end.
pub(crate) async fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let (mut later, mut freed_by) = (None, Instant::now());
    loop {
        match run_once(args, &mut signals, later).await {
            Ok(End::Exit(code)) => return Ok(code),
            Ok(End::Outdated(by)) => {
                (later, freed_by) = (Some(by), Instant::now() + PORTS_FREE);
            }
            // The ports of the run before are given back a moment after it has ended.
            Err(error) if is_port_in_use(&error) && Instant::now() < freed_by => {
                sleep(PORTS_AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_port_in_use(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::AddrInUse)
}

/// How one run of a node ended.
enum End {
    Exit(ExitCode),
    /// Peers know this later run of the node.
    Outdated(Incarnation),
}

/// Runs a node to its end, or until it is known that peers take it for old. If they do so again though
/// it has begun after that `later` run, it is for people to sort out.
async fn run_once(
    args: &RunArgs,
    signals: &mut Signals,
    later: Option<Incarnation>,
) -> anyhow::Result<End> {
    let (hangups, mut drains) = (Hangups::listen()?, Drains::listen()?);
    let Settings {
        mut config,
        identity,
        unknown_variables,
    } = args.settings.load()?;
    if let Some(later) = later {
        config.node.incarnation_min = config.node.incarnation_min.max(later.get() + 1);
    }
    for variable in unknown_variables {
        warn!(%variable, "this environment variable sets nothing that a node has");
    }
    let raised = descriptors::raise();
    let clients_wanted = config.node.limits.sessions_max.get();
    let sidecar = tokio::select! {
        started = Sidecar::start(config, identity) => started?,
        stop = signals.next() => return Ok(End::Exit(stop.exit_code())),
    };
    if let Err(error) = raised {
        warn!(%error, "cannot raise the limit of open files");
    }
    log_listening(&sidecar, clients_wanted);

    let node = sidecar.node();
    node.spawn(reload(sidecar.clone(), args.settings.clone(), hangups));
    let clients = sidecar.clients();
    let drain = async {
        tokio::select! {
            () = drains.next() => {}
            () = clients.drain_asked() => {}
        }
        clients.drain().await;
    };
    tokio::select! {
        stop = signals.next() => info!(signal = ?stop, "leaving"),
        () = drain => info!("leaving"),
        failure = node.failed() => {
            return Err(anyhow::Error::new(failure).context("the node cannot go on"));
        }
        by = node.outdated(), if later.is_none() => {
            warn!(
                later = %by,
                "peers know a later run of this node, as when its clock was ahead; starting again after \
                 that one. With --data-dir this cannot happen"
            );
            node.leave().await;
            return Ok(End::Outdated(by));
        }
    }
    tokio::select! {
        () = node.leave() => info!("left"),
        stop = signals.next() => {
            warn!(signal = ?stop, "ending at once, on a second signal");
            return Ok(End::Exit(stop.exit_code()));
        }
    }
    Ok(End::Exit(ExitCode::SUCCESS))
}

/// Reads again what may change while a node runs, whenever it is asked to.
async fn reload(sidecar: Sidecar, settings: SettingsArgs, mut hangups: Hangups) {
    loop {
        hangups.next().await;
        sidecar.reload_and_tell().await;
        let (settings, identities) = (settings.clone(), sidecar.identities().clone());
        // Files may be on a disk that takes its time, and so may many subscriptions that end.
        let reloading = spawn_blocking(move || {
            let settings = settings.load()?;
            anyhow::Ok(identities.replace(&settings.config.access)?)
        });
        match reloading.await {
            Ok(Ok(())) => info!("identities and roles were read again"),
            Ok(Err(error)) => error!("identities and roles stay as they were: {error:#}"),
            // The process ends.
            Err(_) => return,
        }
    }
}

/// Tells the log what runs now and where it can be reached.
fn log_listening(sidecar: &Sidecar, clients_wanted: usize) {
    let node = sidecar.node();
    let open = |addr: Option<std::net::SocketAddr>| {
        addr.map_or_else(|| "none".to_owned(), |addr| addr.to_string())
    };
    info!(
        node = %node.name(),
        cluster = %node.cluster(),
        incarnation = %node.incarnation(),
        peers = open(node.addr()),
        client = open(sidecar.client_addr()),
        http = open(sidecar.http_addr()),
        open_files_max = descriptors::open_files_max(),
        "listening"
    );
    let clients_max = descriptors::client_slots(clients_wanted);
    if sidecar.client_addr().is_some() && clients_max < clients_wanted {
        warn!(
            clients_max,
            "the limit of open files has room for so many clients only"
        );
    }
    log_who_may_connect(sidecar);
    if node.addr().is_none() {
        info!(
            "without certificates this node runs alone; to form a cluster: `tidings tls ca create`, \
             `tidings tls cert create --node {}`, then run it with --tls-dir, and others with --seed",
            node.name()
        );
    }
}

/// Tells the log who may use the doors.
fn log_who_may_connect(sidecar: &Sidecar) {
    let doors = [sidecar.client_addr(), sidecar.http_addr()];
    let mut doors = doors.into_iter().flatten().peekable();
    if doors.peek().is_none() {
        return;
    }
    let is_reached_from_here_alone = doors.all(|addr| addr.ip().is_loopback());
    match (sidecar.identities().is_open(), is_reached_from_here_alone) {
        (true, true) => info!(
            "there are no identities: whoever has an account on this machine may do everything, as client and over HTTP"
        ),
        (true, false) => warn!(
            "there are no identities: whoever reaches this machine may do everything, as client and over HTTP; add \
             [[identities]] to the settings, or listen on loopback"
        ),
        (false, true) => info!("who does not show to be one of the identities is refused"),
        (false, false) => warn!(
            "who does not show to be one of the identities is refused; passwords and tokens cross the network \
             as they are where there is no TLS"
        ),
    }
}

/// How long the ports of a run that has ended may be in use still.
const PORTS_FREE: Duration = Duration::from_secs(2);
const PORTS_AGAIN: Duration = Duration::from_millis(20);
