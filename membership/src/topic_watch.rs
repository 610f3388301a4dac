use std::sync::Arc;

use tokio::sync::watch;

use crate::records::Records;
use crate::view::View;

/// Tells when something else is told of topics. Nothing is queued: several changes may be told as one.
#[derive(Debug)]
pub struct TopicWatch {
    views: watch::Receiver<Arc<View>>,
    /// What the nodes told when it was looked at last.
    seen: Vec<Arc<Records>>,
}

impl TopicWatch {
    pub(crate) fn new(views: watch::Receiver<Arc<View>>) -> Self {
        let seen = Vec::new();
        Self { views, seen }
    }

    /// Resolves when something else is told of topics than at the last time; at the first, at once if
    /// anything is. Never, once this node's membership has ended.
    ///
    /// Cancel-safe.
    pub async fn changed(&mut self) {
        loop {
            let told = self.views.borrow_and_update().records();
            let is_same = |(one, other): (&Arc<Records>, &Arc<Records>)| Arc::ptr_eq(one, other);
            let same = told.len() == self.seen.len() && told.iter().zip(&self.seen).all(is_same);
            if !same {
                self.seen = told;
                return;
            }
            if self.views.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
