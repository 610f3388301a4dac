//! The text of a bucket in a peer's gossip.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidings_membership::fuzzing::packed(input));
