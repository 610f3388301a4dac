use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use tidings::{Count, Pattern, Permissions, Responses, Rules, Scope, Sight, SubscribeRule};

/// Who may use the doors of a node, and what for. Without any identity everybody may do everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentitiesConfig {
    /// Those who may connect. As soon as there is one, nobody else may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityConfig>,
    /// Named sets of permissions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, RoleConfig>,
}

/// One who may connect: a person, a program or a tenant, with one means to show that it is it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// What it is called, which is the user of its password. 1 to 128 bytes without control characters, unique.
    pub name: String,
    /// What it may do: one of `roles`.
    pub role: String,
    /// The hash of its password: argon2id as `tidings passwd` prints it, or bcrypt as users of the NATS server
    /// have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The hash of its token, as `tidings passwd --token` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its public key, of a NATS user (`U…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nkey: Option<String>,
    /// Whether it is whoever says nothing of who it is, in place of the above. At most one identity is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub anonymous: bool,
}

/// What those of a role may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoleConfig {
    /// The scope that they are in. Default that of the gateway (`gateway.scope`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// What they may publish. Default everything; nothing but answers with `allow_responses`.
    pub publish: Rules<Pattern>,
    /// What they may subscribe to. Default everything.
    pub subscribe: Rules<SubscribeRule>,
    /// Whether they may answer requests wherever the answer is wanted. Default no; `true` or an empty table is
    /// one answer within two minutes.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "switch_or_responses"
    )]
    pub allow_responses: Option<Responses>,
    /// What they may see of the cluster: `nothing`, `scope` (the nodes, and topics and members of their own scope) or
    /// `everything` (all scopes, and metrics). Default `scope`.
    pub view: Sight,
    /// Whether they may describe topics on which they may publish, schemas included. Default yes.
    pub describe: bool,
    /// How many sessions each of them may have: clients, and publishing over HTTP. Default as many as the
    /// node has room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_max: Option<Count<1, 100_000_000>>,
    /// How many subscriptions a session of theirs may have. Default as `limits` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions_max: Option<Count<0, 100_000_000>>,
    /// The largest payload, in bytes. Default as `limits` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes_max: Option<Count<0, { 64 << 20 }>>,
}

impl Default for RoleConfig {
    fn default() -> Self {
        Self {
            scope: None,
            publish: Rules::default(),
            subscribe: Rules::default(),
            allow_responses: None,
            view: Sight::Scope,
            describe: true,
            sessions_max: None,
            subscriptions_max: None,
            payload_bytes_max: None,
        }
    }
}

impl RoleConfig {
    /// What this comes to.
    pub fn permissions(&self) -> Permissions {
        let mut publish = self.publish.clone();
        if self.allow_responses.is_some() {
            // As with the NATS server: who may answer does not thereby publish everything.
            publish.allow.get_or_insert_default();
        }
        Permissions {
            publish,
            subscribe: self.subscribe.clone(),
            responses: self.allow_responses,
            sight: self.view,
            describes_nothing: !self.describe,
            sessions_max: self.sessions_max,
            subscriptions_max: self.subscriptions_max,
            payload_bytes_max: self.payload_bytes_max,
        }
    }
}

fn switch_or_responses<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Responses>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "not true, false or a table of max and expires")]
    enum Given {
        Switch(bool),
        Responses(Responses),
    }
    Ok(match Given::deserialize(deserializer)? {
        Given::Switch(on) => on.then(Responses::default),
        Given::Responses(responses) => Some(responses),
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}
