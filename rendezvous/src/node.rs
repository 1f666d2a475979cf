//! One node: what its routes share, and what it does unasked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Guard, Providers, Signer, random_hex};
use crate::bus::Bus;
use crate::limits::Limits;
use crate::metrics::{Levels, Metrics, TenantLevels};
use crate::quotas::Quotas;
use crate::relay::Ending;
use crate::store::{EnvironmentKey, Store, StoreError};

/// How often links look at the time: what stalls is reset and what is held goes on so much later
/// at most.
const TIME_INTERVAL: Duration = Duration::from_millis(500);

/// Executors that are away and whose return is timed; of more it is not.
const AWAY_MAX: usize = 100_000;
/// Who may follow events of environments at once, each with a connection of its own.
const FOLLOWERS_MAX: usize = 64;

/// Bytes of a key that signs URLs.
const URL_KEY_BYTES: usize = 32;

/// What the routes of one node share.
#[derive(Debug)]
pub struct Node {
    /// Names it among nodes; a new one each time it starts.
    pub(crate) id: String,
    /// What outlives it.
    pub store: Arc<dyn Store>,
    /// How executors are found.
    pub bus: Arc<dyn Bus>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What its callers may do at most.
    pub(crate) limits: Arc<Limits>,
    /// Who guesses credentials.
    pub(crate) guard: Guard,
    /// Whom tenants trust with their orchestrators.
    pub(crate) providers: OnceLock<Providers>,
    /// Places for those who follow events.
    pub(crate) followers: Arc<Semaphore>,
    /// Where peers reach the relay, without a slash at the end: `ws://HOST:PORT`.
    pub(crate) websocket_base: String,
    /// Where they reach it as well.
    pub(crate) alternate_bases: OnceLock<Vec<String>>,
    signer: Mutex<Arc<Signer>>,
    /// Since when executors are away.
    away: Mutex<HashMap<EnvironmentKey, Instant>>,
    /// The node is about to go: nobody else comes in.
    is_draining: AtomicBool,
    /// The node stops: every link ends.
    pub(crate) stop: CancellationToken,
    /// Whoever serves a websocket.
    pub(crate) served: TaskTracker,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system.
    #[error("no key could be made: the system has no randomness")]
    Randomness,
}

/// Now, in Unix seconds.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

impl Node {
    /// Prepares a node. `public` is the http or https URL under which peers reach it.
    pub async fn start(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        public: &str,
    ) -> Result<Arc<Node>, StartError> {
        Node::start_limited(store, bus, public, Quotas::default()).await
    }

    /// The same with limits of the operator's choice.
    pub async fn start_limited(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        public: &str,
        quotas: Quotas,
    ) -> Result<Arc<Node>, StartError> {
        if store.url_keys().await?.is_empty() {
            new_url_key(store.as_ref()).await?;
        }
        let signer = Signer::new(store.url_keys().await?);
        let id = random_hex::<6>().map_err(|_| StartError::Randomness)?;
        Ok(Arc::new(Node {
            id: format!("node_{id}"),
            store,
            bus,
            metrics: Arc::new(Metrics::new(quotas.metrics_tenants)),
            limits: Arc::new(Limits::new(quotas)),
            guard: Guard::default(),
            providers: OnceLock::new(),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            websocket_base: websocket(public),
            alternate_bases: OnceLock::new(),
            signer: Mutex::new(Arc::new(signer)),
            away: Mutex::default(),
            is_draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            served: TaskTracker::new(),
        }))
    }

    /// Believes tokens of these identity providers, too. Only the first call counts.
    pub fn trust(&self, providers: Providers) {
        let _: Result<(), Providers> = self.providers.set(providers);
    }

    /// Is reached under these URLs, too, which executors are told. Only the first call counts.
    pub fn also_at(&self, urls: &[String]) {
        let bases = urls.iter().map(|url| websocket(url)).collect();
        let _: Result<(), Vec<String>> = self.alternate_bases.set(bases);
    }

    pub(crate) fn signer(&self) -> Arc<Signer> {
        let signer = self.signer.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&signer)
    }

    /// From now on.
    pub(crate) fn sign_with(&self, signer: Signer) {
        *self.signer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(signer);
    }

    /// Whether nobody else comes in.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed) || self.stop.is_cancelled()
    }

    /// Prepares the end: nobody else comes in, whoever wants to know is told, and the executors
    /// that are here are let go one after the other over that time, so that they do not all dial
    /// the other nodes at once.
    pub async fn drain(&self, over: Duration) {
        self.is_draining.store(true, Ordering::Relaxed);
        let links = self.bus.links();
        tracing::info!(
            executors = links.len(),
            seconds = over.as_secs(),
            "draining"
        );
        for link in &links {
            link.notice();
        }
        let began = tokio::time::Instant::now();
        let count = u32::try_from(links.len()).unwrap_or(u32::MAX);
        for (number, link) in (1..=count).zip(&links) {
            let at = began + over.mul_f64(f64::from(number) / f64::from(count));
            // Nobody is waited for who is gone already.
            while tokio::time::Instant::now() < at && !self.bus.links().is_empty() {
                let next = tokio::time::Instant::now() + TIME_INTERVAL;
                tokio::time::sleep_until(next.min(at)).await;
            }
            link.end(Ending::RESTART);
        }
    }

    /// An executor's websocket ended, and there is no other.
    pub(crate) fn went_away(&self, environment: &EnvironmentKey) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if away.len() < AWAY_MAX {
            away.insert(environment.clone(), Instant::now());
        }
    }

    /// An executor is back.
    pub(crate) fn came_back(&self, environment: &EnvironmentKey) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = away.remove(environment) {
            self.metrics.reconnect_seconds.record(since.elapsed());
        }
    }

    /// Everything that is counted, in Prometheus' text format.
    pub(crate) async fn page(&self) -> String {
        let away = self.store.away(now()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "who is away was not counted");
            Vec::new()
        });
        let away = away.into_iter().map(|(tenant, away)| {
            let level = TenantLevels {
                away,
                ..TenantLevels::default()
            };
            (tenant.into(), level)
        });
        let links = self.bus.links();
        let here = links.iter().map(|link| {
            let level = TenantLevels {
                executors: 1,
                streams: link.streams() as u64,
                away: 0,
            };
            (Arc::clone(&link.environment.tenant), level)
        });
        self.metrics.page(&Levels {
            is_draining: self.is_draining(),
            queued: self.limits.memory().used(),
            tenants: here.chain(away).collect(),
        })
    }

    /// Tells the links that time passes, until the node stops.
    pub async fn keep_time(&self) {
        let mut ticks = tokio::time::interval(TIME_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            for link in self.bus.links() {
                link.on_time();
            }
            self.metrics.tidy();
        }
    }

    /// Ends every link, and what is under way.
    pub fn stop(&self) {
        self.bus.end_all(Ending::RESTART);
        self.stop.cancel();
    }
}

/// Where websockets of a node are that is reached under an http or https URL.
fn websocket(url: &str) -> String {
    let base = url.trim_end_matches('/');
    // http becomes ws and https becomes wss.
    base.strip_prefix("http")
        .map_or_else(|| base.to_owned(), |rest| format!("ws{rest}"))
}

/// Makes a new key the one that signs; the one before still counts.
pub async fn new_url_key(store: &dyn Store) -> Result<(), StartError> {
    let mut secret = [0; URL_KEY_BYTES];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| StartError::Randomness)?;
    store.add_url_key(&secret, now()).await?;
    Ok(())
}
