use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::excerpt::Excerpt;
use crate::swarm;

/// A bug that can be planted: a change of one place in the source, and how it is to be found.
///
/// The product knows nothing of it. It is planted in a copy of the workspace.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// Its name: that of its file.
    #[serde(skip)]
    pub name: String,
    /// What goes wrong with it.
    pub bug: String,
    /// The source file, relative to the workspace.
    pub file: PathBuf,
    /// A piece of that file, which is there exactly once, however it is formatted.
    pub find: String,
    /// What takes its place, and no more than its place.
    pub replace: String,
    /// The invariants of which one must be found not to hold: the words with which violations begin.
    pub found_by: Vec<String>,
    /// Within how many seeds, from 0 on. Not used with a scenario.
    #[serde(default)]
    pub seeds: u64,
    /// How many nodes.
    #[serde(default)]
    pub nodes: usize,
    /// The scenario that must fail, by its name.
    pub scenario: Option<String>,
}

/// A copy of the workspace in which bugs are planted.
#[derive(Debug)]
pub struct Workshop {
    source: PathBuf,
    target: PathBuf,
}

/// What of the workspace is copied: all that the simulator is built from.
const PARTS: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "bounds",
    "identity",
    "membership",
    "transport",
    "node",
    "mcp",
    "sim",
];

impl Mutant {
    /// Reads all bugs of a directory, sorted by name.
    pub fn load_all(dir: &Path) -> anyhow::Result<Vec<Self>> {
        let mut mutants = Vec::new();
        for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            let mut mutant: Self =
                toml::from_str(&text).with_context(|| path.display().to_string())?;
            let stem = path
                .file_stem()
                .context("a file that was listed has a name")?;
            mutant.name = stem.to_string_lossy().into_owned();
            ensure!(
                mutant.scenario.is_some() || mutant.seeds > 0,
                "{}: no seeds",
                mutant.name
            );
            mutants.push(mutant);
        }
        mutants.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(mutants)
    }

    fn plant(&self, source: &str) -> anyhow::Result<String> {
        let mut planted = source.to_owned();
        let place = Excerpt::parse(&self.find)?.find_once(source)?;
        planted.replace_range(place, &self.replace);
        Ok(planted)
    }
}

impl Workshop {
    /// Copies the workspace into its own target directory. What was built there before is used
    /// again, as far as it can be.
    pub fn prepare(workspace: &Path) -> anyhow::Result<Self> {
        let workspace = workspace.canonicalize()?;
        let shop = workspace.join("target").join("mutants");
        let source = shop.join("source");
        fs::create_dir_all(&source)?;
        for part in PARTS {
            copy(&workspace.join(part), &source.join(part))?;
        }
        // The other members are no part of it, and want more than is here.
        let manifest = fs::read_to_string(source.join("Cargo.toml"))?;
        let mut manifest: toml::Table = manifest.parse()?;
        let members = manifest
            .get_mut("workspace")
            .and_then(toml::Value::as_table_mut);
        let members = members.context("the manifest is that of a workspace")?;
        members.insert("members".into(), PARTS[2..].to_vec().into());
        members.remove("default-members");
        // Cargo tells packages apart by where they are in their workspace, and by version. Without
        // another one it would take what was built of a planted bug for a part of the sound program.
        let package = members
            .get_mut("package")
            .and_then(toml::Value::as_table_mut);
        let package = package.context("the packages have a version in common")?;
        let version = package.get("version").and_then(toml::Value::as_str);
        let planted = format!("{}+planted", version.context("it is a text")?);
        package.insert("version".into(), planted.into());
        write_changed(&source.join("Cargo.toml"), manifest.to_string().as_bytes())?;
        Ok(Self {
            source,
            target: shop.join("target"),
        })
    }

    /// Plants a bug, runs its batch or scenario, and takes it out again. Returns the violation that
    /// was found, if it is of an invariant that was to find it.
    pub fn hunt(&self, mutant: &Mutant, jobs: usize) -> anyhow::Result<Option<String>> {
        let path = self.source.join(&mutant.file);
        let sound = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        fs::write(&path, mutant.plant(&sound)?)?;
        let found = self.build().and_then(|()| self.search(mutant, jobs));
        fs::write(&path, sound)?;
        found
    }

    fn build(&self) -> anyhow::Result<()> {
        let output = Command::new("cargo")
            .args([
                "build",
                "--quiet",
                "--offline",
                "--profile",
                "sim",
                "-p",
                "tidings-sim",
            ])
            .current_dir(&self.source)
            .env("CARGO_TARGET_DIR", &self.target)
            // Nobody reads where in the source it went wrong, and linking is quicker without.
            .env("CARGO_PROFILE_SIM_DEBUG", "false")
            .output()?;
        if !output.status.success() {
            bail!(
                "it does not build:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    fn search(&self, mutant: &Mutant, jobs: usize) -> anyhow::Result<Option<String>> {
        let mut command = Command::new(self.target.join("sim").join("tidings-sim"));
        match &mutant.scenario {
            Some(scenario) => {
                let path = format!("sim/scenarios/{scenario}.toml");
                command.args(["run", "--scenario", &path]);
            }
            None => {
                let (seeds, nodes) = (format!("0..{}", mutant.seeds), mutant.nodes.to_string());
                let (jobs, until) = (jobs.to_string(), mutant.found_by.join(","));
                command
                    .args(["swarm", "--seeds", &seeds, "--until", &until])
                    .args(["--nodes", &nodes, "--jobs", &jobs]);
            }
        }
        let output = command.current_dir(&self.source).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let violations = text
            .lines()
            .filter_map(|line| Some((line, line.split_once("VIOLATION ")?)));
        for (line, (_, violation)) in violations {
            if swarm::is_of(violation, &mutant.found_by) {
                return Ok(Some(line.to_owned()));
            }
            println!("         {} broke something else: {line}", mutant.name);
        }
        Ok(None)
    }
}

/// Copies a file, or a directory with all that is in it. A file that is the same already is left
/// alone, so that it is not built again.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.is_dir() {
        return write_changed(to, &fs::read(from)?);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

fn write_changed(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    Ok(fs::write(path, bytes)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Stdio;

    use super::*;

    /// The source as rustfmt writes it under other rules.
    fn reformatted(source: &str, rules: &str) -> String {
        let mut rustfmt = Command::new("rustfmt")
            .args(["--edition", "2024", "--config", rules])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = rustfmt.stdin.take().unwrap();
        let source = source.to_owned();
        let writing = std::thread::spawn(move || stdin.write_all(source.as_bytes()));
        let output = rustfmt.wait_with_output().unwrap();
        writing.join().unwrap().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn planted_bugs_survive_a_reformatting() {
        let sim = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mutants = Mutant::load_all(&sim.join("mutations")).unwrap();
        assert!(mutants.len() >= 14, "{} bugs", mutants.len());
        for mutant in mutants {
            let source = fs::read_to_string(sim.join("..").join(&mutant.file)).unwrap();
            for rules in [
                "max_width=60,use_small_heuristics=Off,hard_tabs=true",
                "max_width=60,use_small_heuristics=Max,tab_spaces=2",
                "max_width=140,use_small_heuristics=Off,tab_spaces=8",
                "max_width=140,use_small_heuristics=Max,hard_tabs=true",
            ] {
                let other = reformatted(&source, rules);
                assert!(other != source, "{rules} change nothing");
                let planted = mutant.plant(&other);
                let planted = planted.unwrap_or_else(|e| panic!("{}, {rules}: {e}", mutant.name));
                assert!(planted != other, "{} changes nothing", mutant.name);
            }
        }
    }
}
