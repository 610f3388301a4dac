use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    #[serde(deserialize_with = "number")]
    pub(super) offset: usize,
    #[serde(deserialize_with = "number")]
    pub(super) limit: usize,
}

impl Default for Part {
    fn default() -> Self {
        Self {
            offset: 0,
            limit: PART_ITEMS_MAX,
        }
    }
}

impl Part {
    /// As it is meant: 0 is no limit to ask for, and more than the most is not given.
    pub(super) fn bounded(self) -> Self {
        let limit = match self.limit {
            0 => PART_ITEMS_MAX,
            limit => limit.min(PART_ITEMS_MAX),
        };
        Self { limit, ..self }
    }

    pub(super) fn of<T>(self, items: Vec<T>) -> Vec<T> {
        items
            .into_iter()
            .skip(self.offset)
            .take(self.limit)
            .collect()
    }
}

/// In a query that is taken apart into several all values are texts.
pub(super) fn number<'de, D: Deserializer<'de>, T: DeserializeOwned + std::str::FromStr>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let problem = |_| serde::de::Error::custom(format!("{text:?} is no number"));
    text.parse().map_err(problem)
}

/// Of what stands for whether, as tools write it.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "" | "0" | "false" => Ok(false),
        "1" | "true" | "detail" => Ok(true),
        _ => Err(serde::de::Error::custom(format!(
            "{text:?} is neither 1 nor 0"
        ))),
    }
}

/// How many items are given at a time, and if nobody asks for fewer.
const PART_ITEMS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_is_longer_than_the_longest() {
        let part = |offset, limit| {
            let items = (0..3_000).collect();
            Part { offset, limit }.bounded().of::<i32>(items)
        };
        assert_eq!(part(0, 0).len(), PART_ITEMS_MAX);
        assert_eq!(part(0, 9_999).len(), PART_ITEMS_MAX);
        assert_eq!(part(2_999, 2), [2_999]);
        assert!(part(usize::MAX, 2).is_empty());
    }
}
