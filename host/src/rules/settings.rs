//! Settings of a rule, and the schema (JSON Schema, draft 2020-12) that the rule has for them.
//!
//! A schema is the word of a stranger. It can be made to be read for ever: by references in a circle, by parts
//! that double with each level, by patterns. So it is measured first, and only what is small with every reference
//! followed is used. What it refers to is in it; nothing is fetched.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

/// What is wrong with settings by a schema, each mistake in a sentence with its place.
pub(crate) fn mistakes(schema: &str, settings: &str) -> Result<Vec<String>, SchemaFault> {
    let validator = validator(schema)?;
    let settings: Value =
        serde_json::from_str(settings).map_err(|e| SchemaFault::Settings(e.to_string()))?;
    let told = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path().to_string();
        let words: String = error.to_string().chars().take(MAX_MISTAKE_LENGTH).collect();
        if place.is_empty() { words } else { format!("{place}: {words}") }
    };
    Ok(validator.iter_errors(&settings).take(MAX_MISTAKES).map(told).collect())
}

fn validator(schema: &str) -> Result<Validator, SchemaFault> {
    if schema.len() > MAX_SCHEMA_BYTES {
        return Err(SchemaFault::TooLarge { what: "bytes", limit: MAX_SCHEMA_BYTES });
    }
    let schema: Value =
        serde_json::from_str(schema).map_err(|e| SchemaFault::Invalid(e.to_string()))?;
    measure(&schema)?;
    let patterns =
        PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
    jsonschema::options()
        .offline()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(patterns)
        .build(&schema)
        .map_err(|e| SchemaFault::Invalid(e.to_string().chars().take(MAX_MISTAKE_LENGTH).collect()))
}

/// Refuse what would take long.
fn measure(schema: &Value) -> Result<(), SchemaFault> {
    let mut survey = Survey::default();
    survey.collect(String::new(), schema, 0)?;
    let mut sizes = BTreeMap::new();
    let whole = survey.size("", &mut BTreeSet::new(), &mut sizes)?;
    let limited = |what, found, limit| match found > limit {
        true => Err(SchemaFault::TooLarge { what, limit }),
        false => Ok(()),
    };
    limited("parts, with every reference followed", whole.parts, MAX_SCHEMA_PARTS)?;
    limited("levels, with every reference followed", whole.levels, MAX_SCHEMA_LEVELS)?;
    limited(
        "parts that are unevaluatedProperties or unevaluatedItems",
        whole.unevaluated,
        MAX_UNEVALUATED,
    )
}

/// All schemas in a schema, by JSON pointer, each with the schemas that are looked at with it.
#[derive(Default)]
struct Survey {
    schemas: BTreeMap<String, Links>,
}

#[derive(Default)]
struct Links {
    parts: Vec<String>,
    unevaluated: usize,
}

#[derive(Clone, Copy, Default)]
struct Size {
    parts: usize,
    levels: usize,
    unevaluated: usize,
}

