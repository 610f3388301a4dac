use tokio::sync::watch;

/// Who waits until all that this node has is written to its gossip state, and up to which version that is.
///
/// Nobody has a place in a queue: each takes the next number, and whoever writes serves all numbers taken
/// so far at once.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    taken: watch::Sender<u64>,
    served: watch::Sender<Served>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Served {
    /// All tickets up to this one.
    ticket: u64,
    /// The version of the gossip state that has what they wait for.
    version: u64,
}

impl Tickets {
    /// Waits until what this node has by now is written, and returns the version that has it. For ever,
    /// if nobody writes any more.
    pub(crate) fn wait(&self) -> impl Future<Output = u64> + Send + use<> {
        let mut mine = 0;
        let mut served = self.served.subscribe();
        self.taken.send_modify(|taken| {
            *taken += 1;
            mine = *taken;
        });
        async move {
            let served = served.wait_for(|served| served.ticket >= mine).await;
            let version = served.ok().map(|served| served.version);
            match version {
                Some(version) => version,
                None => std::future::pending().await,
            }
        }
    }

    /// Changes whenever a ticket is taken.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.taken.subscribe()
    }

    /// The last ticket taken, if it has not been served.
    pub(crate) fn unserved(&self) -> Option<u64> {
        let taken = *self.taken.borrow();
        (taken > self.served.borrow().ticket).then_some(taken)
    }

    /// What all who have tickets up to this one wait for is written, at this version.
    pub(crate) fn serve(&self, ticket: u64, version: u64) {
        self.served.send_replace(Served { ticket, version });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn all_who_came_before_are_served_at_once_and_nobody_who_came_later() {
        let tickets = Tickets::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(tickets.unserved(), None);
        let (mut one, mut two) = (pin!(tickets.wait()), pin!(tickets.wait()));
        let ticket = tickets.unserved().unwrap();
        let mut late = pin!(tickets.wait());
        assert!(one.as_mut().poll(&mut cx).is_pending());
        tickets.serve(ticket, 7);
        assert_eq!(one.as_mut().poll(&mut cx), Poll::Ready(7));
        assert_eq!(two.as_mut().poll(&mut cx), Poll::Ready(7));
        assert!(late.as_mut().poll(&mut cx).is_pending());
        tickets.serve(tickets.unserved().unwrap(), 9);
        assert_eq!(late.as_mut().poll(&mut cx), Poll::Ready(9));
        assert_eq!(tickets.unserved(), None);
    }
}
