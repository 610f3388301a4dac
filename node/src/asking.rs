use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tidings_identity::NodeRun;

/// Nodes that are asked something at the same time.
pub(crate) struct Asking<T>(BTreeMap<NodeRun, Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Default for Asking<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Asking<T> {
    /// Asks this node, too; in the place of what it is asked so far, if anything.
    pub(crate) fn add(&mut self, run: NodeRun, answer: impl Future<Output = T> + Send + 'static) {
        self.0.insert(run, Box::pin(answer));
    }

    /// Whether this node is asked.
    pub(crate) fn has(&self, run: &NodeRun) -> bool {
        self.0.contains_key(run)
    }

    /// Goes on to ask these only.
    pub(crate) fn retain(&mut self, keep: impl Fn(&NodeRun) -> bool) {
        self.0.retain(|run, _| keep(run));
    }

    /// The next answer, and whose it is; None when nobody is asked any more. Nothing is lost when the call
    /// is cancelled.
    pub(crate) async fn next(&mut self) -> Option<(NodeRun, T)> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(NodeRun, T)>> {
        let answered = self
            .0
            .iter_mut()
            .find_map(|(run, answer)| match answer.as_mut().poll(cx) {
                Poll::Ready(answer) => Some((run.clone(), answer)),
                Poll::Pending => None,
            });
        match answered {
            Some((run, answer)) => {
                self.0.remove(&run);
                Poll::Ready(Some((run, answer)))
            }
            None if self.0.is_empty() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
