/// What every type can do that is a text of a certain form: be made from text, and be text again.
///
/// The type is a tuple struct of one `Arc<str>` and has a `parse`; the error is that of `parse`.
macro_rules! text_like {
    ($name:ident, $error:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $error;

            fn try_from(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }
    };
}
pub(crate) use text_like;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::str::FromStr;

    use crate::{AgentName, Pattern, Scope, Topic};

    /// Makes a value in each way there is, and gives the text back in each.
    fn every_way<T>(text: &str) -> bool
    where
        T: FromStr + for<'a> TryFrom<&'a str> + TryFrom<String> + ToString + Debug,
        String: From<T>,
    {
        let made: [Option<T>; 3] = [
            text.parse().ok(),
            <T as TryFrom<&str>>::try_from(text).ok(),
            <T as TryFrom<String>>::try_from(text.into()).ok(),
        ];
        made.into_iter().all(|value| {
            value.is_some_and(|value| value.to_string() == text && String::from(value) == text)
        })
    }

    #[test]
    fn a_text_comes_out_as_it_went_in_whichever_way() {
        assert!(every_way::<Scope>("team_A.1"));
        assert!(every_way::<Topic>("kb.updates"));
        assert!(every_way::<Pattern>("kb.*"));
        assert!(every_way::<AgentName>("weather reader"));
        assert!(
            !every_way::<Topic>("kb.*"),
            "what does not parse is not made"
        );
    }
}
