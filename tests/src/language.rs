use std::process::Command;

use anyhow::Result;

use crate::{Program, repository};

/// In what a program of the tests that speaks MCP is written.
#[derive(Debug, Clone, Copy)]
pub enum Language {
    /// In `tests/python`.
    Python,
    /// In `tests/node`.
    TypeScript,
}

impl Language {
    /// Runs the program of this name, with all that it needs.
    pub fn run(self, program: &str, arguments: &[&str]) -> Result<Program> {
        let installed = |script| -> Result<String> {
            let script = Command::new(repository().join("tests").join(script));
            Ok(Program::start(script)?.finish()?.trim().to_owned())
        };
        let mut command = match self {
            Self::Python => {
                let mut command = Command::new(installed("python/venv")?);
                let programs = repository().join("tests/python");
                command.arg(programs.join(program).with_extension("py"));
                command
            }
            Self::TypeScript => {
                let mut command = Command::new("node");
                command.arg(format!("{}/{program}.mjs", installed("node/programs")?));
                command
            }
        };
        command.args(arguments);
        Program::start(command)
    }
}
