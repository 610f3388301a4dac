use serde::{Deserialize, Deserializer};
use tidings::{Count, MailboxConfig, Overflow};

/// Reads the bounds of a mailbox. Whoever sets one of them leaves the rest as it is by default for those who have such a
/// mailbox, which is not as it is for other sessions.
pub(crate) fn over<'de, D: Deserializer<'de>>(
    deserializer: D,
    default: MailboxConfig,
) -> Result<MailboxConfig, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        messages_max: Option<Count<1, 100_000_000>>,
        bytes_max: Option<Count<1, { isize::MAX as usize }>>,
        overflow: Option<Overflow>,
    }
    let Given {
        messages_max,
        bytes_max,
        overflow,
    } = Given::deserialize(deserializer)?;
    Ok(MailboxConfig {
        messages_max: messages_max.unwrap_or(default.messages_max),
        bytes_max: bytes_max.unwrap_or(default.bytes_max),
        overflow: overflow.unwrap_or(default.overflow),
    })
}
