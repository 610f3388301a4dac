//! What a peer gossips.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidings_membership::fuzzing::gossip(input));
