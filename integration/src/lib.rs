//! The bench on which farstep's programs are tested against each other and against the peer.
//!
//! A test states only what differs. [`Lab`] gives it a fresh home, real executors and a way to
//! run `farstep`; [`Link`] stands between the two and delays and records what crosses;
//! [`FaultyLink`] breaks in ways of its own, [`Wire`] speaks to an executor without any help, and
//! [`ScriptedModel`] and [`MockModel`] answer sampling requests.
//!
//! ```text
//!   farstep ──▶ ScriptedModel / MockModel          Lab owns all of them and ends them
//!      │
//!      └──▶ Link (delay, record) ──▶ farstep-executor / codex exec-server
//! ```

mod background;
mod faulty;
mod follower;
mod frames;
mod lab;
mod link;
mod luck;
mod mock;
mod model;
mod peer;
mod programs;
mod records;
mod rendezvous;
mod running;
mod sshd;
mod swallow;
mod transcript;
mod wire;

pub use background::Backgrounds;
pub use faulty::{Fate, FaultyLink};
pub use follower::{Follower, Wrong, decode, encode};
pub use lab::{Executor, Lab, Memory};
pub use link::{Crossing, Link, Side};
pub use luck::Luck;
pub use mock::MockModel;
pub use model::{Reply, ScriptedModel};
pub use peer::Peer;
pub use programs::{Programs, recipe, static_executor};
pub use records::{Records, Seen};
pub use rendezvous::{Recorder, Rendezvous, Role};
pub use running::{Finished, Running};
pub use sshd::{Sshd, find, script as shell_script};
pub use swallow::Swallower;
pub use transcript::{Stage, check_page};
pub use wire::{Outcome, Refusal, SESSION_ATTACHED, Wire, script};

/// How long anything in a test may take before it counts as stuck.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// What a test needs but may not find on a user's machine.
///
/// Without it the test says so and ends; under `CI=true` it fails, so that nothing is left out
/// unnoticed.
pub fn need<T>(found: Option<T>, what: &str) -> Option<T> {
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "missing under CI: {what}"
        );
        eprintln!("skipped: {what}");
    }
    found
}
