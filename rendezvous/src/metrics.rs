//! What is counted over the life of a node, for `/metrics` (`rendezvous` section C9).
//!
//! Labels are names of ours alone: nothing a peer makes up becomes a time series. Tenants are named only
//! where the operator says how many of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::api::Refused;
use crate::relay::{By, Why};

/// Upper ends of the histograms' buckets, in seconds: from a frame that is passed on to an executor
/// that comes back.
const BUCKETS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 15.0, 60.0,
];

/// A frame that stays on this node; others would cross the bus.
const HOP: (&str, &str) = ("hop", "local");

/// Stands for the tenants beyond those that are named.
const OTHERS: &str = "other";

/// What is counted for each tenant, if that is wanted, and for all together if not.
pub(crate) struct Counts {
    /// Registrations, by result.
    pub(crate) register: Results,
    /// Bundles that were asked for, by result.
    pub(crate) connect: Results,
    /// Validations, by result.
    pub(crate) validate: Results,
    /// Bytes from orchestrators to executors.
    pub(crate) relayed_up: Counter,
    /// Bytes from executors to orchestrators.
    pub(crate) relayed_down: Counter,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counts")
    }
}

/// Counts of what happened.
pub struct Metrics {
    /// So many tenants are named at most; none are without it.
    tenants_max: Option<usize>,
    /// By the tenant's label, which is empty for all together.
    counts: Mutex<BTreeMap<String, Arc<Counts>>>,
    /// How long a validation took, in seconds.
    pub(crate) validate_seconds: Histogram,
    /// Registrations that found a newer executor in their place.
    pub(crate) lease_conflicts: Counter,
    /// From the last byte that was read of a frame to the first that is written.
    pub(crate) relay_seconds: Seconds,
    /// From the end of an executor's websocket to its next.
    pub(crate) reconnect_seconds: Seconds,
    /// Streams that were reset.
    pub(crate) resets: Resets,
    queued: Gauge,
    recorder: PrometheusRecorder,
    page: PrometheusHandle,
}

/// One counter for each result of a route.
pub(crate) struct Results {
    ok: Counter,
    refused: Counter,
    failed: Counter,
}

impl Results {
    /// Counts an answer.
    pub(crate) fn count<T>(&self, answer: &Result<T, Refused>) {
        match answer {
            Ok(_) => self.ok.increment(1),
            Err(refused) if refused.is_failure() => self.failed.increment(1),
            Err(_) => self.refused.increment(1),
        }
    }
}

/// A histogram of times.
pub(crate) struct Seconds(Histogram);

impl Seconds {
    pub(crate) fn record(&self, took: Duration) {
        self.0.record(took.as_secs_f64());
    }
}

/// One counter for each way of a reset.
pub(crate) struct Resets {
    executor: Counter,
    harness: Counter,
    left: Counter,
    stalled: Counter,
    expired: Counter,
    unknown: Counter,
}

impl Resets {
    pub(crate) fn count(&self, by: By, why: Why) {
        let counter = match (by, why) {
            (By::Executor, _) => &self.executor,
            (By::Harness, _) => &self.harness,
            (By::Relay, Why::Stalled) => &self.stalled,
            (By::Relay, Why::Expired) => &self.expired,
            (By::Relay, Why::Unknown) => &self.unknown,
            (By::Relay, Why::Left | Why::Said) => &self.left,
        };
        counter.increment(1);
    }
}

/// What is so at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    pub(crate) is_draining: bool,
    pub(crate) queued: u64,
    /// A tenant may occur several times.
    pub(crate) tenants: Vec<(Arc<str>, TenantLevels)>,
}

/// What is so of a tenant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TenantLevels {
    pub(crate) executors: u64,
    pub(crate) streams: u64,
    pub(crate) away: u64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new(None)
    }
}

impl Metrics {
    /// With a label for each of so many tenants, if that is wanted.
    pub fn new(tenants_max: Option<usize>) -> Metrics {
        // They are only refused when there are none.
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS);
        let recorder = builder
            .unwrap_or_else(|_| PrometheusBuilder::new())
            .build_recorder();
        let reset = |by, reason| {
            let labels = [("by", by), ("reason", reason)];
            counter(&recorder, "rdv_stream_resets_total", &labels)
        };
        let gauge = |name, labels| recorder.register_gauge(&key(name, labels), &HERE);
        let histogram = |name, labels| recorder.register_histogram(&key(name, labels), &HERE);
        // There is one node, so nothing is lost between nodes.
        counter(&recorder, "rdv_bus_gap_total", &[]).increment(0);
        let mut counts = BTreeMap::new();
        if tenants_max.is_none() {
            counts.insert(String::new(), Arc::new(Counts::new(&recorder, "")));
        }
        Metrics {
            tenants_max,
            counts: Mutex::new(counts),
            validate_seconds: histogram("rdv_validate_seconds", &[]),
            lease_conflicts: counter(&recorder, "rdv_lease_conflicts_total", &[]),
            relay_seconds: Seconds(histogram("rdv_relay_seconds", &[HOP])),
            reconnect_seconds: Seconds(histogram("rdv_reconnect_seconds", &[])),
            resets: Resets {
                executor: reset("executor", "said"),
                harness: reset("harness", "said"),
                left: reset("relay", "left"),
                stalled: reset("relay", "stalled"),
                expired: reset("relay", "expired"),
                unknown: reset("relay", "unknown"),
            },
            queued: gauge("rdv_queue_bytes", &[]),
            page: recorder.handle(),
            recorder,
        }
    }
}

