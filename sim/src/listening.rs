//! What the events of a plan do that are about replicas.

use tidings::{Node, SessionOptions};

use crate::fault::Event;
use crate::note::Note;
use crate::replica;
use crate::world::World;

impl World {
    /// What happens to replicas and their resources. On a host that stands still nothing does.
    pub(crate) fn listening(&mut self, event: &Event) {
        let (Event::Listen { host } | Event::Change { host, .. }) = event else {
            return;
        };
        let own = &self.hosts[*host];
        let Some(run) = own.run().filter(|_| !own.is_frozen()) else {
            return;
        };
        match event {
            Event::Listen { .. } => {
                let listening = replica::listen(run.node.clone(), *host, self.site.journal.clone());
                run.life.spawn(listening);
            }
            Event::Change { resource, .. } => self.change(&run.node.clone(), *host, *resource),
            _ => {}
        }
    }

    fn change(&self, node: &Node, host: usize, resource: u32) {
        let options = SessionOptions {
            scope: replica::scope(),
            ..SessionOptions::default()
        };
        let Ok((session, _inbox)) = node.session(options) else {
            return;
        };
        let message = replica::change(resource).message(&replica::server());
        // A node that has begun to leave, or has no room, refuses it.
        if session.broadcast(message).is_ok() {
            self.site.journal.note(Note::Changed { host, resource });
        }
    }
}
