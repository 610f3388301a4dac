//! End-to-end tests of Tidings.