/// Where the time series come from.
static HERE: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

type Labels<'a> = &'a [(&'static str, &'static str)];

fn key(name: &'static str, labels: Labels<'_>) -> Key {
    let label =
        |(name, value): &(&'static str, &'static str)| Label::from_static_parts(name, value);
    Key::from_parts(name, labels.iter().map(label).collect::<Vec<_>>())
}

fn counter(recorder: &PrometheusRecorder, name: &'static str, labels: Labels<'_>) -> Counter {
    recorder.register_counter(&key(name, labels), &HERE)
}

impl Counts {
    fn new(recorder: &PrometheusRecorder, tenant: &str) -> Counts {
        let count = |name, labels| recorder.register_counter(&of(key(name, labels), tenant), &HERE);
        let results = |name: &'static str| Results {
            ok: count(name, &[("result", "ok")]),
            refused: count(name, &[("result", "refused")]),
            failed: count(name, &[("result", "failed")]),
        };
        let relayed = |labels| count("rdv_relay_bytes_total", labels);
        Counts {
            register: results("rdv_register_total"),
            connect: results("rdv_connect_total"),
            validate: results("rdv_validate_total"),
            relayed_up: relayed(&[("direction", "up"), HOP]),
            relayed_down: relayed(&[("direction", "down"), HOP]),
        }
    }
}

/// With the tenant's label, if it has one.
fn of(key: Key, tenant: &str) -> Key {
    match tenant.is_empty() {
        true => key,
        false => key.with_extra_labels(vec![Label::new("tenant", tenant.to_owned())]),
    }
}

impl Metrics {
    /// Where a tenant is counted.
    pub(crate) fn of(&self, tenant: &str) -> Arc<Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let label = self.label(&counts, tenant).to_owned();
        let known = counts.entry(label);
        let new = |label: &String| Arc::new(Counts::new(&self.recorder, label));
        Arc::clone(known.or_insert_with_key(new))
    }

    fn label<'a>(&self, counts: &BTreeMap<String, Arc<Counts>>, tenant: &'a str) -> &'a str {
        match self.tenants_max {
            None => "",
            Some(_) if counts.contains_key(tenant) => tenant,
            // The one of the others is not among them.
            Some(max) if counts.keys().filter(|label| *label != OTHERS).count() < max => tenant,
            Some(_) => OTHERS,
        }
    }

    /// An upgrade was refused.
    pub(crate) fn upgrade_refused(&self, role: &'static str, reason: &'static str) {
        let labels = [("role", role), ("reason", reason)];
        counter(&self.recorder, "rdv_upgrade_rejected_total", &labels).increment(1);
    }

    /// Sorts what was recorded into the buckets. Until then each record is kept by itself, so it
    /// is done again and again, whether anybody asks for the page or not.
    pub(crate) fn tidy(&self) {
        self.page.run_upkeep();
    }

    /// All of it in Prometheus' text format.
    pub(crate) fn page(&self, levels: &Levels) -> String {
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of connections and bytes are far below 2^52"
        )]
        let level = |count: u64| count as f64;
        for (tenant, _) in &levels.tenants {
            self.of(tenant);
        }
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has nothing any more is told to have nothing.
        let mut sums: BTreeMap<&str, TenantLevels> = BTreeMap::new();
        sums.extend(
            counts
                .keys()
                .map(|label| (label.as_str(), TenantLevels::default())),
        );
        for (tenant, of_tenant) in &levels.tenants {
            if let Some(sum) = sums.get_mut(self.label(&counts, tenant)) {
                sum.executors += of_tenant.executors;
                sum.streams += of_tenant.streams;
                sum.away += of_tenant.away;
            }
        }
        for (label, sum) in sums {
            let (online, draining) = match levels.is_draining {
                true => (0, sum.executors),
                false => (sum.executors, 0),
            };
            let set = |name, labels, count| {
                let gauge = self
                    .recorder
                    .register_gauge(&of(key(name, labels), label), &HERE);
                gauge.set(level(count));
            };
            set("rdv_executors", &[("state", "online")], online);
            set("rdv_executors", &[("state", "draining")], draining);
            set("rdv_executors", &[("state", "away")], sum.away);
            set("rdv_streams", &[], sum.streams);
        }
        drop(counts);
        self.queued.set(level(levels.queued));
        self.tidy();
        self.page.render()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
