//! Clusters of memberships over a network in memory, on simulated time.
#![allow(
    clippy::unwrap_used,
    reason = "all of this crate is tests, also what is in no test function"
)]

mod churn;
mod convergence;
mod faults;
mod switchboard;
mod watching;
