use crate::oracle::Oracle;
use crate::truth::Truth;

/// Nobody waits for ever: who publishes as fast as it is let comes to the end of it once the network
/// has been quiet for a while, whoever does not read.
#[derive(Debug, Default)]
pub struct Progress;

impl Oracle for Progress {
    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        let stuck = truth
            .sessions
            .iter()
            .position(|session| session.flooding && truth.is_open(session));
        match stuck {
            Some(number) => Err(format!(
                "progress: session {number} on host {} still waits to publish",
                truth.sessions[number].host
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Note;

    #[test]
    fn who_is_not_done_in_the_end_is_found_unless_its_node_is_gone() {
        let mut truth = Truth::new(1);
        let notes = [
            Note::Started {
                host: 0,
                incarnation: 1.into(),
            },
            Note::Opened {
                session: 0,
                host: 0,
                agent: 9,
                scope: tidings::Scope::default(),
                mailbox_messages_max: 1,
                drops_oldest: false,
            },
            Note::Flooding {
                session: 0,
                flooding: true,
            },
        ];
        notes.iter().for_each(|note| truth.apply(note));
        assert!(Progress.finish(&truth).is_err());
        truth.apply(&Note::Crashed { host: 0 });
        assert!(Progress.finish(&truth).is_ok());
    }
}
