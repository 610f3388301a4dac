//! What a peer sends on a lane.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidings_transport::fuzzing::frames(input));
