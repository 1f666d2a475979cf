//! Which trace calls belong to.

use std::fmt;
use std::sync::Arc;

use farstep_protocol::rpc::Trace;

/// Says which trace a call belongs to, where and when it is made.
///
/// What it says is told to every executor, so it must not be a trace that was not checked.
#[derive(Clone)]
pub struct TraceSource(Arc<dyn Fn() -> Option<Trace> + Send + Sync>);

impl TraceSource {
    /// `now` is asked in the task that makes the call, so it may look at the span around it.
    pub fn new(now: impl Fn() -> Option<Trace> + Send + Sync + 'static) -> TraceSource {
        TraceSource(Arc::new(now))
    }

    pub(crate) fn now(&self) -> Option<Trace> {
        (self.0)()
    }
}

impl fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TraceSource")
    }
}
