//! What is counted over the life of an executor, for `/metrics`.
//!
//! Handles are made once, so counting is an addition and nothing is looked up. Labels are names of
//! ours alone: nothing a peer makes up becomes a time series.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Counts of what happened, and how much there is of what now.
pub(crate) struct Metrics {
    /// TCP connections that were accepted.
    pub(crate) accepted: Counter,
    /// Upgrades that were answered.
    pub(crate) upgraded: Counter,
    /// Requests that were refused before it was known whose they were.
    pub(crate) refused: Counter,
    /// Credentials that proved nothing.
    pub(crate) unauthenticated: Counter,
    /// Failures that came too often.
    pub(crate) too_often: Counter,
    /// Sessions that were opened.
    pub(crate) opened: Counter,
    /// Sessions that were taken up again.
    pub(crate) resumed: Counter,
    /// Requests whose trace context was wrong and ignored.
    pub(crate) trace_ignored: Counter,
    /// By the place of the method's name.
    calls: Vec<Counter>,
    counted: Vec<Counted>,
    /// Made for whoever asks first: the recorder measures the clock of the processor when it is made,
    /// which takes it a millisecond or, on some machines, many.
    page: OnceLock<Page>,
}

/// How much there is of what, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    pub(crate) connections: usize,
    pub(crate) sessions: usize,
    pub(crate) processes: usize,
    /// Bytes of output.
    pub(crate) retained: usize,
}

struct Counted {
    key: Key,
    count: Arc<AtomicU64>,
}

struct Page {
    counters: Vec<Counter>,
    connections: Gauge,
    sessions: Gauge,
    processes: Gauge,
    retained: Gauge,
    text: PrometheusHandle,
}

impl Metrics {
    /// All at zero. `methods` are those that can be called.
    pub(crate) fn new(methods: impl IntoIterator<Item = &'static str>) -> Metrics {
        let mut counted = Vec::new();
        let mut counter = |name: &'static str, labels: Vec<Label>| {
            let count = Arc::<AtomicU64>::default();
            let counter = Counter::from_arc(Arc::clone(&count));
            let key = Key::from_parts(name, labels);
            counted.push(Counted { key, count });
            counter
        };
        let calls = methods.into_iter().map(|method| {
            let label = Label::from_static_parts("method", method);
            counter("farstep_calls_total", vec![label])
        });
        let calls = calls.collect();
        let mut plain = |name| counter(name, Vec::new());
        Metrics {
            accepted: plain("farstep_connections_accepted_total"),
            upgraded: plain("farstep_connections_upgraded_total"),
            refused: plain("farstep_requests_refused_total"),
            unauthenticated: plain("farstep_authentication_failures_total"),
            too_often: plain("farstep_authentication_rate_limited_total"),
            opened: plain("farstep_sessions_opened_total"),
            resumed: plain("farstep_sessions_resumed_total"),
            trace_ignored: plain("farstep_trace_contexts_ignored_total"),
            calls,
            counted,
            page: OnceLock::new(),
        }
    }

    /// A call of the method whose name is at this place.
    pub(crate) fn called(&self, place: usize) {
        if let Some(counter) = self.calls.get(place) {
            counter.increment(1);
        }
    }

    /// The page, in Prometheus' text format.
    ///
    /// Blocks for up to a fifth of a second the first time.
    pub(crate) fn page(&self, now: Levels) -> String {
        let page = self.page.get_or_init(|| Page::new(&self.counted));
        for (counter, Counted { count, .. }) in page.counters.iter().zip(&self.counted) {
            counter.absolute(count.load(Ordering::Relaxed));
        }
        for (gauge, level) in [
            (&page.connections, now.connections),
            (&page.sessions, now.sessions),
            (&page.processes, now.processes),
            (&page.retained, now.retained),
        ] {
            gauge.set(u32::try_from(level).map_or(f64::INFINITY, f64::from));
        }
        page.text.render()
    }
}

impl Page {
    fn new(counted: &[Counted]) -> Page {
        let recorder = PrometheusBuilder::new().build_recorder();
        let here = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        let counters = counted.iter();
        let counters = counters.map(|Counted { key, .. }| recorder.register_counter(key, &here));
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_name(name), &here);
        Page {
            counters: counters.collect(),
            connections: gauge("farstep_connections"),
            sessions: gauge("farstep_sessions"),
            processes: gauge("farstep_processes"),
            retained: gauge("farstep_retained_output_bytes"),
            text: recorder.handle(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_on_the_page() {
        const METHODS: [&str; 2] = ["fs/copy", "unknown"];
        let metrics = Metrics::new(METHODS);
        metrics.called(0);
        metrics.called(0);
        metrics.resumed.increment(1);
        let page = metrics.page(Levels {
            connections: 2,
            sessions: 3,
            processes: 4,
            retained: 5,
        });
        for line in [
            "farstep_calls_total{method=\"fs/copy\"} 2",
            "farstep_calls_total{method=\"unknown\"} 0",
            "farstep_sessions_resumed_total 1",
            "farstep_connections 2",
            "farstep_sessions 3",
            "farstep_processes 4",
            "farstep_retained_output_bytes 5",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} in\n{page}");
        }
    }
}
