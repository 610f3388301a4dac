mod identities;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::{Map, Value, ValueKind};
use serde::Deserialize;
use serde_json::Value as Json;
use tidings::{ConfigError, Count, Identity};
use tidings_sidecar::identities::IdentitiesConfig;
use tidings_sidecar::{Config, GatewayConfig, HttpConfig, McpConfig, gateway};

/// Where settings come from. Each source wins over those before it: the file, the environment, the
/// flags; below them all are the defaults.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// A TOML file.
    pub(crate) file: Option<PathBuf>,
    /// The environment, as names and values. Only names that begin with `TIDINGS_` count.
    pub(crate) environment: BTreeMap<String, String>,
    /// Flags that were given: the flag, the key it sets and its value.
    pub(crate) flags: Vec<(&'static str, &'static str, Setting)>,
}

/// What a flag or a variable says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    /// One value, as text.
    One(String),
    /// A list of values.
    Many(Vec<String>),
}

/// What came of reading the settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The configuration, checked.
    pub(crate) config: Config,
    /// The identity that it names.
    pub(crate) identity: Option<Identity>,
    /// Variables that look like ours and set nothing. Not an error, because container platforms
    /// make up such names: for a service called `tidings` there is a `TIDINGS_PORT`.
    pub(crate) unknown_variables: Vec<String>,
}

/// One source's settings, keyed by path.
struct Layer {
    source: Source,
    values: Map<String, Value>,
}

/// Who is to blame for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody: what the program begins with.
    Defaults,
    /// This file.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    /// This flag.
    Flag(&'static str),
}

/// Why there is no configuration. Nothing has been started then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("in {} line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A variable of ours is not text.
    #[error("environment variable {name}: the value is not UTF-8")]
    NotText {
        /// The variable.
        name: String,
    },
    /// A key that there is not, a value that is none, or one that does not fit another.
    #[error("in {from}: {problem}")]
    Value {
        /// Who said so.
        from: Source,
        /// The key and what is wrong with it.
        problem: String,
    },
}

/// The settings of a sidecar that are not its node's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Doors {
    #[serde(deserialize_with = "given")]
    client: Option<Option<SocketAddr>>,
    #[serde(deserialize_with = "given")]
    http: Option<Option<SocketAddr>>,
    http_connections_max: Option<Count<1, 65_536>>,
    http_hosts: Option<Vec<String>>,
    tls_dir: Option<PathBuf>,
    gateway: GatewayConfig,
    mcp: McpConfig,
}

/// Keys that can be `none`, which closes what they open.
const DOORS: [&str; 2] = ["client", "http"];
/// What to do about seeds without certificates.
const MAKE_CERTIFICATES: &str = "make some with `tidings tls ca create` and `tidings tls cert \
                                 create`, and name their directory as tls_dir";
/// The keys that are not the node's.
const SIDECAR: [&str; 7] = [
    "client",
    "http",
    "http_connections_max",
    "http_hosts",
    "tls_dir",
    "gateway",
    "mcp",
];

const PREFIX: &str = "TIDINGS_";

/// Variables that are not settings of a node but of this program's commands.
const OTHER_VARIABLES: [&str; 8] = [
    "TIDINGS_CONFIG",
    "TIDINGS_HTTP_SERVER",
    "TIDINGS_LOG",
    "TIDINGS_LOG_FORMAT",
    "TIDINGS_PASSWORD",
    "TIDINGS_SERVER",
    "TIDINGS_TOKEN",
    "TIDINGS_USER",
];

impl Sources {
    /// What the environment of this process has for us.
    pub(crate) fn environment() -> Result<BTreeMap<String, String>, SettingsError> {
        let ours = |(name, value): (OsString, OsString)| {
            let name = name
                .into_string()
                .ok()
                .filter(|name| name.starts_with(PREFIX))?;
            Some((name, value))
        };
        std::env::vars_os()
            .filter_map(ours)
            .map(|(name, value)| match value.into_string() {
                Ok(value) => Ok((name, value)),
                Err(_) => Err(SettingsError::NotText { name }),
            })
            .collect()
    }

