//! A second opinion on JSON: what serde makes of a text, counted.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a text holds, when it is JSON of numbers that a double can hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Survey {
    /// Containers inside each other.
    pub depth: usize,
    /// Scalars, arrays and objects together.
    pub values: usize,
    /// Whether some object names a member twice.
    pub repeats: bool,
}

/// Whether a general parser takes the text for one JSON value.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Counts, if the text can be read as a tree at all.
pub fn survey(text: &str) -> Option<Survey> {
    serde_json::from_str::<Survey>(text).ok()
}

impl Survey {
    const SCALAR: Survey = Survey {
        depth: 0,
        values: 1,
        repeats: false,
    };

    fn add(&mut self, inner: Survey) {
        self.depth = self.depth.max(inner.depth + 1);
        self.values += inner.values;
        self.repeats |= inner.repeats;
    }
}

impl<'de> Deserialize<'de> for Survey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Counting)
    }
}

struct Counting;

impl<'de> Visitor<'de> for Counting {
    type Value = Survey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Survey, E> {
        Ok(Survey::SCALAR)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Survey, E> {
        Ok(Survey::SCALAR)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Survey, E> {
        Ok(Survey::SCALAR)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Survey, E> {
        Ok(Survey::SCALAR)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Survey, E> {
        Ok(Survey::SCALAR)
    }

    fn visit_unit<E: Error>(self) -> Result<Survey, E> {
        Ok(Survey::SCALAR)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Survey, A::Error> {
        let mut survey = Survey {
            depth: 1,
            values: 1,
            repeats: false,
        };
        while let Some(inner) = seq.next_element::<Survey>()? {
            survey.add(inner);
        }
        Ok(survey)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Survey, A::Error> {
        let mut survey = Survey {
            depth: 1,
            values: 1,
            repeats: false,
        };
        let mut names = HashSet::new();
        while let Some((name, inner)) = map.next_entry::<String, Survey>()? {
            survey.add(inner);
            survey.repeats |= !names.insert(name);
        }
        Ok(survey)
    }
}
