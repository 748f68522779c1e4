//! YAML and JSON as a tree that remembers where everything stood.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

use super::error::{Position, Problem, ProblemKind};

/// Most bytes of a manifest.
pub const BYTES_MAX: usize = 1024 * 1024;
/// Most levels of nesting.
pub const DEPTH_MAX: usize = 64;
/// Most values, after aliases were replaced.
pub const NODES_MAX: usize = 100_000;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: Option<Position>,
    pub value: Value,
}

/// A key and its place.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub at: Option<Position>,
    pub text: String,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// Reads YAML (and JSON, which is YAML but for odd corners).
    pub(super) fn from_yaml(text: &str) -> Result<Self, Box<Problem>> {
        size(text)?;
        let options = serde_yaml::options! {
            with_snippet: false,
            budget: serde_yaml::budget! {
                max_depth: DEPTH_MAX,
                max_nodes: NODES_MAX,
                max_documents: 1,
                max_aliases: 1000,
                max_total_scalar_bytes: 4 * BYTES_MAX,
            },
        };
        match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options) {
            Ok(raw) => Ok(raw.into()),
            Err(error) => {
                let message = sentence(&error.without_snippet().to_string());
                let mut problem = Problem::new(ProblemKind::Syntax, "", message);
                problem.at = error
                    .location()
                    .and_then(|at| position(at.line(), at.column()));
                problem.hint = syntax_hint(text, problem.at, &problem.message);
                Err(Box::new(problem))
            }
        }
    }

    /// Reads JSON.
    pub(super) fn from_json(text: &str) -> Result<Self, Box<Problem>> {
        size(text)?;
        // The JSON is checked as JSON, then read as YAML for the places; what YAML does not take
        // (a tab in an odd place) is kept without places.
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
            let mut problem = Problem::new(ProblemKind::Syntax, "", error.to_string());
            problem.at = (error.line() > 0).then(|| Position {
                line: error.line(),
                column: error.column().max(1),
            });
            Box::new(problem)
        })?;
        Ok(Self::from_yaml(text).unwrap_or_else(|_| Self::from_value(&value)))
    }

    /// A value without places.
    pub(super) fn from_value(value: &serde_json::Value) -> Self {
        let value = match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => match number.as_u64() {
                Some(number) => Value::Unsigned(number),
                None => Value::Number(number.as_f64().unwrap_or(0.0)),
            },
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(list) => {
                Value::List(list.iter().map(Self::from_value).collect())
            }
            serde_json::Value::Object(map) => Value::Map(
                map.iter()
                    .map(|(key, value)| {
                        (
                            Key {
                                at: None,
                                text: key.clone(),
                            },
                            Self::from_value(value),
                        )
                    })
                    .collect(),
            ),
        };
        Self { at: None, value }
    }

    /// The value as plain JSON.
    pub(super) fn to_value(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Unsigned(number) => (*number).into(),
            Value::Number(number) => (*number).into(),
            Value::Text(text) => text.clone().into(),
            Value::List(list) => list.iter().map(Self::to_value).collect(),
            Value::Map(entries) => serde_json::Value::Object(
                entries
                    .iter()
                    .map(|(k, v)| (k.text.clone(), v.to_value()))
                    .collect(),
            ),
        }
    }

    /// What the value is, for a sentence.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Unsigned(number) => format!("the number {number}"),
            Value::Number(number) => format!("the number {number}"),
            Value::Text(text) => {
                format!("the text \"{}\"", text.chars().take(40).collect::<String>())
            }
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// The place of the value at `path`, or of the nearest thing around it.
    pub(super) fn locate(&self, path: &str) -> Option<Position> {
        let mut node = self;
        let mut at = self.at;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (&node.value, step.strip_suffix(']')) {
                (Value::List(list), Some(index)) => list.get(index.parse::<usize>().ok()?),
                (Value::Map(entries), None) => entries
                    .iter()
                    .find(|(key, _)| key.text == step)
                    .map(|(key, value)| {
                        at = key.at.or(at);
                        value
                    }),
                _ => None,
            };
            let Some(next) = next else { break };
            if next.at.is_some() {
                at = next.at;
            }
            node = next;
        }
        at
    }
}

fn size(text: &str) -> Result<(), Box<Problem>> {
    if text.len() <= BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the manifest has {} bytes, more than the {BYTES_MAX} allowed",
        text.len()
    );
    let problem = Problem::new(ProblemKind::Syntax, "", message);
    Err(Box::new(problem.hint(
        "keep data out of the manifest: put it in a config or an image",
    )))
}

fn position(line: u64, column: u64) -> Option<Position> {
    let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
    (line > 0).then_some(Position {
        line,
        column: column.max(1),
    })
}

/// The parser's sentence without the place, which is told separately.
fn sentence(text: &str) -> String {
    let text = text
        .rsplit_once(" at line ")
        .map_or(text, |(before, _)| before);
    let text = text
        .split_once(", set DuplicateKeyPolicy")
        .map_or(text, |(before, _)| before);
    let text = text
        .split_once("; use from_str_multiple")
        .map_or(text, |(before, _)| before);
    text.to_owned()
}

fn syntax_hint(text: &str, at: Option<Position>, message: &str) -> Option<String> {
    let line = text.lines().nth(at?.line.checked_sub(1)?)?;
    let hint = if line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces, not with a tab"
    } else if message.contains("multiple YAML documents") {
        "one application to a file: put the part after `---` in a file of its own"
    } else if message.contains("duplicate mapping key") {
        "remove one of the two, or merge what stands under them"
    } else if message.contains("did not find expected") || message.contains("block mapping") {
        "check the indentation: this line does not line up with those before it"
    } else if message.contains("mapping values are not allowed") {
        "put the value in quotes if it contains a colon followed by a space, and check the indentation"
    } else if message.contains("illegal placement of ':'") {
        "a `[` or `{` before this line may not be closed"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// What the YAML reader makes, before the places are attached.
enum Raw {
    Null,
    Bool(bool),
    Unsigned(u64),
    Number(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl From<Spanned<Raw>> for Node {
    fn from(raw: Spanned<Raw>) -> Self {
        let at = position(raw.referenced.line(), raw.referenced.column());
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value),
            Raw::Unsigned(number) => Value::Unsigned(number),
            Raw::Number(number) => Value::Number(number),
            Raw::Text(text) => Value::Text(text),
            Raw::List(list) => Value::List(list.into_iter().map(Self::from).collect()),
            Raw::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let at = position(key.referenced.line(), key.referenced.column());
                        (
                            Key {
                                at,
                                text: key.value,
                            },
                            value.into(),
                        )
                    })
                    .collect(),
            ),
        };
        Self { at, value }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(u64::try_from(value).map_or(Raw::Number(value as f64), Raw::Unsigned))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
