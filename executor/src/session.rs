//! What an executor keeps for an orchestrator across connections, and for how long.
//!
//! ```text
//!            open                    connection ends
//!   (none) ───────> attached ─────────────────────────> detached ──── kept long enough ───> (none)
//!                       ^                                  │
//!                       └────────────── resume ────────────┘
//! ```
//!
//! Owns the ids and the clock of each session. What a session holds (its processes) is a type
//! parameter: this module never looks inside, so its whole life can be tested without a process.
//! A session is attached to at most one connection, proven by the one [`Attachment`] there is.
//!
//! A *durable* session is another kind: any number of connections of its owner may have it at the
//! same time, it lives for as long as its own terms say after the last of them, and an owner who
//! has too many is refused another rather than deprived of one that still does something.

mod durable;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farstep_protocol::method::initialize::SessionTerms;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

/// Detached sessions at once. They are small, but anybody can leave one behind by connecting and
/// hanging up; beyond this the one that has waited longest goes early.
const DETACHED_MAX: usize = 1024;

/// Detached sessions of one owner at once (`security` SR-29); beyond it that owner's oldest goes
/// early, and nobody else's.
pub(crate) const DETACHED_OF_OWNER_MAX: usize = 32;

pub(crate) use durable::{DURABLE_OF_OWNER_MAX, TooMany};
use durable::{Durable, Kept};

/// The secret name of a session: 244 random bits (SR-27 asks for 128 or more). Prints only enough of itself to tell two apart
/// in a log, because whoever knows all of it may resume the session.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(Arc<str>);

impl SessionId {
    fn random() -> SessionId {
        let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
        SessionId(format!("{}{}", one.simple(), other.simple()).into())
    }

    /// All of it, for the one reply that tells its owner.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..8).unwrap_or_default())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// Why a session could not be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResumeError {
    #[error("no such session (it may have expired)")]
    Unknown,
    #[error("the session is attached to another connection")]
    Attached,
}

/// Every session of this executor.
pub(crate) struct Sessions<T> {
    table: Mutex<Table<T>>,
    /// How long a session is kept without a connection.
    keep: Duration,
    /// The first session has detached, so there is a time to wait for.
    detached: Notify,
}

struct Table<T> {
    sessions: HashMap<SessionId, Entry<T>>,
    /// Who was detached when, oldest first. An entry is stale when its session has been resumed
    /// since, which its `detachment` number tells.
    queue: VecDeque<Waiting>,
    detachments: u64,
    /// Durable sessions without a connection.
    kept: Kept,
}

struct Entry<T> {
    /// Who opened it, where that is known. To anybody else it does not exist.
    owner: Option<Arc<str>>,
    content: Arc<T>,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Attached,
    Detached { detachment: u64 },
    Durable(Durable),
}

struct Waiting {
    id: SessionId,
    detachment: u64,
    until: Instant,
}

impl<T> Sessions<T> {
    pub(crate) fn new(keep: Duration) -> Sessions<T> {
        let table = Table {
            sessions: HashMap::new(),
            queue: VecDeque::new(),
            detachments: 0,
            kept: Kept::default(),
        };
        Sessions {
            table: Mutex::new(table),
            keep,
            detached: Notify::new(),
        }
    }

    /// Opens a new session of `owner` around `content`.
    pub(crate) fn open(self: &Arc<Self>, owner: Option<Arc<str>>, content: T) -> Attachment<T> {
        let id = SessionId::random();
        let content = Arc::new(content);
        let entry = Entry {
            owner,
            content: Arc::clone(&content),
            state: State::Attached,
        };
        self.table().sessions.insert(id.clone(), entry);
        Attachment {
            sessions: Arc::clone(self),
            id,
            content,
            hold: Hold::Alone,
        }
    }

    /// Attaches the session that `id` names. Of two that try at once exactly one succeeds, unless
    /// it is durable; one that is and is only peeked at does not start its clock anew. Another
    /// owner's session is as unknown as one that does not exist (`security` SR-27).
    pub(crate) fn resume(
        self: &Arc<Self>,
        id: &str,
        owner: Option<&str>,
        peek: bool,
    ) -> Result<Attachment<T>, ResumeError> {
        let id = SessionId(id.into());
        let mut table = self.table();
        let Table { sessions, kept, .. } = &mut *table;
        let entry = sessions.get_mut(&id);
        let entry = entry
            .filter(|entry| entry.owner.as_deref() == owner)
            .ok_or(ResumeError::Unknown)?;
        let hold = match &mut entry.state {
            State::Attached => return Err(ResumeError::Attached),
            State::Detached { .. } => {
                entry.state = State::Attached;
                Hold::Alone
            }
            State::Durable(durable) => {
                let terms = durable.terms();
                if peek {
                    Hold::Peek(terms)
                } else {
                    durable.join(kept);
                    Hold::Shared(terms)
                }
            }
        };
        let content = Arc::clone(&entry.content);
        Ok(Attachment {
            sessions: Arc::clone(self),
            id,
            content,
            hold,
        })
    }

