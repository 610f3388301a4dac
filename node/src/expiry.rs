//! Tells people in time that the node's certificate runs out.

use std::sync::Arc;
use std::time::Duration;

use tidings_identity::Validity;
use tidings_transport::{Net, Transport};
use tokio::time::sleep;
use tracing::{error, info, warn};

/// Logs how long the certificate is still good: once when the node starts and when it is renewed,
/// and daily when the end is near. Also that it is revoked.
pub(crate) async fn tell(transport: Transport, net: Arc<dyn Net>) {
    let mut revocations = transport.revocations().watch();
    let mut said = Said::default();
    loop {
        let (validity, now) = (transport.validity(), net.unix_time());
        let known = transport.revocations();
        let is_revoked = known.is_revoked(transport.name(), validity.not_before());
        if let Some(stage) = said.next(validity, is_revoked, now) {
            let expires_unix = validity.not_after().as_secs();
            let days_left = validity.not_after().saturating_sub(now).as_secs() / 86_400;
            match stage {
                Stage::Good => info!(expires_unix, days_left, "the node's certificate is good"),
                Stage::Soon | Stage::Last => warn!(
                    expires_unix,
                    days_left,
                    "the node's certificate runs out soon: make a new one with `tidings tls cert create`"
                ),
                Stage::Over => error!(
                    expires_unix,
                    "the node's certificate has run out, so no other node lets it in: make a new one \
                     with `tidings tls cert create`"
                ),
                Stage::Revoked => error!(
                    "the node's certificate is revoked, so no other node lets it in: if it is to \
                     come back, make a new one with `tidings tls cert create`"
                ),
            }
        }
        tokio::select! {
            // The wall clock may jump.
            () = sleep(PERIOD) => {}
            () = revocations.changed() => {}
        }
    }
}

/// What was said last.
#[derive(Debug, Default)]
struct Said(Option<(Validity, Stage, Duration)>);

/// How near the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Good,
    /// The last 30 days, or the last third if it was good for less than 90.
    Soon,
    /// The last day, or the last tenth if it was good for less than ten.
    Last,
    Over,
    Revoked,
}

impl Said {
    /// What is to be said now, if anything is.
    fn next(&mut self, validity: Validity, is_revoked: bool, now: Duration) -> Option<Stage> {
        let stage = if is_revoked {
            Stage::Revoked
        } else {
            Stage::at(validity, now)
        };
        if let Some((of, last, at)) = self.0
            && (of, last) == (validity, stage)
            && (stage == Stage::Good || now.saturating_sub(at) < DAY)
        {
            return None;
        }
        self.0 = Some((validity, stage, now));
        Some(stage)
    }
}

impl Stage {
    fn at(validity: Validity, now: Duration) -> Self {
        let left = validity.not_after().saturating_sub(now);
        let whole = validity.not_after().saturating_sub(validity.not_before());
        if validity.is_over(now) {
            Self::Over
        } else if left < DAY.min(whole / 10) {
            Self::Last
        } else if left < (30 * DAY).min(whole / 3) {
            Self::Soon
        } else {
            Self::Good
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);
/// How often to look.
const PERIOD: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a certificate that is good from `from` to `to`, looked at each hour until
    /// `end`, with the hour.
    fn said(from: u32, to: u32, end: u32) -> Vec<(u32, Stage)> {
        let hour = DAY / 24;
        let validity = Validity::between(from * hour, to * hour).unwrap();
        let mut said = Said::default();
        let looks = (from..end).filter_map(|at| Some((at, said.next(validity, false, at * hour)?)));
        looks.collect()
    }

    #[test]
    fn it_is_said_at_the_start_and_then_daily_for_thirty_days() {
        let said = said(0, 365 * 24, 367 * 24);
        assert_eq!(said[0], (0, Stage::Good));
        assert_eq!(said[1], (335 * 24 + 1, Stage::Soon));
        assert_eq!(said[2], (336 * 24 + 1, Stage::Soon));
        let of = |stage| said.iter().filter(|(_, said)| *said == stage).count();
        assert_eq!(of(Stage::Soon), 29);
        assert_eq!(of(Stage::Last), 1);
        assert_eq!(of(Stage::Over), 2);
    }

    #[test]
    fn one_that_is_never_good_for_thirty_days_is_not_complained_of_from_the_start() {
        let said = said(0, 60, 61);
        let stages: Vec<_> = said.iter().map(|(_, stage)| *stage).collect();
        assert_eq!(stages, [Stage::Good, Stage::Soon, Stage::Last]);
        assert_eq!([said[1].0, said[2].0], [41, 55]);
    }

    #[test]
    fn a_renewed_one_is_said_to_be_good_again() {
        let validity = |from, days| Validity::between(from, from + days * DAY).unwrap();
        let mut said = Said::default();
        let at = 1000 * DAY;
        let mut next = |validity, at| said.next(validity, false, at);
        assert_eq!(
            next(validity(at, 90), at + 89 * DAY + DAY / 2),
            Some(Stage::Last)
        );
        let renewed = validity(at + 89 * DAY, 90);
        assert_eq!(next(renewed, at + 90 * DAY), Some(Stage::Good));
        assert_eq!(next(renewed, at + 91 * DAY), None);
        let revoked = said.next(renewed, true, at + 91 * DAY);
        assert_eq!(revoked, Some(Stage::Revoked));
    }
}
