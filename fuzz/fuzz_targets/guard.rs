//! What a peer gossips, as the guard reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidings_membership::fuzzing::guard(input));
