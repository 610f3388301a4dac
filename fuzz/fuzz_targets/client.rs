//! What a client sends.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidings_sidecar::gateway::fuzzing::client(input));
