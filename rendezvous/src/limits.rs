//! What callers may do at most, and who holds how many streams.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use farstep_protocol::relay::FRAME_BYTES_MAX;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio_util::sync::CancellationToken;

use crate::quotas::Quotas;
use crate::relay::Ending;
use crate::store::Shown;

/// Wrong credentials that one address may show, a minute and at once. Beyond it nothing of that
/// address is looked at.
const FAILURES_A_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("not zero");
const FAILURES_AT_ONCE: NonZeroU32 = NonZeroU32::new(30).expect("not zero");

/// Who has done how much.
#[derive(Debug)]
pub struct Limits {
    quotas: Quotas,
    connects: DefaultKeyedRateLimiter<String>,
    /// Bytes of a tenant, if they are limited.
    bytes: Option<DefaultKeyedRateLimiter<Arc<str>>>,
    memory: Memory,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    streams: Mutex<Streams>,
}

/// Streams, by number and by who has them.
#[derive(Debug, Default)]
struct Streams {
    last: u64,
    held: HashMap<u64, Held>,
    counts: HashMap<Holder, usize>,
}

/// A tenant and the name of a credential: identity providers may have several tenants.
type Holder = (String, String);

/// One stream.
#[derive(Debug)]
struct Held {
    shown: Shown,
    over: Arc<Over>,
}

/// Whether a stream's credential counts no more, and how the stream ends then.
#[derive(Debug, Default)]
struct Over {
    stop: CancellationToken,
    ending: OnceLock<Ending>,
}

/// What all queues of a node hold.
#[derive(Debug)]
pub(crate) struct Memory {
    max: u64,
    used: AtomicU64,
}

impl Memory {
    /// One of the parts changed.
    pub(crate) fn changed(&self, before: usize, now: usize) {
        if now >= before {
            self.used
                .fetch_add((now - before) as u64, Ordering::Relaxed);
        } else {
            self.used
                .fetch_sub((before - now) as u64, Ordering::Relaxed);
        }
    }

    /// How much it is, in bytes.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether nobody else may come in.
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.max
    }
}