impl Survey {
    fn collect(&mut self, at: String, schema: &Value, level: usize) -> Result<(), SchemaFault> {
        if level > MAX_SCHEMA_LEVELS {
            return Err(SchemaFault::TooLarge { what: "levels", limit: MAX_SCHEMA_LEVELS });
        }
        let (mut links, empty) = (Links::default(), Map::new());
        let invalid = |fault: String| Err(SchemaFault::Invalid(fault));
        let members = match schema {
            Value::Bool(_) => &empty,
            Value::Object(members) => members,
            other => return invalid(format!("{at}: a schema expected, got {other:.20}")),
        };
        for (keyword, value) in members {
            let below = format!("{at}/{}", escaped(keyword));
            let (parts, count): (Vec<(String, &Value)>, bool) = match keyword.as_str() {
                "$ref" => {
                    let target = value.as_str().and_then(|target| target.strip_prefix('#'));
                    match target {
                        Some(target) if !target.contains('%') => {
                            links.parts.push(target.to_owned());
                        }
                        _ => {
                            return invalid(format!(
                                "{below}: a reference in the schema itself expected, such as #/$defs/name"
                            ));
                        }
                    }
                    continue;
                }
                "$schema" => {
                    let known = value.as_str().map(|uri| uri.trim_end_matches('#'));
                    if known != Some(DRAFT) {
                        return invalid(format!("{below}: {DRAFT} expected"));
                    }
                    continue;
                }
                "$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef"
                | "$recursiveAnchor" | "$vocabulary" => {
                    return invalid(format!("{below}: it is not used here; refer to #/$defs/name"));
                }
                "$defs" | "definitions" => (entries(&below, value), false),
                "properties" | "patternProperties" | "dependentSchemas" | "dependencies" => {
                    (entries(&below, value), true)
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => (items(&below, value), true),
                "items" | "additionalItems" if value.is_array() => (items(&below, value), true),
                "unevaluatedProperties" | "unevaluatedItems" => {
                    links.unevaluated += 1;
                    (vec![(below, value)], true)
                }
                "items"
                | "additionalItems"
                | "contains"
                | "additionalProperties"
                | "propertyNames"
                | "if"
                | "then"
                | "else"
                | "not"
                | "contentSchema" => (vec![(below, value)], true),
                // Values, and what is for people.
                _ => continue,
            };
            for (at, part) in parts {
                // A list of names, which `dependencies` may have in place of a schema.
                if keyword == "dependencies" && part.is_array() {
                    continue;
                }
                if count {
                    links.parts.push(at.clone());
                }
                self.collect(at, part, level + 1)?;
            }
        }
        self.schemas.insert(at, links);
        Ok(())
    }

    /// How large a schema is with every reference followed.
    fn size(
        &self,
        at: &str,
        above: &mut BTreeSet<String>,
        known: &mut BTreeMap<String, Size>,
    ) -> Result<Size, SchemaFault> {
        if let Some(size) = known.get(at) {
            return Ok(*size);
        }
        let Some(links) = self.schemas.get(at) else {
            return Err(SchemaFault::Invalid(format!("there is no schema at #{at}")));
        };
        if above.len() > MAX_SCHEMA_LEVELS {
            return Err(SchemaFault::TooLarge { what: "levels", limit: MAX_SCHEMA_LEVELS });
        }
        if !above.insert(at.to_owned()) {
            return Err(SchemaFault::Circle(format!("#{at}")));
        }
        let mut size = Size { parts: 1, levels: 1, unevaluated: links.unevaluated };
        for part in &links.parts {
            let part = self.size(part, above, known)?;
            size.parts = size.parts.saturating_add(part.parts);
            size.levels = size.levels.max(part.levels + 1);
            size.unevaluated = size.unevaluated.saturating_add(part.unevaluated);
        }
        above.remove(at);
        known.insert(at.to_owned(), size);
        Ok(size)
    }
}

fn entries<'a>(at: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, part)| (format!("{at}/{}", escaped(name)), part)).collect()
}

fn items<'a>(at: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    let items = value.as_array().into_iter().flatten().enumerate();
    items.map(|(place, part)| (format!("{at}/{place}"), part)).collect()
}

/// A name as it is in a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A schema cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum SchemaFault {
    /// It refers to what it is a part of.
    #[error("{0} is a part of itself, and settings do not nest without end")]
    Circle(String),
    /// It is no schema.
    #[error("{0}")]
    Invalid(String),
    /// The settings are no JSON.
    #[error("the settings are not JSON: {0}")]
    Settings(String),
    /// It would take long.
    #[error("it has more than {limit} {what}")]
    TooLarge { what: &'static str, limit: usize },
}

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Largest schema, in bytes: a hundred settings with a paragraph for each.
const MAX_SCHEMA_BYTES: usize = 64 * 1024;

/// Most parts of a schema, with every reference followed: a hundred settings of ten parts each.
const MAX_SCHEMA_PARTS: usize = 1024;

/// Most levels of a schema, with every reference followed: two for each of sixteen levels of settings.
const MAX_SCHEMA_LEVELS: usize = 32;

/// Most of the keywords that look at all of their neighbours again: one closes a type; each level of them doubles
/// the work.
const MAX_UNEVALUATED: usize = 4;

/// Most bytes of a pattern when it is compiled: hundreds of alternatives.
const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// Most mistakes that are told.
const MAX_MISTAKES: usize = 10;

