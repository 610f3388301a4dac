//! Bytes between authenticated peers.