impl Limits {
    /// As the operator wants them.
    pub fn new(quotas: Quotas) -> Limits {
        let connects =
            Quota::per_second(quotas.connects_per_second).allow_burst(quotas.connects_at_once);
        let failures = Quota::per_minute(FAILURES_A_MINUTE).allow_burst(FAILURES_AT_ONCE);
        let bytes = quotas.tenant_rate.map(|rate| {
            // The longest frame has to fit.
            let frame = u32::try_from(FRAME_BYTES_MAX)
                .ok()
                .and_then(NonZeroU32::new);
            let burst = frame.map_or(rate, |frame| rate.max(frame));
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Limits {
            connects: RateLimiter::keyed(connects),
            failures: RateLimiter::keyed(failures),
            bytes,
            memory: Memory {
                max: quotas.queues_max(),
                used: AtomicU64::new(0),
            },
            streams: Mutex::default(),
            quotas,
        }
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Waits until the tenant may have that many bytes read. Nothing is dropped: the sender's
    /// socket fills.
    pub(crate) async fn pace(&self, tenant: &Arc<str>, bytes: usize) {
        let Some(limiter) = &self.bytes else {
            return;
        };
        let Some(bytes) = u32::try_from(bytes).ok().and_then(NonZeroU32::new) else {
            return;
        };
        // More than the burst never fits, and messages have their own limit.
        while let Ok(Err(until)) = limiter.check_key_n(tenant, bytes) {
            let wait = until.wait_time_from(DefaultClock::default().now());
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    /// Whether a credential may ask for another bundle.
    pub(crate) fn may_connect(&self, kid: &str) -> bool {
        self.connects.check_key(&kid.to_owned()).is_ok()
    }

    /// A credential from that address was wrong. Says whether that happens too often.
    pub(crate) fn failed(&self, address: IpAddr) -> bool {
        self.failures.check_key(&address.to_canonical()).is_err()
    }

    /// Lets go of who has done nothing for a while.
    pub(crate) fn forget_idle(&self) {
        self.connects.retain_recent();
        self.failures.retain_recent();
        if let Some(bytes) = &self.bytes {
            bytes.retain_recent();
        }
    }

    /// A stream for whoever showed that, if it may have another. It counts until it is dropped.
    pub(crate) fn stream(self: &Arc<Self>, shown: &Shown) -> Option<HeldStream> {
        let mut streams = self.held();
        let count = streams.counts.entry(holder(shown)).or_default();
        if *count >= self.quotas.streams_per_token {
            return None;
        }
        *count += 1;
        streams.last += 1;
        let (number, over) = (streams.last, Arc::<Over>::default());
        let held = Held {
            shown: shown.clone(),
            over: Arc::clone(&over),
        };
        streams.held.insert(number, held);
        Some(HeldStream {
            limits: Arc::clone(self),
            number,
            over,
        })
    }

    /// Whether a credential holds as many streams as it may.
    pub(crate) fn is_full(&self, shown: &Shown) -> bool {
        let streams = self.held();
        let held = streams.counts.get(&holder(shown)).copied();
        held.unwrap_or_default() >= self.quotas.streams_per_token
    }

    /// All streams, and what was shown for each.
    pub(crate) fn connected(&self) -> Vec<(u64, Shown)> {
        self.due(i64::MAX)
    }

    /// Those whose credential may have come to its end.
    pub(crate) fn due(&self, now: i64) -> Vec<(u64, Shown)> {
        let streams = self.held();
        let is_due = |held: &Held| held.shown.ends_at.unwrap_or(i64::MAX) <= now;
        let due = streams.held.iter().filter(|(_, held)| is_due(held));
        due.map(|(number, held)| (*number, held.shown.clone()))
            .collect()
    }

    /// A stream's credential counts until then.
    pub(crate) fn lasts(&self, number: u64, until: Option<i64>) {
        if let Some(held) = self.held().held.get_mut(&number) {
            held.shown.ends_at = until;
        }
    }

    /// Ends a stream. Only the first reason counts.
    pub(crate) fn end(&self, number: u64, ending: Ending) {
        if let Some(held) = self.held().held.get(&number) {
            let _: Result<(), Ending> = held.over.ending.set(ending);
            held.over.stop.cancel();
        }
    }

    fn held(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holder(shown: &Shown) -> Holder {
    (shown.tenant.clone(), shown.kid.clone())
}

/// One stream of a credential.
#[derive(Debug)]
pub(crate) struct HeldStream {
    limits: Arc<Limits>,
    number: u64,
    over: Arc<Over>,
}

impl HeldStream {
    /// Waits until its credential counts no more.
    pub(crate) async fn over(&self) -> Ending {
        self.over.stop.cancelled().await;
        let ending = self.over.ending.get().copied();
        ending.unwrap_or(Ending::REVOKED)
    }
}

impl Drop for HeldStream {
    fn drop(&mut self) {
        let mut streams = self.limits.held();
        let Some(held) = streams.held.remove(&self.number) else {
            return;
        };
        if let Entry::Occupied(mut count) = streams.counts.entry(holder(&held.shown)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kid: &str, ends_at: Option<i64>) -> Shown {
        Shown {
            tenant: "t".to_owned(),
            kid: kid.to_owned(),
            token_id: None,
            ends_at,
        }
    }

    #[tokio::test]
    async fn a_credential_has_so_many_streams_and_gets_them_back() {
        let limits = Arc::new(Limits::new(Quotas::default()));
        let (a, b) = (shown("a", None), shown("b", None));
        let mut held: Vec<_> = (0..32).map(|_| limits.stream(&a).unwrap()).collect();
        assert!(limits.is_full(&a) && limits.stream(&a).is_none());
        assert!(limits.stream(&b).is_some());
        let elsewhere = Shown {
            tenant: "u".to_owned(),
            ..a.clone()
        };
        assert!(!limits.is_full(&elsewhere), "another tenant's is another");
        let last = held.pop().unwrap();
        for (number, _) in limits.connected() {
            limits.end(number, Ending::REVOKED);
        }
        assert_eq!(last.over().await, Ending::REVOKED);
        drop(last);
        assert!(limits.stream(&a).is_some());
        drop(held);
        assert!(limits.connected().is_empty() && limits.held().counts.is_empty());
    }

    #[test]
    fn a_stream_is_due_when_what_was_shown_for_it_ends() {
        let limits = Arc::new(Limits::new(Quotas::default()));
        let early = limits.stream(&shown("a", Some(100))).unwrap();
        // Another token of the same subject.
        let late = limits.stream(&shown("a", Some(200))).unwrap();
        let _never = limits.stream(&shown("b", None)).unwrap();
        let due = |now| {
            let due = limits.due(now).into_iter();
            let mut numbers: Vec<_> = due.map(|(number, _)| number).collect();
            numbers.sort_unstable();
            numbers
        };
        assert!(due(99).is_empty());
        assert_eq!(due(100), [early.number]);
        assert_eq!(due(200), [early.number, late.number]);
        limits.lasts(late.number, Some(300));
        assert_eq!(due(200), [early.number]);
        drop(early);
        assert!(due(200).is_empty());
    }

    #[test]
    fn who_guesses_is_slowed_down() {
        let limits = Limits::new(Quotas::default());
        let address = IpAddr::from([192, 0, 2, 1]);
        let guesses = (0..100).take_while(|_| !limits.failed(address)).count();
        assert_eq!(guesses, 30);
        assert!(!limits.failed(IpAddr::from([192, 0, 2, 2])));
        let connects = (0..100).take_while(|_| limits.may_connect("a")).count();
        assert_eq!(connects, 50);
    }
    #[tokio::test]
    async fn a_tenant_beyond_its_rate_waits_and_the_others_do_not() {
        let limits = Limits::new(Quotas {
            tenant_rate: NonZeroU32::new(1 << 20),
            ..Quotas::default()
        });
        let (busy, quiet): (Arc<str>, Arc<str>) = ("busy".into(), "quiet".into());
        let began = std::time::Instant::now();
        for _ in 0..6 {
            limits.pace(&busy, 1 << 18).await;
        }
        // A second's worth at once, then half a second's more.
        assert!(began.elapsed() > Duration::from_millis(400));
        let at_once = tokio::time::timeout(Duration::ZERO, limits.pace(&quiet, 1 << 18));
        at_once.await.unwrap();
    }

    #[test]
    fn the_queues_of_a_node_are_full_at_their_share() {
        let limits = Limits::new(Quotas {
            memory: Some(4000),
            ..Quotas::default()
        });
        limits.memory().changed(0, 999);
        assert!(!limits.memory().is_full());
        limits.memory().changed(0, 1);
        assert!(limits.memory().is_full());
        limits.memory().changed(999, 100);
        assert_eq!(limits.memory().used(), 101);
    }
}
