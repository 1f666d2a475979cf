//! Every method of the wire: its name, its params and its result.
//!
//! Params accept unknown members, and `null` wherever a member is optional. Results of a newer
//! peer may hold more than we know.

pub mod environment;
pub mod fs;
pub mod http;
pub mod initialize;
pub mod process;
pub mod sandbox;

use serde::{Deserialize, Deserializer, Serialize};

/// The result of methods that have nothing to say: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Reads a member whose `null` means its default.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// As [`nullable`], for flags that are on unless told otherwise.
pub(crate) fn nullable_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(true))
}

pub(crate) fn yes() -> bool {
    true
}