    /// Reads all sources and puts them on top of one another.
    pub(crate) fn load(&self) -> Result<Settings, SettingsError> {
        let (variables, unknown_variables) = self.variables();
        let file = self.file.as_deref().map(read_file).transpose()?;
        let (file, access) = file.unzip();
        let flags = self.flags.iter().map(|(flag, key, setting)| Layer {
            source: Source::Flag(flag),
            values: [((*key).to_owned(), value(key, setting))].into(),
        });
        let (mut config, identity) = merge(file.into_iter().chain(variables).chain(flags))?;
        config.access = access.unwrap_or_default();
        Ok(Settings {
            config,
            identity,
            unknown_variables,
        })
    }

    /// The variables that set something, and the names of those that do not.
    fn variables(&self) -> (Vec<Layer>, Vec<String>) {
        let known = serde_json::to_value(Config::default()).unwrap_or_default();
        let (mut layers, mut unknown) = (Vec::new(), Vec::new());
        for (name, text) in &self.environment {
            let Some(path) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let key = path.to_lowercase().replace("__", ".");
            let place = key
                .split('.')
                .try_fold(&known, |place, part| place.get(part));
            let setting = match place {
                Some(Json::Object(_)) | None => {
                    if !OTHER_VARIABLES.contains(&name.as_str()) {
                        unknown.push(name.clone());
                    }
                    continue;
                }
                Some(Json::Array(_)) => Setting::list(text),
                Some(_) => Setting::One(text.clone()),
            };
            let values = [(key.clone(), value(&key, &setting))].into();
            layers.push(Layer {
                source: Source::Variable(name.clone()),
                values,
            });
        }
        (layers, unknown)
    }
}

impl Setting {
    /// Values separated by commas.
    fn list(text: &str) -> Self {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        Self::Many(parts.map(str::to_owned).collect())
    }
}

/// The configuration as TOML. Read as a file, it gives the same configuration.
pub(crate) fn to_toml(config: &Config) -> Result<String, toml::ser::Error> {
    let mut table = toml::Table::try_from(config)?;
    for door in DOORS {
        // TOML has no null, and a door that is not mentioned is open by default.
        table.entry(door).or_insert_with(|| "none".into());
    }
    toml::to_string(&table)
}

/// Puts the layers on top of one another, one at a time, so that whichever brings a problem with it
/// can be named. A problem that a later layer takes away is none.
fn merge(layers: impl Iterator<Item = Layer>) -> Result<(Config, Option<Identity>), SettingsError> {
    let mut merged = config::Config::default();
    let (mut verdict, mut from) = (evaluate(&merged), Source::Defaults);
    for Layer { source, values } in layers {
        let builder = config::Config::builder().add_source(merged);
        let built = values
            .into_iter()
            .try_fold(builder, |builder, (key, value)| {
                builder.set_override(key, value)
            })
            .and_then(|builder| builder.build());
        merged = built.map_err(|error| SettingsError::Value {
            from: source.clone(),
            problem: problem(error),
        })?;
        let now = evaluate(&merged);
        if now.as_ref().err() != verdict.as_ref().err() {
            from = source;
        }
        verdict = now;
    }
    verdict.map_err(|problem| SettingsError::Value { from, problem })
}

