use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, info::Info};
use prometheus_client::registry::{Registry, Unit};

use crate::gateway::Clients;
use crate::identities::Identities;
use crate::log::LostLines;
use tidings::{Distribution, GossipFault, Node};

/// What [`Exposition::text`] returns.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a node as text: those that the broker counts, and those that are read from its
/// parts at the moment of asking. Their labels are few and fixed; none carries a topic.
#[derive(Debug)]
pub(super) struct Exposition {
    registry: Registry,
}

impl Exposition {
    pub(super) fn new(node: Node, clients: Clients, identities: Identities) -> Self {
        let mut registry = Registry::with_prefix("tidings");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", version);
        registry.register_collector(Box::new(Sample {
            node,
            clients,
            identities,
        }));
        Self { registry }
    }

    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What is read when it is asked for.
#[derive(Debug)]
struct Sample {
    node: Node,
    clients: Clients,
    identities: Identities,
}

impl Collector for Sample {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Writer { encoder };
        let stats = self.node.stats();
        let membership = stats.membership;
        let transport = stats.transport.unwrap_or_default();

        let started = ConstGauge::new(self.node.started_unix().as_secs_f64());
        let help = "When the node started, since the Unix epoch";
        let descriptor = to.encoder.encode_descriptor(
            "start_time",
            help,
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        started.encode(descriptor)?;

        if let Some(certificate) = self.node.certificate() {
            let expiry = ConstGauge::new(certificate.not_after().as_secs_f64());
            let help = "When the node's certificate runs out, since the Unix epoch";
            let descriptor = to.encoder.encode_descriptor(
                "certificate_expiry",
                help,
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?;
            expiry.encode(descriptor)?;
        }

        to.gauge(
            "sessions",
            "Open sessions, clients included",
            stats.sessions,
        )?;
        to.gauge(
            "clients",
            "Clients that are connected",
            self.clients.connected(),
        )?;
        let help = "Clients cut off because they did not keep up with their messages";
        to.counter("slow_consumers", help, self.clients.slow_consumers())?;
        let help = "Bytes that wait in mailboxes, for links and in buffers of clients";
        to.gauge("waiting_bytes", help, stats.waiting_bytes)?;
        to.gauge(
            "members",
            "Memberships on this node",
            membership.memberships_local,
        )?;
        let help = "Memberships in the whole cluster, as this node knows it";
        to.gauge("cluster_members", help, membership.memberships)?;
        let help = "Topics and patterns with members in the whole cluster, as this node knows it";
        to.gauge("topics", help, self.node.view().topics_count())?;
        // This node is among the live ones.
        let peers = membership.nodes_live.saturating_sub(1);
        to.gauge("peers", "Live peers", peers)?;
        to.gauge("links", "Links to peers that are up", transport.links)?;

        let help = "Messages accepted for broadcast by this node";
        to.counter("broadcasts", help, stats.broadcasts)?;
        let sent = [("local", stats.sent_local), ("remote", stats.sent_remote)];
        let help = "Messages put into mailboxes of local subscribers, or handed to links to peers";
        to.counters("messages_sent", help, "to", &sent)?;
        let help = "Messages received from peers";
        to.counter("messages_received", help, stats.received)?;
        let help = "Messages received by local subscribers";
        to.counter("messages_delivered", help, stats.delivered)?;
        let help = "Time to hand a broadcast to all its local subscribers and links";
        let seconds = Some(&Unit::Seconds);
        to.histogram(
            "broadcast_duration",
            help,
            seconds,
            &stats.broadcast_seconds,
        )?;
        let help = "Local subscribers and peers a broadcast was handed to";
        let recipients = &stats.broadcast_recipients;
        to.histogram("broadcast_subscribers", help, None, recipients)?;

        let dropped = [
            ("mailbox_full", stats.dropped_mailbox_full),
            ("slow_subscriber", stats.dropped_slow_subscriber),
            ("session_ended", stats.dropped_session_ended),
            ("queue_empty", stats.dropped_queue_empty),
            ("malformed", stats.dropped_malformed),
            ("outbound_full", transport.dropped_outbound_full),
            ("congested", transport.dropped_congested),
            ("too_large", transport.dropped_too_large),
            ("peer_forgotten", transport.dropped_peer_forgotten),
            ("peer_restarted", transport.dropped_peer_restarted),
            ("link_lost", transport.dropped_link_lost),
        ];
        let help = "Messages that were accepted and lost, by reason";
        to.counters("messages_dropped", help, "reason", &dropped)?;

        let help =
            "Messages that waited for a member of a queue group that went, which another has got";
        to.counter("messages_handed_over", help, stats.handed_over)?;
        let help =
            "Messages for a queue group that nobody here took, passed on to another member or node";
        to.counter("messages_passed_on", help, stats.passed_on)?;
        let denied = [
            ("publish", stats.denied_publish),
            ("subscribe", stats.denied_subscribe),
            ("view", stats.denied_view),
        ];
        let help = "What was refused because permissions do not allow it";
        to.counters("denied", help, "what", &denied)?;
        let help = "Clients and callers that did not show who they are";
        let failures = self.identities.failures();
        to.counter("authentication_failures", help, failures)?;

        let again = [
            ("sent", stats.assured_repeated),
            ("received", stats.assured_known),
        ];
        let help =
            "Assured messages sent to a peer again, and received again and not delivered again";
        to.counters("assured_repeats", help, "at", &again)?;

        let help = "Links to peers that came up, and that ended";
        let opened_closed = [
            ("opened", transport.links_opened),
            ("closed", transport.links_closed),
        ];
        to.counters("link_changes", help, "change", &opened_closed)?;
        let incoming = [
            ("admitted", transport.handshakes_admitted),
            ("retried", transport.handshakes_retried),
            ("ignored", transport.handshakes_ignored),
        ];
        let help = "Handshakes that others asked for: begun, to be asked for again with a proof \
            of address, or without a place";
        to.counters("incoming_handshakes", help, "answer", &incoming)?;
        let failures = [
            ("refused", transport.handshakes_refused),
            ("dial_failed", transport.dials_failed),
        ];
        let help = "Attempts at a link that failed: one side refused the other, or none answered";
        to.counters("handshake_failures", help, "reason", &failures)?;
        let help = "Attempts at a link after an earlier one failed or was lost";
        to.counter("redials", help, transport.redials)?;
        let help = "Links closed because the peer broke the protocol";
        to.counter("link_violations", help, transport.violations)?;
        let frames = [
            ("out", transport.frames_sent),
            ("in", transport.frames_received),
        ];
        to.counters(
            "link_frames",
            "Frames with broadcasts on links",
            "direction",
            &frames,
        )?;
        let bytes = [
            ("out", transport.frame_bytes_sent),
            ("in", transport.frame_bytes_received),
        ];
        to.counters("link_bytes", "Bytes of these frames", "direction", &bytes)?;

        let messages = [
            ("out", membership.messages_out),
            ("in", membership.messages_in),
        ];
        to.counters("gossip_messages", "Gossip messages", "direction", &messages)?;
        let bytes = [("out", membership.bytes_out), ("in", membership.bytes_in)];
        to.counters(
            "gossip_bytes",
            "Bytes of gossip messages",
            "direction",
            &bytes,
        )?;
        let dropped = [
            ("queue", membership.messages_dropped),
            ("transport", transport.gossip_dropped),
        ];
        let help = "Gossip messages dropped before or in the transport; gossip repeats itself";
        to.counters("gossip_dropped", help, "at", &dropped)?;
        let faults = GossipFault::ALL.map(|fault| (fault.name(), membership.faults.of(fault)));
        let malformed = [&faults[..], &[("value", membership.values_malformed)]].concat();
        let help = "What came by gossip and was not taken, by what was wrong with it";
        to.counters("gossip_malformed", help, "what", &malformed)?;
        let help = "Changes that were told to peers at once";
        to.counter("gossip_eager_rounds", help, membership.eager_rounds)?;
        let help = "How often gossip ended by itself and was begun anew";
        to.counter("gossip_restarts", help, membership.restarts)?;

        let LostLines { limited, unwritten } = LostLines::now();
        let lost = [("limited", limited), ("unwritten", unwritten)];
        let help = "Lines of the log left out as too many of a kind, or that could not be written";
        to.counters("log_lines_lost", help, "reason", &lost)
    }
}

struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl TryInto<i64>) -> fmt::Result {
        let gauge = ConstGauge::new(value.try_into().unwrap_or(i64::MAX));
        gauge.encode(
            self.encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?,
        )
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(
            self.encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?,
        )
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: &Distribution,
    ) -> fmt::Result {
        let kind = MetricType::Histogram;
        let mut metric = self.encoder.encode_descriptor(name, help, unit, kind)?;
        // The encoder's word for infinity.
        let bound = |bound: f64| if bound.is_finite() { bound } else { f64::MAX };
        let buckets = values.buckets.iter();
        let buckets: Vec<_> = buckets.map(|(b, count)| (bound(*b), *count)).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        metric.encode_histogram::<NoLabelSet>(values.sum, count, &buckets, None)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) -> fmt::Result {
        let mut family = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value_of_label, count) in values {
            let labels = [(label, *value_of_label)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
