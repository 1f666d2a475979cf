//! Choosing an environment by what it is labelled with instead of by its id.

use std::collections::BTreeMap;
use std::fmt;

/// What stands in front of a label where an id is expected.
const PREFIX: &str = "label:";

/// `label:NAME=VALUE`: the first environment that has this label.
///
/// No id has a colon, so none can be taken for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    name: String,
    value: String,
}

impl Selector {
    /// What `text` selects by, if it is no id.
    pub fn parse(text: &str) -> Option<Selector> {
        let (name, value) = text.strip_prefix(PREFIX)?.split_once('=')?;
        Some(Selector {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(&self.name) == Some(&self.value)
    }

    /// Where the selector in front of `text` ends and a colon follows, as in `label:tier=ci:/srv`.
    pub fn split(text: &str) -> Option<(&str, &str)> {
        let rest = text.strip_prefix(PREFIX)?;
        let (label, path) = rest.split_once(':')?;
        let is_label = label.contains('=') && !label.contains(['/', '\\']);
        let head = text.get(..PREFIX.len() + label.len())?;
        is_label.then_some((head, path))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}={}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_names_a_label_and_its_value() {
        let selector = Selector::parse("label:tier=ci").unwrap();
        assert_eq!(selector.to_string(), "label:tier=ci");
        let labelled = |name: &str, value: &str| BTreeMap::from([(name.into(), value.into())]);
        assert!(selector.matches(&labelled("tier", "ci")));
        assert!(!selector.matches(&labelled("tier", "prod")));
        assert!(!selector.matches(&labelled("ci", "tier")));
        for id in ["tier=ci", "label", "label:tier", "Label:tier=ci", ""] {
            assert_eq!(Selector::parse(id), None, "{id}");
        }
    }

    #[test]
    fn a_place_may_begin_with_a_selector() {
        let split = Selector::split;
        assert_eq!(
            split("label:tier=ci:/srv/a:b"),
            Some(("label:tier=ci", "/srv/a:b"))
        );
        assert_eq!(split("label:tier=ci:"), Some(("label:tier=ci", "")));
        for other in ["label:/srv", "label:a:b", "box:tier=ci:/x", "label:/a=b:c"] {
            assert_eq!(split(other), None, "{other}");
        }
    }
}
