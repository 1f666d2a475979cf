//! Placeholder.

pub mod model;
pub mod retry;
