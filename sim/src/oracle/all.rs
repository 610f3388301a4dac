use crate::oracle::{
    Oracle, accounting, assurance, barrier, changes, delivery, false_death, gaps, gossip, links,
    mailbox, monitor, order, progress, questions, stranger, streams,
};

/// Those that judge while a run is under way.
pub(crate) fn all() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::<order::Order>::default(),
        Box::<stranger::Stranger>::default(),
        Box::<mailbox::Mailbox>::default(),
        Box::<false_death::FalseDeath>::default(),
        Box::<accounting::Accounting>::default(),
        Box::<links::Links>::default(),
        Box::<delivery::Delivery>::default(),
        Box::<assurance::Assurance>::default(),
        Box::<barrier::Barrier>::default(),
        Box::<gaps::Gaps>::default(),
        Box::<gossip::Gossip>::default(),
        Box::<monitor::Monitor>::default(),
        Box::<questions::Questions>::default(),
        Box::<changes::Changes>::default(),
        Box::<streams::Streams>::default(),
        Box::<progress::Progress>::default(),
    ]
}
