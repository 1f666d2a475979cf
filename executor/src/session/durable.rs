//! Sessions that outlive their connections for as long as their own terms say.
//!
//! ```text
//!   open ─▶ held by n connections ──── the last one ends ────▶ kept ── its time is over ─▶ (none)
//!                    ^                                           │
//!                    └──────────────── resume ───────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farstep_protocol::method::initialize::SessionTerms;
use tokio::time::Instant;

use super::{Attachment, Entry, Hold, SessionId, Sessions, State};

/// Durable sessions of one owner at once. Each may hold as much output as a process is granted, so
/// there have to be few; whoever starts a job a minute and looks at none finds the limit after
/// hours, because finished ones make room.
pub(crate) const DURABLE_OF_OWNER_MAX: usize = 256;

/// The owner has as many durable sessions as there may be, and something runs in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{DURABLE_OF_OWNER_MAX} durable sessions are open already and something runs in each")]
pub(crate) struct TooMany;

/// What is special about a durable session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Durable {
    retention: Duration,
    /// Connections that have it.
    holders: usize,
    /// When it is due, while there are none.
    due: Option<Due>,
}

/// A moment, and a number that tells two at the same moment apart.
type Due = (Instant, u64);

/// The durable sessions that no connection has, by when their time is over.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<Due, SessionId>);

impl Kept {
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.keys().next().map(|(due, _)| *due)
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<SessionId> {
        let first = self.0.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

impl Durable {
    pub(super) fn terms(&self) -> SessionTerms {
        let left = match self.due {
            Some((due, _)) => due.saturating_duration_since(Instant::now()),
            None => self.retention,
        };
        SessionTerms {
            retention_seconds: self.retention.as_secs(),
            left_seconds: left.as_secs(),
        }
    }

    pub(super) fn join(&mut self, kept: &mut Kept) {
        self.holders += 1;
        if let Some(due) = self.due.take() {
            kept.0.remove(&due);
        }
    }

    pub(super) fn leave(&mut self, id: &SessionId, kept: &mut Kept, number: u64) {
        self.holders -= 1;
        if self.holders == 0 {
            let due = (Instant::now() + self.retention, number);
            kept.0.insert(due, id.clone());
            self.due = Some(due);
        }
    }
}

impl<T> Sessions<T> {
    /// Opens a durable session of `owner`. When there are too many of them, the one that is due
    /// next of those where nothing happens any more (`is_over`) makes room and is returned with it.
    pub(crate) fn open_durable(
        self: &Arc<Self>,
        owner: Option<Arc<str>>,
        content: T,
        retention: Duration,
        is_over: impl Fn(&T) -> bool,
    ) -> Result<(Attachment<T>, Option<Arc<T>>), TooMany> {
        let mut table = self.table();
        let theirs =
            |entry: &&Entry<T>| entry.owner == owner && matches!(entry.state, State::Durable(_));
        let mut displaced = None;
        if table.sessions.values().filter(theirs).count() >= DURABLE_OF_OWNER_MAX {
            let mut due = table.kept.0.iter();
            let goes = due.find(|(_, id)| {
                let entry = table.sessions.get(*id);
                entry.is_some_and(|entry| entry.owner == owner && is_over(&entry.content))
            });
            let (due, id) = goes.map(|(due, id)| (*due, id.clone())).ok_or(TooMany)?;
            table.kept.0.remove(&due);
            displaced = table.sessions.remove(&id).map(|entry| entry.content);
        }
        let durable = Durable {
            retention,
            holders: 1,
            due: None,
        };
        let hold = Hold::Shared(durable.terms());
        let (id, content) = (SessionId::random(), Arc::new(content));
        let entry = Entry {
            owner,
            content: Arc::clone(&content),
            state: State::Durable(durable),
        };
        table.sessions.insert(id.clone(), entry);
        drop(table);
        let attachment = Attachment {
            sessions: Arc::clone(self),
            id,
            content,
            hold,
        };
        Ok((attachment, displaced))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DETACHED_OF_OWNER_MAX, ResumeError};
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn sessions() -> Arc<Sessions<&'static str>> {
        Arc::new(Sessions::new(Duration::from_secs(80)))
    }

    fn open(sessions: &Arc<Sessions<&'static str>>, content: &'static str) -> SessionId {
        let opened = sessions.open_durable(Some("us".into()), content, DAY, |_| false);
        opened.unwrap().0.id().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn many_may_have_a_durable_session_and_it_is_kept_behind_the_last() {
        let sessions = sessions();
        let (first, _) = sessions
            .open_durable(Some("us".into()), "job", DAY, |_| false)
            .unwrap();
        let id = first.id().reveal().to_owned();
        let second = sessions.resume(&id, Some("us"), false).unwrap();
        drop(first);
        tokio::time::advance(10 * DAY).await;
        let third = sessions.resume(&id, Some("us"), false).unwrap();
        drop((second, third));
        let began = Instant::now();
        let expired = sessions.expired().await;
        assert_eq!((expired[0].1.as_ref(), began.elapsed()), (&"job", DAY));
        let gone = sessions.resume(&id, Some("us"), false).unwrap_err();
        assert_eq!(gone, ResumeError::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn peeking_tells_what_is_left_and_leaves_it_so() {
        let sessions = sessions();
        let id = open(&sessions, "job");
        tokio::time::advance(DAY / 4).await;
        for _ in 0..2 {
            let peeked = sessions.resume(id.reveal(), Some("us"), true).unwrap();
            let terms = SessionTerms {
                retention_seconds: DAY.as_secs(),
                left_seconds: DAY.as_secs() * 3 / 4,
            };
            assert_eq!(peeked.terms(), Some(terms));
        }
        let began = Instant::now();
        assert_eq!(sessions.expired().await.len(), 1);
        assert_eq!(began.elapsed(), DAY * 3 / 4);
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_elses_durable_session_does_not_exist_either() {
        let sessions = sessions();
        let id = open(&sessions, "job");
        for (owner, peek) in [(None, false), (Some("them"), false), (Some("them"), true)] {
            let refused = sessions.resume(id.reveal(), owner, peek).unwrap_err();
            assert_eq!(refused, ResumeError::Unknown);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ordinary_sessions_push_no_durable_one_out() {
        let sessions = sessions();
        let id = open(&sessions, "job");
        for _ in 0..2 * DETACHED_OF_OWNER_MAX {
            drop(sessions.open(Some("us".into()), "left"));
        }
        let expired = sessions.expired().await;
        assert!(expired.iter().all(|(_, content)| **content == "left"));
        drop(sessions.resume(id.reveal(), Some("us"), false).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn the_finished_make_room_and_the_unfinished_do_not() {
        let sessions = sessions();
        let is_over = |content: &&str| *content == "finished";
        let open = |content| sessions.open_durable(Some("us".into()), content, DAY, is_over);
        let unfinished = open("unfinished").unwrap().0.id().clone();
        let finished = open("finished").unwrap().0.id().clone();
        for _ in 2..DURABLE_OF_OWNER_MAX {
            drop(open("unfinished").unwrap());
        }
        let (_held, displaced) = open("new").unwrap();
        assert_eq!(displaced.as_deref(), Some(&"finished"));
        assert_eq!(open("one more").unwrap_err(), TooMany);
        let other = sessions.open_durable(Some("them".into()), "theirs", DAY, is_over);
        assert!(other.is_ok());
        let gone = sessions.resume(finished.reveal(), Some("us"), false);
        assert_eq!(gone.unwrap_err(), ResumeError::Unknown);
        drop(
            sessions
                .resume(unfinished.reveal(), Some("us"), false)
                .unwrap(),
        );
    }
}
