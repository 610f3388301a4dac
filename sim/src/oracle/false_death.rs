use crate::note::{Note, Phase};
use crate::oracle::Oracle;
use crate::truth::Truth;

/// In a quiet network no live node is taken for dead.
#[derive(Debug, Default)]
pub struct FalseDeath;

impl Oracle for FalseDeath {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        let Note::NodeDown {
            on,
            host,
            incarnation,
        } = note
        else {
            return Ok(());
        };
        let is_quiet = matches!(truth.phase, Phase::Quiet | Phase::Detection);
        if is_quiet && truth.hosts[*host].running == Some(*incarnation) {
            return Err(format!(
                "false death: host {on} takes host {host} for dead, which runs"
            ));
        }
        Ok(())
    }
}
