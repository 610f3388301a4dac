use anyhow::Result;

use crate::{Node, Program, tidings};

/// An agent in a process of its own: `tidings sub`.
#[derive(Debug)]
pub struct Agent(Program);

impl Agent {
    /// Starts an agent that subscribes to a topic at a node.
    pub fn subscribe(node: &Node, topic: &str) -> Result<Self> {
        Program::start(tidings(["sub", topic, "--server", &node.client])).map(Self)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.0.kill()
    }

    /// How many lines it has printed that contain the text.
    pub fn count(&self, text: &str) -> usize {
        self.0
            .output()
            .lines()
            .filter(|line| line.contains(text))
            .count()
    }
}