    /// Whether `owner` could name a session so.
    pub(crate) fn has(&self, id: &str, owner: Option<&str>) -> bool {
        let table = self.table();
        let entry = table.sessions.get(&SessionId(id.into()));
        entry.is_some_and(|entry| entry.owner.as_deref() == owner)
    }

    /// Waits until sessions have been detached for too long, and takes them out. The caller ends
    /// what they hold.
    pub(crate) async fn expired(&self) -> Vec<(SessionId, Arc<T>)> {
        loop {
            let detached = self.detached.notified();
            let Some(next) = self.next_expiry() else {
                detached.await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                // One more may be one too many, and then the oldest is due before its time.
                () = detached => continue,
            }
            let expired = self.take_expired(Instant::now());
            if !expired.is_empty() {
                return expired;
            }
        }
    }

    /// How many there are, attached or not.
    pub(crate) fn count(&self) -> usize {
        self.table().sessions.len()
    }

    /// Takes every session out, attached or not: the executor is stopping.
    pub(crate) fn take_all(&self) -> Vec<Arc<T>> {
        let sessions = std::mem::take(&mut self.table().sessions);
        sessions.into_values().map(|entry| entry.content).collect()
    }

    fn detach(&self, id: &SessionId) {
        let until = Instant::now() + self.keep;
        let mut table = self.table();
        table.detachments += 1;
        let detachment = table.detachments;
        let Table { sessions, kept, .. } = &mut *table;
        let Some(entry) = sessions.get_mut(id) else {
            return; // Taken by `take_all`.
        };
        if let State::Durable(durable) = &mut entry.state {
            durable.leave(id, kept, detachment);
            drop(table);
            return self.detached.notify_one();
        }
        entry.state = State::Detached { detachment };
        let owner = entry.owner.clone();
        table.queue.push_back(Waiting {
            id: id.clone(),
            detachment,
            until,
        });
        if table.queue.len() > DETACHED_MAX {
            table.drop_stale();
        }
        table.hasten_oldest_of(owner.as_deref());
        drop(table);
        self.detached.notify_one();
    }

    fn next_expiry(&self) -> Option<Instant> {
        let table = self.table();
        // Too many: the oldest is due at once.
        let is_over = table.queue.len() > DETACHED_MAX;
        let first = table.queue.front();
        let first = first.map(|first| if is_over { Instant::now() } else { first.until });
        first.into_iter().chain(table.kept.next_due()).min()
    }

    fn take_expired(&self, now: Instant) -> Vec<(SessionId, Arc<T>)> {
        let mut table = self.table();
        let mut expired = Vec::new();
        while let Some(first) = table.queue.front() {
            if first.until > now && table.queue.len() <= DETACHED_MAX {
                break;
            }
            let Some(first) = table.queue.pop_front() else {
                break;
            };
            if table.is_current(&first)
                && let Some(entry) = table.sessions.remove(&first.id)
            {
                expired.push((first.id, entry.content));
            }
        }
        while let Some(id) = table.kept.take_due(now) {
            if let Some(entry) = table.sessions.remove(&id) {
                expired.push((id, entry.content));
            }
        }
        expired
    }

    fn table(&self) -> MutexGuard<'_, Table<T>> {
        // Every change below is complete before anything can panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Table<T> {
    fn is_current(&self, waiting: &Waiting) -> bool {
        let state = State::Detached {
            detachment: waiting.detachment,
        };
        self.sessions
            .get(&waiting.id)
            .is_some_and(|entry| entry.state == state)
    }

    /// Makes the oldest detached session of an owner due at once when there are too many of them.
    fn hasten_oldest_of(&mut self, owner: Option<&str>) {
        let detached = |entry: &&Entry<T>| {
            entry.owner.as_deref() == owner && matches!(entry.state, State::Detached { .. })
        };
        if self.sessions.values().filter(detached).count() <= DETACHED_OF_OWNER_MAX {
            return;
        }
        let is_theirs = |waiting: &Waiting| {
            let entry = self.sessions.get(&waiting.id);
            self.is_current(waiting) && entry.is_some_and(|entry| entry.owner.as_deref() == owner)
        };
        let oldest = self.queue.iter().position(is_theirs);
        if let Some(mut oldest) = oldest.and_then(|at| self.queue.remove(at)) {
            oldest.until = Instant::now();
            self.queue.push_front(oldest);
        }
    }

    fn drop_stale(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        queue.retain(|waiting| self.is_current(waiting));
        self.queue = queue;
    }
}

impl<T> fmt::Debug for Sessions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// The proof that a session is attached, held by its one connection, or by each of a durable one.
/// Dropping it detaches.
pub(crate) struct Attachment<T> {
    sessions: Arc<Sessions<T>>,
    id: SessionId,
    content: Arc<T>,
    hold: Hold,
}

