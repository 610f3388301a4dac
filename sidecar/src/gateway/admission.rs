use std::net::IpAddr;

use tidings::{AgentName, Inbox, OpenError, Session, SessionOptions};

use super::client;
use super::client_error::ClientError;
use super::connect_options::ConnectOptions;
use super::door::Door;
use super::end::End;

/// Finds out who a client is that says this, was told this nonce and comes from that address, and opens its
/// session. What is left of what it says is no secret.
pub(super) async fn admit(
    door: &Door,
    options: &mut ConnectOptions,
    (nonce, from): (Option<&str>, IpAddr),
) -> Result<(Session, Inbox), End> {
    let identities = &door.config.identities;
    let claim = identities.choose(options.claims(nonce));
    let admitted = identities.admit(claim, from).await;
    let admitted = admitted.map_err(|_| ClientError::NotAuthorized)?;
    // Who is somebody is in the scope of who that is.
    let scope = match admitted.is_anybody {
        true => client::scope(options)?,
        false => admitted.scope,
    };
    options.forget_secrets();
    let opened = door.node.session(SessionOptions {
        scope: scope.unwrap_or_else(|| door.config.scope.clone()),
        agent: options.name.as_deref().and_then(AgentName::nearest),
        mailbox: door.config.mailbox.clone(),
        access: admitted.access,
        ..SessionOptions::default()
    });
    opened.map_err(|error| match error {
        OpenError::Withdrawn => ClientError::NotAuthorized.into(),
        OpenError::TooMany { .. } | OpenError::TooManyOfIdentity { .. } => {
            ClientError::TooManyConnections.into()
        }
        _ => End::NodeStopped,
    })
}
