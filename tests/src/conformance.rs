use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{Program, repository, wait_until};

/// How long all scenarios together may take.
const LIMIT: Duration = Duration::from_secs(60);

/// One thing that the conformance tool of MCP has looked at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What it looked at. Several checks can have the same.
    pub id: String,
    /// `SUCCESS`, `FAILURE`, `WARNING`, `SKIPPED` or `INFO`. What a server only should do it warns of.
    pub status: String,
    /// What was wrong.
    pub error_message: Option<String>,
}

/// Runs the conformance tool against the MCP server at a URL, in the revision 2026-07-28, and returns all that these scenarios
/// have looked at.
///
/// # Errors
/// When one of the scenarios has looked at nothing.
pub async fn conformance(url: &str, scenarios: &[&str]) -> Result<Vec<Check>> {
    let results = tempfile::tempdir()?;
    let mut tool = Command::new(repository().join("tests/conformance/tool"));
    // All that the revision requires, and what is pending: each scenario on its own takes longer.
    tool.args(["server", "--url", url, "--requirements", "2026-07-28"]);
    tool.arg("--output-dir").arg(results.path());
    let mut tool = Program::start(tool)?;
    // How it ends says nothing, since it runs more scenarios than these.
    wait_until("the conformance tool ends", LIMIT, async || !tool.runs()).await;

    let directories = std::fs::read_dir(results.path())?.collect::<Result<Vec<_>, _>>()?;
    let mut checks = Vec::new();
    for scenario in scenarios {
        // The time follows.
        let name = format!("server-{scenario}-20");
        let mut found = directories.iter().map(std::fs::DirEntry::path);
        let found = found.find(|path| {
            path.file_name()
                .is_some_and(|found| found.to_string_lossy().starts_with(&name))
        });
        let found = found.with_context(|| format!("no {scenario} was run: {}", tool.output()))?;
        let found = std::fs::read(found.join("checks.json"))?;
        let found: Vec<Check> = serde_json::from_slice(&found)?;
        let nothing = || format!("{scenario} has looked at nothing");
        found.first().with_context(nothing)?;
        checks.extend(found);
    }
    Ok(checks)
}
