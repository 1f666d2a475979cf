//! The parsed TOML with paths and spans at hand. Knows types; knows no key of ours.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::super::Kind;
use super::super::extension::Word;
use super::nearest::nearest;
use super::secrets::hide_texts;
use super::sink::{Finding, Sink};

/// Longest duration kept. A longer one means "for ever" too, and sums of times stay in range.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How much of a text is repeated in a message, in scalar values.
const QUOTE_MAX: usize = 80;

/// A table and where it stands.
#[derive(Clone)]
pub(super) struct Table<'a, 'i> {
    pub(super) path: String,
    /// The header or the braces: the place to point at when something is missing.
    span: Range<usize>,
    keys: &'a DeTable<'i>,
}

/// A key and its value.
pub(super) struct Item<'a, 'i> {
    pub(super) path: String,
    pub(super) key: Range<usize>,
    value: Range<usize>,
    node: &'a DeValue<'i>,
}

impl<'a, 'i> Table<'a, 'i> {
    pub(super) fn root(keys: &'a DeTable<'i>) -> Table<'a, 'i> {
        Table {
            path: String::new(),
            span: 0..0,
            keys,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Item<'a, 'i>> {
        let (key, value) = self.keys.get_key_value(name)?;
        Some(Item {
            path: self.below(name),
            key: key.span(),
            value: value.span(),
            node: value.get_ref(),
        })
    }

    /// Every key with its value, in the order of the file.
    pub(super) fn items(&self) -> Vec<(&'a str, Item<'a, 'i>)> {
        let mut items: Vec<_> = self
            .keys
            .iter()
            .map(|(key, value)| {
                let name: &str = key.get_ref();
                let item = Item {
                    path: self.below(name),
                    key: key.span(),
                    value: value.span(),
                    node: value.get_ref(),
                };
                (name, item)
            })
            .collect();
        items.sort_by_key(|(_, item)| item.key.start);
        items
    }

    /// Complains about every key that is not among `names`. `hint` may know better than the
    /// nearest name.
    pub(super) fn only(
        &self,
        sink: &mut Sink<'_>,
        names: &[&str],
        hint: impl Fn(&str) -> Option<String>,
    ) {
        for (name, item) in self.items() {
            if names.contains(&name) {
                continue;
            }
            let help = hint(name).unwrap_or_else(|| match nearest(name, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected one of {}", list(names)),
            });
            let message = format!("unknown key {}", quoted(name));
            hide_texts(item.value, item.node, sink);
            sink.report(Finding::new(Kind::UnknownField, &item.path, item.key, message).help(help));
        }
    }

    /// A complaint about something that is not there.
    pub(super) fn lacks(&self, kind: Kind, key: &str, message: String) -> Finding {
        Finding::new(kind, key, self.span.clone(), message)
    }

    /// The path of the key `name` of this table.
    pub(super) fn below(&self, name: &str) -> String {
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let name = if !name.is_empty() && name.bytes().all(bare) {
            name.to_owned()
        } else {
            format!("{name:?}")
        };
        match self.path.as_str() {
            "" => name,
            path => format!("{path}.{name}"),
        }
    }
}

impl<'a, 'i> Item<'a, 'i> {
    pub(super) fn string(&self, sink: &mut Sink<'_>) -> Option<&'a str> {
        match self.node {
            DeValue::String(text) => Some(text),
            _ => self.mismatch(sink, "a string"),
        }
    }

    pub(super) fn boolean(&self, sink: &mut Sink<'_>) -> Option<bool> {
        match self.node {
            DeValue::Boolean(value) => Some(*value),
            _ => self.mismatch(sink, "true or false"),
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.node, DeValue::Table(_))
    }

    pub(super) fn table(&self, sink: &mut Sink<'_>) -> Option<Table<'a, 'i>> {
        match self.node {
            DeValue::Table(keys) => Some(Table {
                path: self.path.clone(),
                span: self.value.clone(),
                keys,
            }),
            _ => self.mismatch(sink, "a table"),
        }
    }

    pub(super) fn array(&self, sink: &mut Sink<'_>, what: &str) -> Option<Vec<Item<'a, 'i>>> {
        let DeValue::Array(values) = self.node else {
            return self.mismatch(sink, what);
        };
        let item = |(index, value): (usize, &'a serde_spanned::Spanned<DeValue<'i>>)| Item {
            path: format!("{}[{index}]", self.path),
            key: value.span(),
            value: value.span(),
            node: value.get_ref(),
        };
        Some(values.iter().enumerate().map(item).collect())
    }

    /// Tells every element that is no string; a list with one is no list.
    pub(super) fn strings(&self, sink: &mut Sink<'_>) -> Option<Vec<String>> {
        let items = self.array(sink, "an array of strings")?;
        let texts: Vec<_> = items.iter().map(|item| item.string(sink)).collect();
        texts
            .into_iter()
            .map(|text| text.map(str::to_owned))
            .collect()
    }

    /// A table of strings, with a look at each; its values are kept out of every excerpt.
    pub(super) fn secret_strings(
        &self,
        sink: &mut Sink<'_>,
        mut look: impl FnMut(&mut Sink<'_>, &'a str, &'a str, &Item<'a, 'i>),
    ) -> Option<BTreeMap<String, String>> {
        let mut whole = true;
        let mut strings = BTreeMap::new();
        for (name, item) in self.table(sink)?.items() {
            sink.hide(item.value());
            match item.string(sink) {
                Some(text) => {
                    look(sink, name, text, &item);
                    strings.insert(name.to_owned(), text.to_owned());
                }
                None => whole = false,
            }
        }
        whole.then_some(strings)
    }

    /// A string that says something.
    pub(super) fn filled(&self, sink: &mut Sink<'_>) -> Option<&'a str> {
        let text = self.string(sink)?;
        if text.trim().is_empty() {
            let message = format!("{} must not be empty", sink.subject(&self.path));
            sink.report(self.bad(Kind::ValueInvalid, message));
            return None;
        }
        Some(text)
    }

    /// A file or folder; a relative one is below the configuration folder.
    pub(super) fn path(&self, sink: &mut Sink<'_>, config_dir: &Path) -> Option<PathBuf> {
        self.filled(sink).map(|text| config_dir.join(text))
    }

    pub(super) fn word<W: Word>(&self, sink: &mut Sink<'_>) -> Option<W> {
        let text = self.string(sink)?;
        let known = W::ALL.iter().find(|(word, _)| *word == text);
        if let Some((_, value)) = known {
            return Some(*value);
        }
        let words: Vec<&str> = W::ALL.iter().map(|(word, _)| *word).collect();
        let subject = sink.subject(&self.path);
        let mut finding = self.bad(
            Kind::ValueInvalid,
            format!("{subject} must be one of {}", list(&words)),
        );
        if let Some(near) = nearest(text, &words) {
            finding = finding.help(format!("did you mean \"{near}\"?"));
        }
        sink.report(finding);
        None
    }

    pub(super) fn count(&self, sink: &mut Sink<'_>) -> Option<u32> {
        let DeValue::Integer(integer) = self.node else {
            return self.mismatch(sink, "a whole number");
        };
        let count = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        if count.is_none() {
            let message = format!(
                "{} must be a whole number from 0 to {}",
                sink.subject(&self.path),
                u32::MAX
            );
            sink.report(self.bad(Kind::ValueInvalid, message));
        }
        count
    }

    /// Seconds, fractions allowed.
    pub(super) fn seconds(&self, sink: &mut Sink<'_>) -> Option<Duration> {
        let duration = match self.node {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix())
                .ok()
                .map(Duration::from_secs),
            DeValue::Float(float) => float
                .as_str()
                .parse()
                .ok()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            _ => return self.mismatch(sink, "a number of seconds"),
        };
        let Some(duration) = duration else {
            let message = format!(
                "{} must be a finite number of seconds, zero or more",
                sink.subject(&self.path)
            );
            sink.report(self.bad(Kind::DurationInvalid, message));
            return None;
        };
        Some(duration.min(FOREVER))
    }

    /// Where the value stands. A table that got its place from a header stands at its name there.
    pub(super) fn value(&self) -> Range<usize> {
        if self.value.start <= self.key.start {
            self.key.clone()
        } else {
            self.value.clone()
        }
    }

    /// A complaint about the value.
    pub(super) fn bad(&self, kind: Kind, message: String) -> Finding {
        Finding::new(kind, &self.path, self.value(), message)
    }

    /// A complaint about the key being there.
    pub(super) fn misplaced(&self, kind: Kind, message: String) -> Finding {
        Finding::new(kind, &self.path, self.key.clone(), message)
    }

    fn mismatch<T>(&self, sink: &mut Sink<'_>, expected: &str) -> Option<T> {
        let message = format!("{} must be {expected}", sink.subject(&self.path));
        let found = match self.node {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        sink.report(
            self.bad(Kind::WrongType, message)
                .label(format!("found {found}")),
        );
        None
    }
}

/// Text of the file inside a message: no control character, and not much of it.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTE_MAX).collect();
    let rest = if shown.len() < text.len() { "…" } else { "" };
    format!("`{}{rest}`", shown.escape_debug())
}

fn list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
