//! The one spelling on the wire: a JSON string that holds a URI.
//!
//! Native paths are refused here on purpose. A reader that guessed would make two machines
//! disagree about which of them a path belongs to.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::PathUri;

impl Serialize for PathUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for PathUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(UriText)
    }
}

struct UriText;

impl Visitor<'_> for UriText {
    type Value = PathUri;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an absolute file: URI")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<PathUri, E> {
        PathUri::parse(text).map_err(E::custom)
    }
}
