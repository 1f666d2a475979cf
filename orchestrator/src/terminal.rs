//! Our own terminal, lent to a program elsewhere.
//!
//! While it is lent it is *raw*: every key goes to the far side as it is, Ctrl-C included, and
//! nothing is echoed here. However we end (done, lost, told to, a bug of ours), it is given back as
//! it was found; only a kill that no program hears of leaves that to the shell.

mod escape;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::{Changes, Terminal, window};

#[cfg(not(unix))]
mod other;
#[cfg(not(unix))]
pub use other::{Changes, Terminal, window};

pub use escape::{Escape, Typed};

/// What became of a terminal while it was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this size now.
    Resized(farstep_environments::process::Window),
    /// Somebody wants us to end, and not by a key.
    MustEnd,
}
