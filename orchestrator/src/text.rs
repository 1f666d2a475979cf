//! Text that executors produced, made fit for whoever reads it.
//!
//! Output is kept as bytes, within bounds ([`HeadTail`]), and becomes text only at the door: for a
//! model, cut to a budget of tokens ([`for_model`]); for a terminal, with everything that would
//! steer the terminal made visible ([`for_terminal`]). What a model reads is otherwise unchanged,
//! escape sequences included.

mod attach;
mod head_tail;
mod model;
mod terminal;
mod words;

use uuid::Uuid;

pub use attach::AttachFilter;
pub use head_tail::{HEAD_BYTES, HeadTail, TAIL_BYTES};
pub use model::{ForModel, for_model, token_estimate};
pub use terminal::for_terminal;
pub use words::shell_words;

/// Six random hexadecimal digits that name one look at a process.
pub fn chunk_id() -> String {
    let [a, b, c, ..] = *Uuid::new_v4().as_bytes();
    format!("{a:02x}{b:02x}{c:02x}")
}
