//! When the keys of a channel change, and what the other end may do about its own.
//!
//! ```text
//!   seals:  record … record, marker ─▶ new key ─▶ record …          each direction by itself
//!   opens:  record … record, marker ─▶ new key ─▶ record …
//! ```
//!
//! The marker is a record without plaintext, sealed with the old key; no other record is empty. The
//! new key is `REKEY` of the old one, as the Noise specification has it: whoever gets hold of it
//! cannot read what went before. A key that has sealed nothing stays, so no clock has to wake anybody.

use std::time::{Duration, Instant};

use crate::relay::WINDOW;

/// What one key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLife {
    /// Records it seals at most, before its marker.
    pub records: u32,
    /// From its first record to its last, at most.
    pub period: Duration,
}

impl Default for KeyLife {
    /// What both ends mean when they agree to change keys.
    fn default() -> KeyLife {
        KeyLife {
            records: 1 << 20,
            period: Duration::from_secs(3600),
        }
    }
}

/// What was said about changing keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rekeys {
    /// Nothing: there are no markers.
    #[default]
    Never,
    /// We asked: the other end may begin, and we may not yet.
    Offered,
    /// Both ends do it.
    Agreed,
}

/// Our half: the key we seal with.
#[derive(Debug, Default)]
pub(super) struct Sealing {
    life: Option<KeyLife>,
    sealed: u32,
    /// When its first record was sealed.
    since: Option<Instant>,
}

impl Sealing {
    /// Keys change from now on, or no more.
    pub(super) fn set(&mut self, life: Option<KeyLife>) {
        self.life = life;
    }

    /// Whether a marker has to come before the next record.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let Some(life) = self.life else {
            return false;
        };
        let used = |since| now.saturating_duration_since(since);
        let is_old = self.since.is_some_and(|since| used(since) >= life.period);
        self.sealed > 0 && (self.sealed >= life.records || is_old)
    }

    /// A record was sealed with it.
    pub(super) fn count(&mut self, now: Instant) {
        self.sealed = self.sealed.saturating_add(1);
        self.since.get_or_insert(now);
    }

    /// It was changed.
    pub(super) fn renew(&mut self) {
        self.sealed = 0;
        self.since = None;
    }
}

/// The other half: the key we open with.
#[derive(Debug, Default)]
pub(super) struct Opening {
    life: Option<KeyLife>,
    opened: u32,
}

/// The other end does not keep to what was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RekeyError {
    /// A marker that nobody agreed on, or that follows another at once.
    #[error("a change of keys that was not to be")]
    Unexpected,
    /// No marker for too long.
    #[error("{0} records without a change of keys")]
    Overdue(u32),
}

impl Opening {
    /// Markers are understood from now on, or no more.
    pub(super) fn set(&mut self, life: Option<KeyLife>) {
        self.life = life;
    }

    /// A record was opened with it.
    pub(super) fn count(&mut self) -> Result<(), RekeyError> {
        self.opened = self.opened.saturating_add(1);
        // What was under way when it was agreed counts here, and not there.
        let most = |life: KeyLife| life.records.saturating_add(WINDOW);
        match self.life.map(most) {
            Some(most) if self.opened > most => Err(RekeyError::Overdue(self.opened)),
            _ => Ok(()),
        }
    }

    /// The marker came: the next record has the next key.
    pub(super) fn renew(&mut self) -> Result<(), RekeyError> {
        if self.life.is_none() || self.opened == 0 {
            return Err(RekeyError::Unexpected);
        }
        self.opened = 0;
        Ok(())
    }
}
