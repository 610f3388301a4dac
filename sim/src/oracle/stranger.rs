use crate::note::Note;
use crate::oracle::Oracle;
use crate::truth::Truth;

/// Nobody receives a message who is not a member: of a pattern that matches its topic, at the time
/// it was published, and within its reach. It arrives as it was published.
#[derive(Debug, Default)]
pub struct Stranger;

impl Oracle for Stranger {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        let Note::Delivered {
            session,
            member,
            from,
            number,
            topic,
        } = note
        else {
            return Ok(());
        };
        let err = |what: &str| {
            Err(format!(
                "stranger: session {session} received message {number} of {from}: {what}"
            ))
        };
        let Some(message) = truth.messages.get(&(*from, *number)) else {
            return err("no such message was published");
        };
        if message.topic != *topic {
            return err(&format!(
                "published on {}, it arrived on {topic}",
                message.topic
            ));
        }
        let receiver = &truth.sessions[*session];
        let Some(membership) = receiver.members.get(member) else {
            return err(&format!("it has no membership {member}"));
        };
        if !membership.pattern.matches(topic) {
            return err(&format!("{} does not match {topic}", membership.pattern));
        }
        if membership.until.is_some_and(|until| until < message.step) {
            return err(&format!("published after membership {member} had ended"));
        }
        if truth.is_meant(*from, *session, message.reach) {
            Ok(())
        } else {
            err(&format!("it was for {:?}", message.reach))
        }
    }
}
