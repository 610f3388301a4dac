use std::net::IpAddr;

use tidings::{AgentName, SessionOptions};

use super::client;
use super::client_error::ClientError;
use super::connect_options::ConnectOptions;
use super::door::Door;

/// How the session of a client is opened that says this, was told this nonce and comes from that address. What
/// it says of itself is then no secret any more.
pub(super) async fn admit(
    door: &Door,
    options: &mut ConnectOptions,
    (nonce, from): (Option<&str>, IpAddr),
) -> Result<SessionOptions, ClientError> {
    let identities = &door.config.identities;
    let admitted = identities.admit(options.claim(nonce), from).await;
    let admitted = admitted.map_err(|_| ClientError::NotAuthorized)?;
    // Who is somebody is in the scope of who that is.
    let scope = match admitted.is_anybody {
        true => client::scope(options)?,
        false => admitted.scope,
    };
    options.forget_secrets();
    Ok(SessionOptions {
        scope: scope.unwrap_or_else(|| door.config.scope.clone()),
        agent: options.name.as_deref().and_then(AgentName::nearest),
        mailbox: door.config.mailbox.clone(),
        access: admitted.access,
        ..SessionOptions::default()
    })
}
