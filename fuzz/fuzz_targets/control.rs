//! What a peer sends on the control stream.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidings_transport::fuzzing::control(input));
