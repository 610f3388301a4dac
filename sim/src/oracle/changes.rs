use std::collections::BTreeMap;

use tidings::Incarnation;

use crate::note::Note;
use crate::oracle::Oracle;
use crate::replica::RESOURCES;
use crate::truth::Truth;

/// Whoever was acknowledged as a listener before something changed is told of it after that, once the
/// network is whole. And of what has never changed nobody is told, as long as no node dies or leaves.
///
/// What was published on a node that has died, and runs no more, is excused: nobody knows of it any more.
#[derive(Debug, Default)]
pub struct Changes {
    listeners: BTreeMap<usize, Listener>,
    /// When each resource has changed last, by the run of the host on which that was published.
    changed: BTreeMap<(u32, usize, Incarnation), u64>,
    any_gone: bool,
}

#[derive(Debug)]
struct Listener {
    host: usize,
    incarnation: Incarnation,
    /// When it was acknowledged.
    since: u64,
    /// When it was last told of each resource.
    told: BTreeMap<u32, u64>,
}

impl Oracle for Changes {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        match note {
            Note::Listening { listener, host } => {
                if let Some(incarnation) = truth.hosts[*host].running {
                    let own = Listener {
                        host: *host,
                        incarnation,
                        since: truth.step,
                        told: BTreeMap::new(),
                    };
                    self.listeners.insert(*listener, own);
                }
            }
            Note::ListeningEnded { listener } => {
                self.listeners.remove(listener);
            }
            Note::Changed { host, resource } => {
                if let Some(incarnation) = truth.hosts[*host].running {
                    let change = (*resource, *host, incarnation);
                    self.changed.insert(change, truth.step);
                }
            }
            Note::Told { listener, resource } => {
                let has_changed = self.changed.keys().any(|(own, ..)| own == resource);
                if !has_changed && !self.any_gone {
                    return Err(format!(
                        "changes: listener {listener} was told of resource {resource}, which has never changed"
                    ));
                }
                if let Some(own) = self.listeners.get_mut(listener) {
                    own.told.insert(*resource, truth.step);
                }
            }
            Note::Crashed { .. } | Note::Leaving { .. } => self.any_gone = true,
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        for (number, own) in &self.listeners {
            if truth.hosts[own.host].running != Some(own.incarnation) {
                continue;
            }
            for ((resource, host, _), step) in &self.changed {
                let is_excused = truth.hosts[*host].running.is_none();
                let told = own.told.get(resource).copied().unwrap_or(0);
                let concerned = *step >= own.since && *resource < RESOURCES;
                if concerned && told < *step && !is_excused {
                    return Err(format!(
                        "changes: resource {resource} changed on host {host} at step {step}, and listener \
                         {number} on host {} was last told of it at step {told}",
                        own.host
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(notes: &[Note]) -> Result<(), String> {
        let (mut truth, mut oracle) = (Truth::new(2), Changes::default());
        let started = |host| Note::Started {
            host,
            incarnation: 1.into(),
        };
        for note in [started(0), started(1)].iter().chain(notes) {
            oracle.note(note, &truth)?;
            truth.apply(note);
        }
        oracle.finish(&truth)
    }

    #[test]
    fn who_is_not_told_is_found_and_who_is_told_of_what_has_not_changed() {
        let listening = Note::Listening {
            listener: 0,
            host: 0,
        };
        let changed = Note::Changed {
            host: 1,
            resource: 1,
        };
        let told = |resource| Note::Told {
            listener: 0,
            resource,
        };
        let own = |notes: &[&Note]| -> Vec<Note> { notes.iter().copied().cloned().collect() };
        judge(&own(&[&changed, &listening])).unwrap();
        judge(&own(&[&listening, &changed, &told(1)])).unwrap();
        for wrong in [
            own(&[&listening, &changed]),
            own(&[&listening, &changed, &told(1), &changed]),
            own(&[&listening, &changed, &told(1), &told(2)]),
        ] {
            assert!(judge(&wrong).unwrap_err().starts_with("changes"));
        }
    }
}
