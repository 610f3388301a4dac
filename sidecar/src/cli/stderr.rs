use std::fmt;
use std::io::{self, Write};

/// Tells people something beside the output. If nobody is there to read it, that is no failure.
pub(crate) fn tell(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
