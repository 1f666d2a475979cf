//! Processes: started, read, written to, stopped, remembered for a while, forgotten.
//!
//! ```text
//!   Host ─────── one per executor: who starts programs, their environment, how many there may be
//!    └─ Table ── one per session: ids, and what is attached to them
//!        └─ Process ── a handle; its actor is one task that owns the child
//!             │  output ─▶ OutputLog ─▶ ReadyQueue ─▶ the attached connection takes events
//!             │                └─ old output ─▶ Store, a file of no name
//!             └─ input  ◀─ writes, in the order of their arrival
//!
//!   Retention ─── one per executor: how much output all of them keep, and who gives way
//! ```
//!
//! # How a session uses it
//!
//! 1. [`Table::reserve`] takes the id, at once and in the order of arrival. Dropping the
//!    [`Reservation`] frees it.
//! 2. [`Reservation::start`] starts the program. Queue the reply, then call
//!    [`Process::announce`]: no event is offered before.
//! 3. The connection waits on [`ReadyQueue::next`], and for the process it gets calls
//!    [`Process::take_event`] until there is none or it has no room (then
//!    [`ReadyQueue::put_back`]). A taken event counts as delivered.
//! 4. [`Process::read`], with [`Process::wait_news`] for long polls; [`Process::begin_write`];
//!    [`Process::interrupt`]; [`Process::terminate`]. None of them ever waits for another.
//! 5. [`Table::detach`] when the connection is gone, [`Table::attach`] when it is back,
//!    [`Table::release_pins`] when a resumed client has had time to read what it missed.
//! 6. Dropping the table kills everything; [`Host::finished`] waits until it is gone.
//!
//! Nothing here knows JSON, requests or connections.

mod actor;
mod env;
mod handle;
mod host;
mod reader;
mod ready;
mod retention;
mod stdin;
mod store;
mod table;

#[cfg(test)]
mod tests;

pub use actor::WhenEnded;
pub use env::{BaseEnv, EnvPolicy, Inherit, environment};
pub use handle::Process;
pub use host::{Host, RETAINED_IN_ALL, Settings};
pub use ready::ReadyQueue;
pub use retention::TAIL as CLOSED_TAIL_BYTES;
pub use stdin::{
    PendingWrite, REMEMBERED as REMEMBERED_WRITES, UNREAD_MAX as UNREAD_STDIN_MAX, Write,
    WriteStatus,
};
pub use store::{Held, Stored};
pub use table::{Lookup, Reservation, ReserveError, StartError, StartRequest, Starting, Table};
