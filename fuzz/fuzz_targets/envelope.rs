//! The message in a frame of a peer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidings::fuzzing::envelope(input));