/// The configuration of these values, with the identity that it names; or what is wrong with it.
/// Whoever runs a node and whoever only wants to know ask just this.
fn evaluate(merged: &config::Config) -> Result<(Config, Option<Identity>), String> {
    let values = merged.cache.clone().into_table().map_err(problem)?;
    let is_ours = |(key, _): &(String, Value)| SIDECAR.contains(&key.as_str());
    let (ours, nodes): (Map<_, _>, Map<_, _>) = values.into_iter().partition(is_ours);
    let doors: Doors = Value::new(None, ours).try_deserialize().map_err(problem)?;
    let node = Value::new(None, nodes).try_deserialize().map_err(problem)?;
    let default = Config::default();
    let http = default.http_server;
    let config = Config {
        client: doors.client.unwrap_or(default.client),
        http: doors.http.unwrap_or(default.http),
        http_server: HttpConfig {
            http_connections_max: doors
                .http_connections_max
                .unwrap_or(http.http_connections_max),
            http_hosts: doors.http_hosts.unwrap_or(http.http_hosts),
            mcp: doors.mcp,
            ..HttpConfig::default()
        },
        tls_dir: doors.tls_dir,
        gateway: doors.gateway,
        access: IdentitiesConfig::default(),
        node,
    };
    let identity = config.identity().map_err(|error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |e| format!(": {e}"));
        format!("tls_dir: {error}{cause}")
    })?;
    gateway::check_tls(&config.gateway).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |e| format!(": {e}"));
        format!("{error}{cause}")
    })?;
    config
        .check(identity.as_ref())
        .map_err(|error| match error {
            ConfigError::NoCertificates => format!("{error}; {MAKE_CERTIFICATES}"),
            error => error.to_string(),
        })?;
    Ok((config, identity))
}

/// A key that is there, whatever it holds.
fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn read_file(path: &Path) -> Result<(Layer, IdentitiesConfig), SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut table: toml::Table = toml::from_str(&text).map_err(|error| SettingsError::Syntax {
        path: path.to_owned(),
        line: 1 + error
            .span()
            .map_or(0, |at| text[..at.start].matches('\n').count()),
        message: error.message().to_owned(),
    })?;
    let source = Source::File(path.to_owned());
    let access = identities::take(&mut table).map_err(|problem| SettingsError::Value {
        from: source.clone(),
        problem,
    })?;
    let values = config::Config::try_from(&table).and_then(|values| values.cache.into_table());
    let mut values = values.map_err(|error| SettingsError::Value {
        from: source.clone(),
        problem: problem(error),
    })?;
    for door in DOORS {
        if let Some(Value {
            kind: ValueKind::String(text),
            ..
        }) = values.get(door)
        {
            let value = value(door, &Setting::One(text.clone()));
            values.insert(door.to_owned(), value);
        }
    }
    Ok((Layer { source, values }, access))
}

fn value(key: &str, setting: &Setting) -> Value {
    match setting {
        Setting::One(text) if DOORS.contains(&key) && text == "none" => ValueKind::Nil.into(),
        Setting::One(text) => text.as_str().into(),
        Setting::Many(texts) => texts.clone().into(),
    }
}

