//! What this node writes about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use chitchat::{ChitchatId, NodeState};
use tidings_identity::{ClusterName, SignError};
use tokio::time::Instant;

use crate::credentials::{Credentials, Keyring};
use crate::guard::{Pulse, Statement, Sum, text, write_chain};
use crate::peer::{BUCKETS_KEY, CERTIFICATE_KEY, PULSE_KEY};

/// Writes the records of one run of this node, and seals them. A node on its own, which nobody hears,
/// has nothing to seal with.
#[derive(Debug)]
pub(crate) struct Author {
    cluster: ClusterName,
    run: ChitchatId,
    keyring: Keyring,
    pulse: Option<Pulse>,
}

impl Author {
    /// Writes for this run, which is to beat at every tick.
    pub(crate) fn new(
        cluster: ClusterName,
        run: ChitchatId,
        keyring: Keyring,
        tick: Duration,
    ) -> Result<Self, SignError> {
        let credentials = keyring.credentials();
        let pulse = credentials.map(|own| Pulse::new(&run, &own.signer, tick));
        Ok(Self {
            cluster,
            run,
            pulse: pulse.transpose()?,
            keyring,
        })
    }

    /// The heart of this run.
    pub(crate) fn pulse(&self) -> Option<&Pulse> {
        self.pulse.as_ref()
    }

    /// Writes what comes before all else: by what the rest is checked, and read.
    pub(crate) fn begin(&self, state: &mut NodeState, buckets: usize) -> Result<(), SignError> {
        if let Some(own) = self.keyring.credentials() {
            self.write(state, CERTIFICATE_KEY, &write_chain(own.signer.chain()))?;
        }
        self.write(state, BUCKETS_KEY, &buckets.to_string())?;
        self.keep_pulse(state)
    }

    /// Writes the anchors of the heart's beats when a new epoch has begun.
    pub(crate) fn keep_pulse(&self, state: &mut NodeState) -> Result<(), SignError> {
        let Some(pulse) = &self.pulse else {
            return Ok(());
        };
        let epoch = pulse.epoch(Instant::now());
        let told = state
            .get(PULSE_KEY)
            .and_then(|value| Pulse::epoch_of(text(value)));
        if told == Some(epoch) {
            return Ok(());
        }
        self.write(state, PULSE_KEY, &pulse.text(epoch))
    }

    /// Writes all anew, after the certificate has been renewed: by the new one all is checked from now
    /// on, so it comes before all that is there.
    pub(crate) fn write_anew(&self, state: &mut NodeState) -> Result<(), SignError> {
        let Some(own) = self.keyring.credentials() else {
            return Ok(());
        };
        let values = state.key_values();
        let texts: Vec<_> = values
            .filter(|(key, _)| *key != CERTIFICATE_KEY)
            .map(|(key, value)| (key.to_owned(), text(value).to_owned()))
            .collect();
        self.seal(
            state,
            &own,
            CERTIFICATE_KEY,
            &write_chain(own.signer.chain()),
        )?;
        texts
            .iter()
            .try_for_each(|(key, text)| self.seal(state, &own, key, text))
    }

    /// Writes a text under a key, unless it is there.
    pub(crate) fn write(
        &self,
        state: &mut NodeState,
        key: &str,
        new: &str,
    ) -> Result<(), SignError> {
        let Some(own) = self.keyring.credentials() else {
            state.set(key, new);
            return Ok(());
        };
        if state.get(key).is_some_and(|value| text(value) == new) {
            return Ok(());
        }
        self.seal(state, &own, key, new)
    }

    fn seal(
        &self,
        state: &mut NodeState,
        own: &Credentials,
        key: &str,
        text: &str,
    ) -> Result<(), SignError> {
        let version = state.max_version() + 1;
        let statement = Statement {
            cluster: self.cluster.as_str(),
            node: &self.run,
            key,
            version,
            sum: Sum::with(Some(state), &BTreeMap::from([(key, version)])),
            text,
        };
        state.set(key, statement.record(&own.signer)?);
        Ok(())
    }
}
