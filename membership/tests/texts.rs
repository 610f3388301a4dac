//! Names and topics are texts of a certain form.

use std::fmt::Debug;
use std::str::FromStr;

use tidings_membership::{AgentName, Pattern, Scope, Topic};

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