/// Longest mistake, in characters: three lines of a terminal.
const MAX_MISTAKE_LENGTH: usize = 240;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, settings: &Value) -> Vec<String> {
        mistakes(&schema.to_string(), &settings.to_string()).expect("a schema")
    }

    fn refused(schema: &Value) -> SchemaFault {
        mistakes(&schema.to_string(), "{}").expect_err("refused")
    }

    /// As schemars writes one.
    fn days() -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Settings",
            "type": "object",
            "properties": {
                "days": {"$ref": "#/$defs/Days"},
                "$ref": {"type": "string"},
            },
            "required": ["days"],
            "additionalProperties": false,
            "$defs": {"Days": {"type": "integer", "format": "uint32", "minimum": 1, "maximum": 4000}},
        })
    }

    #[test]
    fn settings_have_to_fit() {
        assert_eq!(check(&days(), &json!({"days": 90})), [""; 0]);
        assert_eq!(check(&json!({}), &json!({"anything": [1]})), [""; 0]);
        let told = check(&days(), &json!({"days": 0, "hours": 1}));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|mistake| mistake.starts_with("/days: ")), "{told:?}");
        assert!(told.iter().any(|mistake| mistake.contains("hours")), "{told:?}");
        assert_eq!(check(&days(), &json!({})).len(), 1);
        assert_eq!(check(&json!(false), &json!({})).len(), 1);
    }

    #[test]
    fn mistakes_are_few_and_short() {
        let schema = json!({"additionalProperties": {"type": "integer"}});
        let settings: Value = (0..50).map(|n| (format!("s{n}"), json!("x".repeat(9000)))).collect();
        let told = check(&schema, &settings);
        assert_eq!(told.len(), MAX_MISTAKES);
        assert!(told.iter().all(|mistake| mistake.len() < 300), "{told:?}");
    }

    #[test]
    fn refuses_schemas_in_a_circle() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"properties": {"next": {"$ref": "#"}}}),
            json!({
                "$ref": "#/$defs/a",
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}},
            }),
        ] {
            assert!(matches!(refused(&schema), SchemaFault::Circle(_)), "{schema}");
        }
    }

    #[test]
    fn refuses_schemas_that_grow_when_they_are_followed() {
        let mut definitions = Map::new();
        for level in 0..20 {
            let next = json!({"$ref": format!("#/$defs/l{}", level + 1)});
            definitions.insert(format!("l{level}"), json!({"allOf": [next, next]}));
        }
        definitions.insert("l20".to_owned(), json!({"type": "object"}));
        let doubling = json!({"$ref": "#/$defs/l0", "$defs": definitions});
        assert!(matches!(refused(&doubling), SchemaFault::TooLarge { .. }));

        let mut deep = json!(true);
        for _ in 0..100 {
            deep = json!({"not": deep});
        }
        assert!(matches!(refused(&deep), SchemaFault::TooLarge { .. }));
        let chain: Value = (0..100)
            .map(|n| (format!("c{n}"), json!({"$ref": format!("#/$defs/c{}", n + 1)})))
            .chain([("c100".to_owned(), json!(true))])
            .collect();
        let chain = json!({"$ref": "#/$defs/c0", "$defs": chain});
        assert!(matches!(refused(&chain), SchemaFault::TooLarge { .. }));

        let mut nested = json!(true);
        for _ in 0..10 {
            nested = json!({"allOf": [nested], "unevaluatedProperties": false});
        }
        assert!(matches!(refused(&nested), SchemaFault::TooLarge { .. }));
        let long = json!({"description": "x".repeat(MAX_SCHEMA_BYTES)});
        assert!(matches!(refused(&long), SchemaFault::TooLarge { .. }));
    }

    #[test]
    fn refuses_patterns_that_grow_or_look_around() {
        for pattern in ["(((a{1,99}){1,99}){1,99}){1,99}", "(?=a)b", "(a)\\1", "("] {
            let schema = json!({"properties": {"a": {"pattern": pattern}}});
            assert!(matches!(refused(&schema), SchemaFault::Invalid(_)), "{pattern}");
        }
    }

    #[test]
    fn refuses_what_is_elsewhere_or_is_no_schema() {
        for schema in [
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "other.json#/a"}),
            json!({"$ref": "#/$defs/none"}),
            json!({"$ref": "#/enum/0", "enum": [{"$ref": "#"}]}),
            json!({"$ref": "#/%24defs/a", "$defs": {"a": true}}),
            json!({"$ref": 1}),
            json!({"$dynamicRef": "#meta"}),
            json!({"$id": "https://example.com/"}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
            json!({"type": "days"}),
            json!({"properties": {"a": 1}}),
            json!(1),
        ] {
            assert!(matches!(refused(&schema), SchemaFault::Invalid(_)), "{schema}");
        }
        assert!(mistakes("{", "{}").is_err());
        assert!(mistakes("{}", "{").is_err());
    }

    #[test]
    fn values_that_look_like_schemas_are_values() {
        let schema =
            json!({"properties": {"a": {"const": {"$ref": "#"}}, "b": {"enum": [{"$id": 1}]}}});
        assert_eq!(check(&schema, &json!({"a": {"$ref": "#"}, "b": {"$id": 1}})), [""; 0]);
    }
}
