//! What a session asks of the other nodes.

use std::sync::Arc;
use std::time::Duration;

use tidings_identity::NodeRun;
use tidings_membership::Topic;

use super::{Session, SessionState, Sessions};
use crate::changes::{Position, Recall, Sources, recall};
use crate::everywhere::{NotEverywhere, everywhere};

impl Session {
    /// Waits until every live node has all subscriptions in its routes that the session has made before
    /// this call, for no longer than `limit`. Returns the nodes that have said so, by name.
    ///
    /// Nothing that is published on one of these runs afterwards is missed for want of a route, as long
    /// as that node does not take this one for dead: it is delivered, or its loss is told like that of any other
    /// message. What is on its way meanwhile may be. *Afterwards* is after this returned, on whatever
    /// node that is known.
    ///
    /// Which nodes are live, the [view](crate::Node::view) of this one says: one that comes up while this
    /// waits has to have them, one that goes down has not any more, and one that begins anew counts as
    /// another. So a node that cannot be reached is waited for until it is taken for dead. Nodes that this
    /// one has not heard of yet are not asked; they have all subscriptions before they show this node as live.
    ///
    /// The session may go on, or end, while this waits.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidings::{LocalCluster, Message, SessionOptions};
    ///
    /// let cluster = LocalCluster::start(2).await?;
    /// cluster.joined(Duration::from_secs(10)).await?;
    /// let (asker, mut answers) = cluster.nodes()[0].session(SessionOptions::default())?;
    /// asker.subscribe(&"answers.7".parse()?)?;
    /// let nodes = asker.everywhere(Duration::from_secs(5)).await?;
    /// assert_eq!(nodes[0].node, *cluster.nodes()[1].name());
    ///
    /// let (answerer, _inbox) = cluster.nodes()[1].session(SessionOptions::default())?;
    /// answerer.broadcast(Message::new("answers.7".parse()?, "42"))?;
    /// answers.recv().await?;
    /// # cluster.leave().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`NotEverywhere`], which names the nodes that have not said so. The subscriptions stay.
    pub fn everywhere(
        &self,
        limit: Duration,
    ) -> impl Future<Output = Result<Vec<NodeRun>, NotEverywhere>> + Send + use<> {
        let Sessions {
            membership,
            transport,
            ..
        } = &*self.state.node;
        let (written, views) = (membership.written(), membership.views());
        everywhere(written, views, transport.clone(), limit)
    }

    /// Asks all live nodes which changes of an MCP server were published there since this position, for those who may
    /// have missed some: with the topic `mcp.<server>`, of which the changes are told on `mcp.<server>.…`. To be asked when
    /// there was a [gap](tidings_membership::Event::Gap), the inbox has [missed](crate::Delivery::Missed) messages, a node has
    /// come up, or [numbers](crate::ChangeNumber) are missing. Each answer says up to where to [advance](Position::advance) the
    /// position; what is published later comes by itself, or its loss is told, as long as the session is subscribed to it.
    /// None is for a start: what was published before is not wanted, and only the numbers are told.
    ///
    /// Each node keeps the last 65,536 distinct messages, in 16 MiB, and says so when those do not reach back. A node that
    /// does not tell everything within `limit` is silent. Nobody needs to be allowed to ask: what a client may hear of is for
    /// the caller to know.
    pub fn recall(&self, server: &Topic, since: Option<&Position>, limit: Duration) -> Recall {
        let SessionState { node, routes, .. } = &*self.state;
        let sources = Sources {
            changes: Arc::clone(&node.broker.changes),
            membership: node.membership.clone(),
            transport: node.transport.clone(),
        };
        recall(sources, &routes.scope, server, since, limit)
    }
}
