//! Talking to a model provider: what is asked, what streams back, and what went wrong.
//!
//! ```text
//!   Request ── HttpModel ──► POST {base_url}/responses
//!                 │               │ server-sent events
//!                 │ inner retries ▼
//!                 └──────► ModelEvent, ModelEvent, ... Completed  (or one ModelError, last)
//! ```
//!
//! This module owns the items of a conversation, one sampling request and its stream. It refuses to
//! know turns, tools and environments: it does not decide whether to sample again, and it never
//! repeats a request once the provider has begun to answer it. That is the turn's business, because
//! only the turn knows which finished items are already in the history.

mod client;
mod error;
mod events;
mod items;
mod request;
mod usage;

use futures_util::stream::BoxStream;

pub use client::{HttpModel, Provider, SetupError};
pub use error::{ModelError, ModelErrorKind};
pub use events::ModelEvent;
pub use items::{Block, Body, Detail, Item, ItemError, Message, Output, Payload, Role, ToolCall};
pub use request::{Ids, InstructionsStyle, Reasoning, Request};
pub use usage::Usage;

/// The events of one sampling request, in order. It ends after [`ModelEvent::Completed`] or after
/// the first error, whichever comes first; dropping it abandons the request.
pub type Sampling = BoxStream<'static, Result<ModelEvent, ModelError>>;

/// Something that answers sampling requests: a provider over HTTP, or a test's own script.
pub trait Model: Send + Sync {
    /// Begins one sampling request; nothing is sent until the stream is polled.
    fn sample(&self, request: Request) -> Sampling;
}
