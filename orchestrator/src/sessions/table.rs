//! The numbers a model knows, and how many processes it may have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use super::{Opening, Session};
use crate::events::Events;

/// Processes a conversation may have. For one more, the least recently used one goes.
const MAX_SESSIONS: usize = 64;

/// So many of the most recently used ones never go to make room.
const KEPT: usize = 8;

/// How long ending a conversation waits for executors to confirm.
const FAREWELL: Duration = Duration::from_secs(5);

/// All processes of a conversation.
#[derive(Debug)]
pub struct Sessions {
    events: Events,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<u32, Entry>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    last_used: u64,
}

impl Sessions {
    pub fn new(events: Events) -> Self {
        Self {
            events,
            table: Mutex::default(),
        }
    }

    /// Starts a process under a number of its own. The wire's id is that number and something
    /// nobody else can have chosen, so it is never used twice.
    pub fn open(&self, mut opening: Opening) -> Arc<Session> {
        let mut table = self.table();
        table.make_room();
        let number = table.free_number();
        opening.params.process_id = format!("{number}-{}", Uuid::new_v4());
        let session = Arc::new(Session::open(number, opening, self.events.clone()));
        let last_used = table.use_now();
        table.sessions.insert(
            number,
            Entry {
                session: Arc::clone(&session),
                last_used,
            },
        );
        session
    }

    pub fn get(&self, number: u32) -> Option<Arc<Session>> {
        let mut table = self.table();
        let now = table.use_now();
        let entry = table.sessions.get_mut(&number)?;
        entry.last_used = now;
        Some(Arc::clone(&entry.session))
    }

    /// The model has seen the end of it.
    pub fn forget(&self, number: u32) {
        self.table().sessions.remove(&number);
    }

    /// Ends everything that still runs and waits, but not for long, until executors say so.
    pub async fn terminate_all(&self) {
        let running: Vec<Arc<Session>> = {
            let sessions = std::mem::take(&mut self.table().sessions);
            sessions.into_values().map(|entry| entry.session).collect()
        };
        let ends = running
            .into_iter()
            .filter(|session| !session.is_over())
            .map(|session| session.terminate());
        if tokio::time::timeout(FAREWELL, join_all(ends))
            .await
            .is_err()
        {
            tracing::warn!("an executor did not confirm the end of its processes");
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every method leaves the table whole before it lets go of it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn use_now(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn make_room(&mut self) {
        while self.sessions.len() >= MAX_SESSIONS {
            let mut by_age: Vec<(u64, bool, u32)> = self
                .sessions
                .iter()
                .map(|(number, entry)| (entry.last_used, !entry.session.is_over(), *number))
                .collect();
            by_age.sort_unstable();
            by_age.truncate(MAX_SESSIONS.saturating_sub(KEPT));
            // Finished ones first, then the longest unused.
            let Some((_, running, number)) = by_age
                .into_iter()
                .min_by_key(|(age, running, _)| (*running, *age))
            else {
                return;
            };
            tracing::info!(
                process = number,
                running,
                "a process made room for a newer one"
            );
            self.sessions.remove(&number);
        }
    }

    fn free_number(&self) -> u32 {
        loop {
            // Five digits: short enough to copy, too many to guess by habit.
            let number = 10_000 + u32::from_be_bytes(first_four(Uuid::new_v4())) % 90_000;
            if !self.sessions.contains_key(&number) {
                return number;
            }
        }
    }
}

fn first_four(uuid: Uuid) -> [u8; 4] {
    let [a, b, c, d, ..] = *uuid.as_bytes();
    [a, b, c, d]
}