/// What is wrong, beginning with the key where there is one.
fn problem(error: config::ConfigError) -> String {
    let (key, problem) = match error {
        config::ConfigError::At { error, key, .. } => (key, error.to_string()),
        config::ConfigError::Type {
            unexpected,
            expected,
            key,
            ..
        } => (key, format!("{unexpected} is not {expected}")),
        other => (None, other.to_string()),
    };
    key.map_or(problem.clone(), |key| format!("{key}: {problem}"))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the defaults"),
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use tidings::{Authority, ClusterName, Net, Seed, SystemNet, Validity};

    use proptest::{collection, prelude::*, sample};
    use tidings_sidecar::Sidecar;
    use tokio::runtime::Builder;

    use super::*;

    struct Given {
        sources: Sources,
        _file: tempfile::NamedTempFile,
        _certificates: Option<tempfile::TempDir>,
    }

    fn given(file: &str, environment: &[(&str, &str)]) -> Given {
        let mut kept = tempfile::NamedTempFile::new().unwrap();
        kept.write_all(file.as_bytes()).unwrap();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let sources = Sources {
            file: Some(kept.path().to_owned()),
            environment: environment.iter().map(owned).collect(),
            flags: Vec::new(),
        };
        Given {
            sources,
            _file: kept,
            _certificates: None,
        }
    }

    impl Given {
        fn flag(mut self, flag: &'static str, key: &'static str, value: &str) -> Self {
            self.sources
                .flags
                .push((flag, key, Setting::One(value.to_owned())));
            self
        }

        /// With the certificates of node `n1`, without which seeds are of no use.
        fn certified(mut self) -> Self {
            let (now, hour) = (SystemNet.unix_time(), Duration::from_secs(3600));
            let validity = Validity::starting(now, hour).unwrap();
            let authority = Authority::create(&"file".parse().unwrap(), validity).unwrap();
            let node = authority.issue(&"n1".parse().unwrap(), validity).unwrap();
            let directory = tempfile::tempdir().unwrap();
            for (file, text) in [
                ("ca.pem", authority.certificate_pem()),
                ("node.pem", &node.certificate_pem),
                ("node-key.pem", &node.key_pem),
            ] {
                std::fs::write(directory.path().join(file), text).unwrap();
            }
            let path = directory.path().display().to_string();
            self._certificates = Some(directory);
            self.flag("--tls-dir", "tls_dir", &path)
        }

        fn config(&self) -> Config {
            self.sources.load().unwrap().config
        }

        /// The error, with `FILE` for the file's path.
        fn error(&self) -> String {
            let path = self.sources.file.as_ref().unwrap().display().to_string();
            self.sources
                .load()
                .unwrap_err()
                .to_string()
                .replace(&path, "FILE")
        }
    }

    #[test]
    fn without_any_source_there_are_the_defaults() {
        assert_eq!(Sources::default().load().unwrap().config, Config::default());
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = "listen = '127.0.0.1:1'\nadvertise = '127.0.0.1:1'\ncluster = 'file'\n\
                    gossip.interval = '300ms'\nseeds = ['a:1']\n";
        let environment = [
            ("TIDINGS_LISTEN", "127.0.0.1:2"),
            ("TIDINGS_ADVERTISE", "127.0.0.1:2"),
            ("TIDINGS_GOSSIP__INTERVAL", "500ms"),
            ("TIDINGS_LIMITS__SESSIONS_MAX", "7"),
            ("TIDINGS_SEEDS", "b:2, c:3"),
        ];
        let config = given(file, &environment)
            .flag("--listen", "listen", "127.0.0.1:3")
            .certified()
            .config();
        assert_eq!(config.node.listen.port(), 3, "the flag wins");
        assert_eq!(
            config.node.advertise.unwrap().port(),
            2,
            "the environment wins over the file"
        );
        assert_eq!(
            config.node.gossip.interval.get(),
            Duration::from_millis(500)
        );
        assert_eq!(config.node.limits.sessions_max.get(), 7);
        assert_eq!(
            config
                .node
                .seeds
                .iter()
                .map(Seed::as_str)
                .collect::<Vec<_>>(),
            ["b:2", "c:3"],
            "lists replace one another"
        );
        assert_eq!(
            config.node.cluster.as_ref().map(ClusterName::as_str),
            Some("file"),
            "the file wins over the defaults"
        );
        assert_eq!(
            config.node.gossip.coalesce,
            Config::default().node.gossip.coalesce
        );
    }

    #[test]
    fn none_closes_a_gateway_in_every_source() {
        let config = given("client = 'none'", &[("TIDINGS_HTTP", "none")]).config();
        assert_eq!((config.client, config.http), (None, None));
        let config = given("client = 'none'", &[("TIDINGS_CLIENT", "127.0.0.1:0")])
            .flag("--http", "http", "none")
            .config();
        assert_eq!(
            (config.client.map(|addr| addr.port()), config.http),
            (Some(0), None)
        );
    }

    #[test]
    fn a_bound_of_the_mailbox_does_not_change_what_happens_when_it_is_reached() {
        let mailbox = |file| given(file, &[]).config().gateway.mailbox;
        let default = Config::default().gateway.mailbox;
        let given = mailbox("gateway.mailbox.messages_max = 10");
        assert_eq!(given.messages_max.get(), 10);
        assert_eq!(given.overflow, default.overflow);
        assert_eq!(given.bytes_max, default.bytes_max);
        let given = mailbox("gateway.mailbox.overflow = 'drop-oldest'");
        assert_eq!(given.messages_max, default.messages_max);
        assert_ne!(given.overflow, default.overflow);
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let file = "client = 'none'\nname = 'n1'\nseeds = ['a:1']\nlinks.lanes = 2\n\
                    gateway.mailbox.overflow = 'drop-oldest'";
        let first = given(&format!("listen = '127.0.0.1:1'\n{file}"), &[]).certified();
        let config = first.config();
        let printed = to_toml(&config).unwrap();
        assert_eq!(given(&printed, &[]).config(), config, "{printed}");
    }

    #[test]
    fn ways_for_clients_are_set_by_every_source() {
        let file = "gateway.unix = '/run/tidings.sock'\ngateway.unix_mode = '660'\n\
                    [gateway.tls]\nhandshake_first = true";
        let environment = [
            ("TIDINGS_GATEWAY__WEBSOCKET", "127.0.0.1:0"),
            (
                "TIDINGS_GATEWAY__ORIGINS",
                "https://a.example, https://b.example",
            ),
            ("TIDINGS_GATEWAY__TLS__VERIFY", "false"),
        ];
        let gateway = given(file, &environment).config().gateway;
        assert_eq!(gateway.unix, Some("/run/tidings.sock".into()));
        assert_eq!(gateway.unix_mode.bits(), 0o660);
        assert_eq!(gateway.websocket.map(|addr| addr.port()), Some(0));
        assert_eq!(gateway.origins, ["https://a.example", "https://b.example"]);
        assert!(gateway.tls.handshake_first && !gateway.tls.verify);
        let error = given("gateway.unix_mode = 'rw'", &[]).error();
        assert!(error.starts_with("in FILE: gateway.unix_mode: "), "{error}");
        let error = given("", &[("TIDINGS_GATEWAY__TLS__CERT", "c.pem")]).error();
        let start =
            "in environment variable TIDINGS_GATEWAY__TLS__CERT: gateway.tls.key: is not set";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn an_error_names_the_file_and_the_key() {
        let error = |file| given(file, &[]).error();
        let unknown = error("[gossip]\nintervall = '1s'");
        assert!(
            unknown.starts_with("in FILE: gossip: unknown field `intervall`"),
            "{unknown}"
        );
        let wrong = error("gossip.interval = 'soon'");
        assert!(wrong.starts_with("in FILE: gossip.interval: "), "{wrong}");
        let wrong = error("[links]\nlanes = 'many'");
        assert!(wrong.starts_with("in FILE: links.lanes: "), "{wrong}");
        let bounds = error("gossip.buckets = 0");
        assert_eq!(bounds, "in FILE: gossip.buckets: 0 is not within 1 to 1024");
        let syntax = error("name = 'n1'\nlisten = \n");
        assert!(syntax.starts_with("in FILE line 2: "), "{syntax}");
        assert!(!syntax.contains('\n'), "one line: {syntax}");
    }

    #[test]
    fn an_error_names_the_variable_and_the_key() {
        let error = |name, value| given("", &[(name, value)]).error();
        let wrong = error("TIDINGS_LISTEN", "here");
        let start = "in environment variable TIDINGS_LISTEN: listen: ";
        assert!(wrong.starts_with(start), "{wrong}");
        let bounds = error("TIDINGS_LINKS__LANES", "0");
        let start = "in environment variable TIDINGS_LINKS__LANES: links.lanes: 0 is not";
        assert!(bounds.starts_with(start), "{bounds}");
    }

    #[test]
    fn an_error_names_the_flag_and_the_key() {
        let wrong = given("", &[]).flag("--name", "name", "No.1").error();
        assert!(
            wrong.starts_with("in flag --name: name: 'N' is not allowed in a name"),
            "{wrong}"
        );
    }

    #[test]
    fn the_source_that_brought_a_bad_value_is_named_not_the_last_one() {
        let error = given("gossip.buckets = 0", &[("TIDINGS_NAME", "n1")]).error();
        assert!(error.starts_with("in FILE: gossip.buckets: 0"), "{error}");
        let error = given("gossip.buckets = 0", &[("TIDINGS_GOSSIP__BUCKETS", "2000")]).error();
        let start = "in environment variable TIDINGS_GOSSIP__BUCKETS: gossip.buckets: 2000";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn a_bad_value_that_a_stronger_source_replaces_does_no_harm() {
        let config = given("gossip.buckets = 0", &[("TIDINGS_GOSSIP__BUCKETS", "8")]).config();
        assert_eq!(config.node.gossip.buckets.get(), 8);
    }

    /// Every setting that is a number or a time, as the name of its variable.
    fn numbers_and_times() -> Vec<(String, bool)> {
        fn collect(name: &str, value: &Json, found: &mut Vec<(String, bool)>) {
            let is_time = |text: &str| humantime::parse_duration(text).is_ok();
            match value {
                Json::Object(fields) => {
                    for (field, value) in fields {
                        let separator = if name.ends_with('_') { "" } else { "__" };
                        let name = format!("{name}{separator}{}", field.to_uppercase());
                        collect(&name, value, found);
                    }
                }
                Json::Number(_) => found.push((name.to_owned(), false)),
                Json::String(text) if is_time(text) => found.push((name.to_owned(), true)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        let all = serde_json::to_value(Config::default()).unwrap();
        collect(PREFIX, &all, &mut found);
        assert!(found.len() > 30, "{found:?}");
        found
    }

    /// A few variables with values about which their bounds and each other have to be asked.
    fn random_variables() -> impl Strategy<Value = BTreeMap<String, String>> {
        const NUMBERS: [&str; 13] = [
            "0",
            "1",
            "2",
            "16",
            "17",
            "100",
            "1000",
            "1025",
            "48000",
            "65536",
            "1048576",
            "33554432",
            "4294967297",
        ];
        const TIMES: [&str; 12] = [
            "0ms", "1us", "1ms", "5ms", "10ms", "100ms", "1s", "3s", "1m", "8m", "3h", "30days",
        ];
        let one = (sample::select(numbers_and_times()), 0..1_000_usize);
        let one = one.prop_map(|((name, is_time), choice)| {
            let values: &[&str] = if is_time { &TIMES } else { &NUMBERS };
            (name, values[choice % values.len()].to_owned())
        });
        collection::vec(one, 0..4).prop_map(|pairs| pairs.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn whatever_config_check_accepts_a_sidecar_runs_with(variables in random_variables()) {
            let mut given = given("listen = '127.0.0.1:0'", &[])
                .flag("--client", "client", "127.0.0.1:0")
                .flag("--http", "http", "127.0.0.1:0")
                .certified();
            given.sources.environment = variables.clone();
            let Settings { config, identity, unknown_variables } = match given.sources.load() {
                Ok(settings) => settings,
                Err(error) => {
                    let told = error.to_string();
                    prop_assert!(variables.keys().any(|name| told.contains(name)), "{told}");
                    return Ok(());
                }
            };
            prop_assert!(unknown_variables.is_empty(), "{unknown_variables:?}");
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let started = Sidecar::start(config, identity).await;
                let sidecar = started.map_err(|error| {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    TestCaseError::fail(format!("{error}: {cause:?}"))
                })?;
                sidecar.node().token().cancel();
                Ok::<_, TestCaseError>(())
            })?;
        }
    }

    #[test]
    fn variables_that_set_nothing_are_told() {
        let environment = [
            ("TIDINGS_PORT", "tcp://10.0.0.1"),
            ("TIDINGS_LOG", "debug"),
            ("PATH", "/bin"),
        ];
        let settings = given("", &environment).sources.load().unwrap();
        assert_eq!(settings.unknown_variables, ["TIDINGS_PORT"]);
        assert_eq!(settings.config, Config::default());
    }
}
