use tidings_sidecar::identities::{Identities, IdentitiesConfig};

/// Takes who may connect out of the settings of a file, or says what is wrong with it. It is read by itself: the
/// layers in which other settings are kept do not tell a table or list that is empty from one that is not there, and
/// here that would be the difference between nothing and everything.
pub(super) fn take(table: &mut toml::Table) -> Result<IdentitiesConfig, String> {
    let of_ours = |key: &str| Some((key.to_owned(), table.remove(key)?));
    let own: toml::Table = KEYS.into_iter().filter_map(of_ours).collect();
    let config: IdentitiesConfig = own.try_into().map_err(|error: toml::de::Error| {
        let problem = error.message();
        format!("identities or roles: {problem}")
    })?;
    Identities::new(&config).map_err(|error| error.to_string())?;
    Ok(config)
}

const KEYS: [&str; 2] = ["identities", "roles"];
