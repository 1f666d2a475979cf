//! Placeholder.

pub mod model;
pub mod patch;
pub mod retry;
pub mod text;
