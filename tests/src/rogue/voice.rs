//! What a rogue says of itself, sealed and with a beating heart as that of any node.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::digest::{SHA256, digest};
use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::sign::SigningKey;
use tokio::time::Instant;

use super::letter::{ack, known, long, text, told, value};
use super::run::Run;
use super::value::Value;

/// The words of one run of a rogue.
#[derive(Debug, Clone)]
pub struct Voice {
    cluster: String,
    run: Run,
    key: Arc<dyn SigningKey>,
    /// Of each key the newest value.
    state: BTreeMap<String, Value>,
    version: u64,
    born: Instant,
    tokens: Vec<u64>,
}

impl Voice {
    /// Begins with what every node says first: its certificate, the number of its buckets, and by
    /// what its beats can be checked.
    pub(super) fn begin(
        cluster: &str,
        run: Run,
        key: Arc<dyn SigningKey>,
        chain: &[CertificateDer<'_>],
        buckets: u32,
    ) -> Result<Self> {
        let tokens = chain_of_tokens(&run);
        let pulse = format!("0 {:x} 1", tokens[0]);
        let mut voice = Self {
            cluster: cluster.to_owned(),
            run,
            key,
            state: BTreeMap::new(),
            version: 0,
            born: Instant::now(),
            tokens,
        };
        let chain: Vec<_> = chain.iter().map(text).collect();
        voice.say("cert", &BASE64.encode(chain.concat()))?;
        voice.say("buckets", &buckets.to_string())?;
        voice.say("pulse", &pulse)?;
        Ok(voice)
    }

    /// Whose words they are.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The cluster that it speaks in.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The version of its newest value.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Writes a text under a key of its own state.
    pub fn say(&mut self, key: &str, says: &str) -> Result<()> {
        self.version += 1;
        let version = self.version;
        let others = self.state.values().filter(|value| value.key != key);
        let has: Vec<_> = others.cloned().collect();
        let value = self.forge(&self.run, &has, key, says, version)?;
        self.state.insert(key.to_owned(), value);
        Ok(())
    }

    /// A value as if this run had written it, which has these others; with the seal of the rogue.
    pub fn forge(
        &self,
        run: &Run,
        has: &[Value],
        key: &str,
        says: &str,
        version: u64,
    ) -> Result<Value> {
        let has = has.iter().map(|value| (value.key.as_str(), value.version));
        let mut versions: BTreeMap<&str, u64> = has.collect();
        versions.insert(key, version);
        let versions = versions
            .into_iter()
            .flat_map(|(key, version)| [key.as_bytes(), &[0], &long(version)].concat());
        let sum = &digest(&SHA256, &versions.collect::<Vec<u8>>()).as_ref()[..16].to_vec();
        let statement = [
            b"tidings record 1\0".to_vec(),
            text(&self.cluster),
            run.bytes(),
            text(key),
            long(version),
            sum.clone(),
            digest(&SHA256, says.as_bytes()).as_ref().to_vec(),
        ];
        let signer = self.key.choose_scheme(&[SignatureScheme::ED25519]);
        let signature = signer
            .context("an Ed25519 key")?
            .sign(&statement.concat())?;
        let scheme = u16::from(SignatureScheme::ED25519).to_be_bytes();
        let seal = [&[1], &sum[..], &scheme, &signature].concat();
        Ok(Value {
            key: key.to_owned(),
            value: format!("{says}.{}", BASE64.encode(seal)),
            version,
        })
    }

    /// Its entry in a digest, with the beat that its heart is at.
    pub fn entry(&self) -> Vec<u8> {
        known(&self.run.bytes(), self.beat(), self.version)
    }

    /// All that it has said since a version, in messages as long as may be.
    pub fn since(&self, version: u64) -> impl Iterator<Item = Vec<u8>> {
        self.cut(version).map(|(_, message)| message)
    }

    /// The same, and the version that each message goes up to.
    pub(super) fn cut(&self, version: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let mut values: Vec<_> = self.state.values().collect();
        values.retain(|value| value.version > version);
        values.sort_by_key(|value| value.version);
        let (mut begun, mut from, mut count_max) = (0, version, values.len());
        std::iter::from_fn(move || {
            let rest = &values[begun..];
            let mut bytes = 0;
            let fits = rest.iter().take_while(|value| {
                bytes += value.key.len() + value.value.len() + 16;
                bytes <= UNPACKED_BYTES_MAX
            });
            let mut count = fits.count().max(1).min(rest.len()).min(count_max);
            loop {
                let (last, delta) = (rest.get(count.checked_sub(1)?)?, &rest[..count]);
                let told = [told(&self.run.bytes(), from)].into_iter();
                let delta: Vec<_> = told.chain(delta.iter().map(|of| value(of))).collect();
                let message = ack(&delta);
                if message.len() <= MESSAGE_BYTES_MAX || count == 1 {
                    (begun, from) = (begun + count, last.version);
                    // The next ones are about as long.
                    count_max = 2 * count;
                    return Some((from, message));
                }
                count /= 2;
            }
        })
    }

    fn beat(&self) -> (u64, u64) {
        let beats = self.born.elapsed().as_millis() as usize / BEAT_MS;
        let beat = (1 + beats).min(self.tokens.len() - 1);
        (beat as u64, self.tokens[beat])
    }
}

/// The tokens of the first epoch of a run.
fn chain_of_tokens(run: &Run) -> Vec<u64> {
    let chain = &digest(&SHA256, &run.bytes()).as_ref()[..16].to_vec();
    let mut tokens = vec![7];
    for beat in (0..EPOCH - 1).rev() {
        let next = long(tokens[tokens.len() - 1]);
        let bytes = [chain.clone(), long(beat), next].concat();
        let mut token = [0; 8];
        token.copy_from_slice(&digest(&SHA256, &bytes).as_ref()[..8]);
        tokens.push(u64::from_le_bytes(token));
    }
    tokens.reverse();
    tokens
}

const EPOCH: u64 = 4_096;
/// Its heart beats ten times in an interval of gossip.
const BEAT_MS: usize = 25;
const MESSAGE_BYTES_MAX: usize = 65_507;
/// What the blocks of a message can hold.
const UNPACKED_BYTES_MAX: usize = 128 * 16_384;
