use std::fmt;

use serde::{Deserialize, Serialize};

/// Who may use a file, as `chmod` takes it: `0600` or `660`, three octal digits after an optional `0`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileMode(u32);

impl FileMode {
    /// Its owner alone.
    pub const OWNER: Self = Self(0o600);

    /// As the system takes it.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for FileMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.strip_prefix('0').unwrap_or(&text);
        let is_octal = digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        match u32::from_str_radix(digits, 8) {
            Ok(bits) if digits.len() == 3 && is_octal => Ok(Self(bits)),
            _ => Err(format!(
                "{text:?} is no file mode such as \"0600\" or \"0660\""
            )),
        }
    }
}

impl From<FileMode> for String {
    fn from(mode: FileMode) -> Self {
        mode.to_string()
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_what_chmod_takes() {
        let mode = |text: &str| FileMode::try_from(text.to_owned());
        assert_eq!(mode("0660").map(FileMode::bits), Ok(0o660));
        assert_eq!(mode("600"), Ok(FileMode::OWNER));
        for wrong in ["", "0", "0888", "66", "06600", "+660", "rw-", "0o660"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mode_is_written_as_it_is_read() {
        let text = String::from(FileMode(0o660));
        assert_eq!(text, "0660");
        assert_eq!(FileMode::try_from(text), Ok(FileMode(0o660)));
    }
}