/// How a connection has its session.
#[derive(Clone, Copy)]
enum Hold {
    /// Nobody else has it.
    Alone,
    /// Others may.
    Shared(SessionTerms),
    /// As if it had not.
    Peek(SessionTerms),
}

impl<T> Attachment<T> {
    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    pub(crate) fn content(&self) -> &Arc<T> {
        &self.content
    }

    /// The terms of a durable session, as they were when it was attached.
    pub(crate) fn terms(&self) -> Option<SessionTerms> {
        match self.hold {
            Hold::Alone => None,
            Hold::Shared(terms) | Hold::Peek(terms) => Some(terms),
        }
    }
}

impl<T> Drop for Attachment<T> {
    fn drop(&mut self) {
        match self.hold {
            Hold::Alone | Hold::Shared(_) => self.sessions.detach(&self.id),
            Hold::Peek(_) => {}
        }
    }
}

impl<T> fmt::Debug for Attachment<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attachment").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(80);

    fn sessions() -> Arc<Sessions<&'static str>> {
        Arc::new(Sessions::new(KEEP))
    }

    #[tokio::test(start_paused = true)]
    async fn a_detached_session_is_resumed_with_what_it_holds() {
        let sessions = sessions();
        let first = sessions.open(None, "processes");
        let id = first.id().reveal().to_owned();
        assert_eq!(
            sessions.resume(&id, None, false).unwrap_err(),
            ResumeError::Attached
        );
        drop(first);
        let again = sessions.resume(&id, None, false).unwrap();
        assert_eq!(
            (**again.content(), again.id().reveal()),
            ("processes", id.as_str())
        );
        assert_eq!(
            sessions.resume(&id, None, false).unwrap_err(),
            ResumeError::Attached
        );
    }

    #[tokio::test(start_paused = true)]
    async fn ids_that_were_never_given_out_are_unknown() {
        for id in ["", "nope", "00000000-0000-4000-8000-000000000000"] {
            assert_eq!(
                sessions().resume(id, None, false).unwrap_err(),
                ResumeError::Unknown
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_nobody_comes_back_to_expires_once() {
        let sessions = sessions();
        let id = sessions.open(None, "left").id().clone();
        let began = Instant::now();
        assert_eq!(
            sessions.expired().await,
            vec![(id.clone(), Arc::new("left"))]
        );
        assert_eq!(began.elapsed(), KEEP);
        assert_eq!(
            sessions.resume(id.reveal(), None, false).unwrap_err(),
            ResumeError::Unknown
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_resume_starts_the_clock_anew() {
        let sessions = sessions();
        let id = sessions.open(None, "kept").id().clone();
        tokio::time::advance(KEEP - Duration::from_secs(1)).await;
        drop(sessions.resume(id.reveal(), None, false).unwrap());
        let began = Instant::now();
        assert_eq!(sessions.expired().await.len(), 1);
        assert_eq!(began.elapsed(), KEEP);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attached_session_never_expires() {
        let sessions = sessions();
        let id = sessions.open(None, "held").id().clone();
        let held = sessions.resume(id.reveal(), None, false).unwrap();
        let waited = tokio::time::timeout(KEEP * 10, sessions.expired()).await;
        assert!(waited.is_err());
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_waiting_goes_early_when_too_many_are_detached() {
        let sessions = sessions();
        let first = sessions.open(None, "first").id().clone();
        for number in 0..DETACHED_MAX {
            drop(sessions.open(Some(number.to_string().into()), "later"));
        }
        assert_eq!(sessions.expired().await, vec![(first, Arc::new("first"))]);
    }

    #[test]
    fn an_id_prints_too_little_to_be_used() {
        let id = SessionId::random();
        assert_eq!(format!("{id}").len(), 8);
        assert!(!format!("{id:?}").contains(id.reveal()));
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_elses_session_does_not_exist() {
        let sessions = sessions();
        let theirs = sessions.open(Some("them".into()), "theirs").id().clone();
        for owner in [None, Some("us"), Some("")] {
            let refused = sessions.resume(theirs.reveal(), owner, false).unwrap_err();
            assert_eq!(refused, ResumeError::Unknown);
        }
        let held = sessions
            .resume(theirs.reveal(), Some("them"), false)
            .unwrap();
        let refused = sessions
            .resume(theirs.reveal(), Some("us"), false)
            .unwrap_err();
        assert_eq!(refused, ResumeError::Unknown);
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_who_leaves_too_many_behind_loses_its_own_oldest() {
        let sessions = sessions();
        let other = sessions.open(Some("other".into()), "other").id().clone();
        let first = sessions.open(Some("us".into()), "first").id().clone();
        for _ in 0..DETACHED_OF_OWNER_MAX {
            drop(sessions.open(Some("us".into()), "later"));
        }
        let expired = sessions.expired().await;
        assert_eq!(expired, [(first, Arc::new("first"))]);
        drop(
            sessions
                .resume(other.reveal(), Some("other"), false)
                .unwrap(),
        );
    }
}
