use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::heard::Heard;
use super::run::Run;
use super::value::Value;

/// What a rogue has heard of others: their true words, sealed by them, to be passed on.
#[derive(Debug, Clone, Default)]
pub struct Hearsay(BTreeMap<Run, BTreeMap<String, Value>>);

impl Hearsay {
    /// Keeps what a message tells.
    pub fn take(&mut self, heard: &Heard) {
        for (run, _, values) in &heard.delta {
            let of_run = self.0.entry(run.clone()).or_default();
            let values = values
                .iter()
                .map(|value| (value.key.clone(), value.clone()));
            of_run.extend(values);
        }
    }

    /// The latest run of a node that it has heard of.
    pub fn run(&self, node: &str) -> Result<&Run> {
        let mut runs = self.0.keys().rev();
        let run = runs.find(|run| run.node == node);
        run.with_context(|| format!("nobody has told of {node}"))
    }

    /// The values of the latest run of a node, in the order in which they were written.
    pub fn values(&self, node: &str) -> Result<Vec<Value>> {
        let values = self.0.get(self.run(node)?).into_iter();
        let mut values: Vec<_> = values.flat_map(BTreeMap::values).cloned().collect();
        values.sort_by_key(|value| value.version);
        Ok(values)
    }

    /// Up to which version it has heard of each run.
    pub(super) fn versions(&self) -> impl Iterator<Item = (&Run, u64)> {
        let version = |values: &BTreeMap<String, Value>| {
            let versions = values.values().map(|value| value.version);
            versions.max().unwrap_or(0)
        };
        self.0
            .iter()
            .map(move |(run, values)| (run, version(values)))
    }
}
