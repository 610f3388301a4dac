use std::collections::HashMap;

use serde_json::{Map, Value};

/// How much work a schema is: all of its parts, with those that it refers to in the place of each
/// reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    parts: usize,
    depth: usize,
}

/// Measures a schema.
struct Measure<'a> {
    root: &'a Value,
    /// What was measured under these pointers; nothing while it goes on.
    referred: HashMap<&'a str, Option<Size>>,
}

impl Size {
    /// Measures a schema. An error says why it is not used.
    pub(crate) fn of(schema: &Value) -> Result<Self, String> {
        let mut measure = Measure {
            root: schema,
            referred: HashMap::new(),
        };
        measure.value(schema, true)
    }

    /// The longest payload that is checked by it.
    pub(crate) fn payload_bytes_max(&self) -> usize {
        WORK_MAX / self.parts.max(1)
    }

    fn and(self, other: Self) -> Result<Self, String> {
        let size = Self {
            parts: self.parts.saturating_add(other.parts),
            depth: self.depth.max(other.depth + 1),
        };
        if size.parts > PARTS_MAX {
            return Err(format!(
                "it has more than {PARTS_MAX} parts, each counted as often as it is referred to"
            ));
        }
        if size.depth > DEPTH_MAX {
            return Err(format!("it is more than {DEPTH_MAX} parts deep"));
        }
        Ok(size)
    }
}

impl<'a> Measure<'a> {
    fn value(&mut self, value: &'a Value, is_root: bool) -> Result<Size, String> {
        let size = Size { parts: 1, depth: 1 };
        match value {
            Value::Array(items) => items.iter().try_fold(size, |size, item| {
                let item = self.value(item, false)?;
                size.and(item)
            }),
            Value::Object(members) => self.object(members, size, is_root),
            _ => Ok(size),
        }
    }

    fn object(
        &mut self,
        members: &'a Map<String, Value>,
        mut size: Size,
        is_root: bool,
    ) -> Result<Size, String> {
        for (name, value) in members {
            match (name.as_str(), value) {
                ("$ref", Value::String(pointer)) => {
                    let referred = self.referred(pointer)?;
                    size = size.and(referred)?;
                }
                (
                    "$dynamicRef" | "$recursiveRef" | "$anchor" | "$dynamicAnchor",
                    Value::String(_),
                ) => {
                    return Err(format!("it has {name}; only references by $ref are used"));
                }
                // It would change what references mean.
                ("$id" | "id", Value::String(_)) if !is_root => {
                    return Err("a part of it has an $id of its own".into());
                }
                ("pattern", Value::String(_)) => size = size.and(PATTERN)?,
                ("patternProperties", Value::Object(patterns)) => {
                    for _ in patterns {
                        size = size.and(PATTERN)?;
                    }
                }
                _ => {}
            }
            let member = self.value(value, false)?;
            size = size.and(member)?;
        }
        Ok(size)
    }

    /// The size of what is referred to.
    fn referred(&mut self, pointer: &'a str) -> Result<Size, String> {
        match self.referred.get(pointer) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Err(format!("{pointer:?} in it refers to itself")),
            None => {}
        }
        let path = pointer.strip_prefix('#');
        let path = path.filter(|path| path.starts_with('/') && !path.contains('%'));
        let target = path.and_then(|path| self.root.pointer(path));
        let target = target.ok_or_else(|| {
            format!("it refers to {pointer:?}; only what is in itself is used, as \"#/$defs/name\"")
        })?;
        self.referred.insert(pointer, None);
        let size = self.value(target, false)?;
        self.referred.insert(pointer, Some(size));
        Ok(size)
    }
}

/// The most parts of a schema.
const PARTS_MAX: usize = 2_000;
/// The most that lies within each other.
const DEPTH_MAX: usize = 64;
/// A regular expression counts as much as so many parts.
const PATTERN: Size = Size {
    parts: 50,
    depth: 1,
};
/// Parts of a schema times bytes of a payload: in the worst case each part has to be held against each
/// value of the payload.
const WORK_MAX: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn doubling(levels: usize) -> Value {
        let level = |n: usize| {
            let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
            (format!("d{n}"), json!({ "allOf": [next, next] }))
        };
        let mut defs: Map<String, Value> = (0..levels).map(level).collect();
        defs.insert(format!("d{levels}"), json!({ "type": "string" }));
        json!({ "$ref": "#/$defs/d0", "$defs": defs })
    }

    #[test]
    fn a_schema_that_could_take_long_is_refused() {
        let chain: Map<String, Value> = (0..200)
            .map(|n| {
                (
                    format!("d{n}"),
                    json!({ "$ref": format!("#/$defs/d{}", n + 1) }),
                )
            })
            .chain([("d200".into(), json!({}))])
            .collect();
        let patterns: Vec<_> = (0..50)
            .map(|n| json!({ "pattern": format!("a{n}") }))
            .collect();
        let mut deep = json!({});
        for _ in 0..80 {
            deep = json!({ "not": deep });
        }
        for (schema, problem) in [
            (doubling(40), "parts"),
            (json!({ "$ref": "#/$defs/d0", "$defs": chain }), "deep"),
            (json!({ "allOf": patterns }), "parts"),
            (deep, "deep"),
            (json!({ "enum": vec![1; 3_000] }), "parts"),
            (json!({ "$ref": "#" }), "refers to"),
            (
                json!({ "$ref": "#/properties/a", "properties": { "a": { "$ref": "#/properties/a" } } }),
                "itself",
            ),
            (json!({ "$ref": "https://example.com/s" }), "refers to"),
            (json!({ "$ref": "#/$defs/none" }), "refers to"),
            (json!({ "$dynamicRef": "#a" }), "$dynamicRef"),
            (json!({ "properties": { "a": { "$id": "b" } } }), "$id"),
        ] {
            let refused = Size::of(&schema).unwrap_err();
            assert!(refused.contains(problem), "{refused}: {schema}");
        }
        assert!(Size::of(&doubling(5)).is_ok());
    }

    #[test]
    fn names_of_properties_are_no_keywords() {
        let schema = json!({
            "$id": "https://example.com/s",
            "properties": { "$ref": { "type": "string" }, "pattern": {}, "id": {} },
        });
        assert_eq!(Size::of(&schema).map(|size| size.depth), Ok(4));
    }

    proptest! {
        #[test]
        fn more_parts_let_less_be_checked(one in 1..2_000_usize, other in 1..2_000_usize) {
            let max = |parts| Size { parts, depth: 1 }.payload_bytes_max();
            prop_assert!(max(one.min(other)) >= max(one.max(other)));
            prop_assert!(max(one) >= WORK_MAX / PARTS_MAX);
        }
    }
}
