//! What a request becomes when it is read: of two bytes of JSON that are a value, forty or more.

use rmcp::model::NumberOrString;

/// A request has more values than any has that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request has more than {VALUES_MAX} values")]
pub(crate) struct TooManyValues;

/// How many bytes the values of this take once they are read.
pub(super) fn read_bytes(json: &[u8]) -> Result<usize, TooManyValues> {
    let values = values(json);
    let bytes = (values <= VALUES_MAX).then_some(values * VALUE_BYTES);
    bytes.ok_or(TooManyValues)
}

/// How many values there are, if it is JSON: one, and another after each sign that stands before one.
fn values(json: &[u8]) -> usize {
    let (mut values, mut is_text, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b'[' | b'{' | b':' | b',' if !is_text => values += 1,
            _ => {}
        }
    }
    values
}

/// Whether this is longer than a client needs, to whom it would be said again and again: the id of a request, or the
/// token of its progress.
pub(super) fn is_too_long(id: &NumberOrString) -> bool {
    matches!(id, NumberOrString::String(id) if id.len() > ID_BYTES_MAX)
}

const ID_BYTES_MAX: usize = 1 << 10;
/// More than the most resources that one client may listen for, and so few that to read them takes no other's time.
const VALUES_MAX: usize = 20_000;
/// What one value takes, or a little more.
const VALUE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_value_however_long_and_each_of_a_list_is_one() {
        let text = format!(r#"{{"a":"{}"}}"#, r#"[,:{\"\\"#.repeat(VALUES_MAX));
        assert!(read_bytes(text.as_bytes()).unwrap() < 1_000);
        let list = |n| format!("[{}]", vec!["0"; n].join(","));
        assert!(read_bytes(list(VALUES_MAX - 1).as_bytes()).is_ok());
        for item in ["0", "[]", "{}", "\"\"", "\"\\\"\"", "{\"a\":0}"] {
            let many = format!("[{}]", vec![item; VALUES_MAX].join(","));
            assert_eq!(read_bytes(many.as_bytes()), Err(TooManyValues), "{item}");
        }
    }
}
