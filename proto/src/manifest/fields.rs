//! Reading typed fields out of a tree, collecting what is wrong instead of stopping at it.

use std::collections::BTreeMap;

use super::error::{Position, Problem};
use super::node::{Key, Node, Value};

/// What becomes of a field that nobody knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is an error.
    Refuse,
    /// It is an error only when it looks like a known one misspelt, else a warning.
    Tolerate,
    /// Nobody cares: what is stored was checked when it was put.
    Ignore,
}

/// A map in the manifest, with its path.
pub(super) struct Object<'a> {
    pub path: String,
    pub at: Option<Position>,
    entries: &'a [(Key, Node)],
}

impl<'a> Object<'a> {
    /// The value of the first of `names` that is there and not null.
    pub(super) fn get(&self, names: &[&str]) -> Option<(&'a Key, &'a Node)> {
        self.entries
            .iter()
            .find(|(key, node)| {
                names.contains(&key.text.as_str()) && !matches!(node.value, Value::Null)
            })
            .map(|(key, node)| (key, node))
    }

    pub(super) fn child(&self, name: &str) -> String {
        child(&self.path, name)
    }
}

pub(super) fn child(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Reads fields; what is wrong is in `problems` afterwards.
pub(super) struct Reader {
    pub problems: Vec<Problem>,
    /// The text comes from the store, not from a person.
    pub stored: bool,
}

impl Reader {
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The node as a map with only `known` fields.
    pub(super) fn object<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        known: &[&str],
        unknown: Unknown,
    ) -> Option<Object<'a>> {
        let Value::Map(entries) = &node.value else {
            self.push(Problem::field(
                path,
                node.at,
                format!(
                    "{} must be a map, but is {}",
                    name_of(path),
                    node.describe()
                ),
            ));
            return None;
        };
        if unknown != Unknown::Ignore && !self.stored {
            for (key, _) in entries {
                if !known.contains(&key.text.as_str()) {
                    self.unknown_field(key, path, known, unknown);
                }
            }
        }
        Some(Object {
            path: path.to_owned(),
            at: node.at,
            entries,
        })
    }

    fn unknown_field(&mut self, key: &Key, path: &str, known: &[&str], unknown: Unknown) {
        let message = format!("unknown field `{}` in {}", key.text, name_of(path));
        let problem = Problem::field(&child(path, &key.text), key.at, message);
        match (suggestion(&key.text, known), unknown) {
            (Some(close), _) => self.push(problem.hint(format!("did you mean `{close}`?"))),
            (None, Unknown::Refuse) => {
                self.push(problem.hint(format!("the fields here are {}", known.join(", "))));
            }
            (None, _) => self.push(problem.hint("it has no effect").warning()),
        }
    }

    pub(super) fn missing(&mut self, object: &Object<'_>, name: &str) {
        let message = format!("field `{name}` is missing in {}", name_of(&object.path));
        self.push(Problem::field(&object.path, object.at, message));
    }

    pub(super) fn required<'a>(&mut self, object: &Object<'a>, name: &str) -> Option<&'a Node> {
        let found = object.get(&[name]);
        if found.is_none() {
            self.missing(object, name);
        }
        found.map(|(_, node)| node)
    }

    pub(super) fn required_text(&mut self, object: &Object<'_>, name: &str) -> String {
        match self.required(object, name) {
            Some(node) => self.text(node, &object.child(name)).unwrap_or_default(),
            None => String::new(),
        }
    }

    pub(super) fn optional_text(&mut self, object: &Object<'_>, name: &str) -> Option<String> {
        let (_, node) = object.get(&[name])?;
        self.text(node, &object.child(name))
    }

    pub(super) fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        let quoted = match &node.value {
            Value::Text(text) => return Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Unsigned(number) => Some(number.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        let problem = Problem::field(
            path,
            node.at,
            format!(
                "{} must be a text, but is {}",
                name_of(path),
                node.describe()
            ),
        );
        self.push(match quoted {
            Some(quoted) => problem.hint(format!("put it in quotes: \"{quoted}\"")),
            None => problem,
        });
        None
    }

    pub(super) fn text_map(
        &mut self,
        object: &Object<'_>,
        name: &str,
    ) -> Option<BTreeMap<String, String>> {
        let (_, node) = object.get(&[name])?;
        let path = object.child(name);
        let inner = self.object(node, &path, &[], Unknown::Ignore)?;
        let mut map = BTreeMap::new();
        for (key, value) in inner.entries {
            if let Some(text) = self.text(value, &child(&path, &key.text)) {
                map.insert(key.text.clone(), text);
            }
        }
        Some(map)
    }

    pub(super) fn list<'a>(&mut self, object: &Object<'a>, names: &[&str]) -> Option<&'a [Node]> {
        let (key, node) = object.get(names)?;
        let Value::List(list) = &node.value else {
            let path = object.child(&key.text);
            let message = format!(
                "{} must be a list, but is {}",
                name_of(&path),
                node.describe()
            );
            self.push(
                Problem::field(&path, node.at, message)
                    .hint("start each item with `- `, or write `[…]`"),
            );
            return None;
        };
        Some(list)
    }

    /// Reads each item of a list that may be absent.
    pub(super) fn each<T>(
        &mut self,
        object: &Object<'_>,
        name: &str,
        mut read: impl FnMut(&mut Self, &Node, &str) -> Option<T>,
    ) -> Vec<T> {
        let list = self.list(object, &[name]).unwrap_or_default();
        let path = object.child(name);
        list.iter()
            .enumerate()
            .filter_map(|(index, node)| read(self, node, &format!("{path}[{index}]")))
            .collect()
    }

    pub(super) fn unsigned(&mut self, object: &Object<'_>, names: &[&str]) -> Option<u64> {
        let (key, node) = object.get(names)?;
        if let Value::Unsigned(number) = node.value {
            return Some(number);
        }
        let path = object.child(&key.text);
        let message = format!(
            "{} must be a whole number from 0 on, but is {}",
            name_of(&path),
            node.describe()
        );
        self.push(Problem::field(&path, node.at, message));
        None
    }

    pub(super) fn small(&mut self, object: &Object<'_>, names: &[&str]) -> Option<u32> {
        let number = self.unsigned(object, names)?;
        match u32::try_from(number) {
            Ok(number) => Some(number),
            Err(_) => {
                let path = object.child(names[0]);
                let at = object.get(names).and_then(|(_, node)| node.at);
                self.push(Problem::field(
                    &path,
                    at,
                    format!("{} is {number}, more than {}", name_of(&path), u32::MAX),
                ));
                None
            }
        }
    }

    pub(super) fn flag(&mut self, object: &Object<'_>, name: &str) -> Option<bool> {
        let (_, node) = object.get(&[name])?;
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        let path = object.child(name);
        let message = format!(
            "{} must be true or false, but is {}",
            name_of(&path),
            node.describe()
        );
        self.push(Problem::field(&path, node.at, message));
        None
    }
}

/// What a path is called in a sentence.
pub(super) fn name_of(path: &str) -> String {
    if path.is_empty() {
        "the manifest".to_owned()
    } else {
        format!("`{path}`")
    }
}

/// The known word that `word` was probably meant to be.
pub(super) fn suggestion<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_lowercase().replace(['-', '_'], "");
    known
        .iter()
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace(['-', '_'], "");
            (
                strsim::damerau_levenshtein(&lower, &plain),
                plain.len(),
                *candidate,
            )
        })
        .filter(|(distance, length, _)| *distance <= (length / 3).clamp(1, 3))
        .min()
        .map(|(_, _, candidate)| candidate)
}
