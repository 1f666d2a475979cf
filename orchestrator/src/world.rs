//! What the model has been told about its surroundings, as plain values.
//!
//! A world is a map *section name -> JSON value*. Two worlds differ by a JSON merge patch (RFC
//! 7396), which is what a conversation stores. The sections know how they read; nothing here
//! knows where they come from or looks at an environment.

mod environments;
mod merge;

use serde_json::{Map, Value};

pub use environments::{EnvironmentEntry, EnvironmentsSection, State};
pub use merge::{apply, difference};

/// A whole picture. It is replaced between sampling requests and never edited in place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    pub environments: Option<EnvironmentsSection>,
    /// Text of further sections, by name.
    pub texts: std::collections::BTreeMap<&'static str, String>,
}

impl World {
    /// The form in which a world is stored and compared.
    pub fn to_value(&self) -> Value {
        let mut sections = Map::new();
        if let Some(environments) = &self.environments {
            sections.insert("environments".to_owned(), environments.to_value());
        }
        for (name, text) in &self.texts {
            sections.insert((*name).to_owned(), Value::String(text.clone()));
        }
        Value::Object(sections)
    }

    /// What turns `older` into this one; `None` when nothing changed.
    pub fn since(&self, older: &Self) -> Option<Value> {
        difference(&older.to_value(), &self.to_value())
    }
}
