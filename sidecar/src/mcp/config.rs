use serde::{Deserialize, Deserializer, Serialize};
use tidings::{Count, MailboxConfig, Overflow, Time};

/// The node as an MCP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpConfig {
    /// How many inboxes there may be at a time, of all agents together. The last messages of topics, which
    /// resources show, count as inboxes. Default 1,000, 1 to 1 million. One more is refused with an error.
    pub inboxes_max: Count<1, 1_000_000>,
    /// The same of each identity, where there are identities. Default 100, 1 to 1 million.
    pub inboxes_per_identity_max: Count<1, 1_000_000>,
    /// How long an inbox is kept from which nobody receives. Default 5 min, 100 ms to a day. It lasts up to a
    /// quarter longer.
    pub inbox_expiry: Time<100, 86_400_000>,
    /// What may wait in an inbox. Default 8,192 messages and 8 MiB; then the oldest are dropped, so that an agent that
    /// thinks for long slows nobody, and finds what is newest.
    #[serde(deserialize_with = "mailbox")]
    pub mailbox: MailboxConfig,
    /// How many resources one client may listen for. Default 100, 1 to 10,000. Of more the first are accepted, as
    /// the acknowledgement says.
    pub resources_per_listener_max: Count<1, 10_000>,
}

impl Default for McpConfig {
    fn default() -> Self {
        Self {
            inboxes_max: Count::of::<1_000>(),
            inboxes_per_identity_max: Count::of::<100>(),
            inbox_expiry: Time::of_ms::<300_000>(),
            mailbox: MailboxConfig {
                messages_max: Count::of::<8_192>(),
                bytes_max: Count::of::<{ 8 << 20 }>(),
                overflow: Overflow::DropOldest,
            },
            resources_per_listener_max: Count::of::<100>(),
        }
    }
}

fn mailbox<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MailboxConfig, D::Error> {
    crate::mailbox::over(deserializer, McpConfig::default().mailbox)
}
