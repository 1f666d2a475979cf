//! What the calls of a connection leave in the audit log. A change is recorded when it is
//! admitted; one that must be recorded and cannot be is refused.

use std::sync::Arc;

use farstep_path_uri::PathUri;
use farstep_protocol::method::process::StartParams;
use farstep_protocol::rpc::RpcError;

use tracing::Span;

use super::Calls;
use crate::audit::{Event, ProcessStart, Who, argv_digest};
use crate::errors;
use crate::process::ReserveError;
use crate::trace::TraceContext;

/// Names of variables in one record; a shell's environment has fewer.
const ENV_NAMES_MAX: usize = 64;

impl Calls {
    /// From here on the calls are those of `who`, and belong to the span of a session.
    pub(crate) fn belong_to(&mut self, who: Who, session: Span) {
        self.who = who;
        self.session = session;
    }

    /// Records a change that is about to be made, or refuses it.
    pub(super) fn changes(&self, event: impl FnOnce() -> Event) -> Result<(), RpcError> {
        let audit = self.server.audit();
        audit.admit().map_err(errors::unrecorded)?;
        audit.record_with(&self.who, event);
        Ok(())
    }

    pub(super) fn writes(&self, path: &PathUri, bytes: Option<usize>) -> Result<(), RpcError> {
        self.changes(|| Event::FsWrite {
            path: path.to_string(),
            bytes: bytes.map(|bytes| bytes as u64),
        })
    }

    pub(super) fn reads(&self, path: &PathUri) {
        let audit = self.server.audit();
        if audit.wants_reads() {
            let path = path.to_string();
            audit.record(&self.who, Event::FsRead { path });
        }
    }

    pub(super) fn starts(
        &self,
        params: &StartParams,
        trace: Option<&TraceContext>,
    ) -> Result<(), RpcError> {
        let wants_argv = self.server.audit().wants_argv();
        self.changes(|| {
            let mut start = described(params, wants_argv);
            start.trace = trace.map(|trace| trace.id().to_owned());
            Event::ProcessStart(Box::new(start))
        })
    }

    /// Records what keeps a start from being admitted, if it is a bound.
    pub(super) fn refuses_more(&self, error: &ReserveError) {
        let limit = match error {
            ReserveError::InUse { .. } => return,
            ReserveError::SessionFull { .. } => "processesPerSession",
            ReserveError::ExecutorFull { .. } => "processes",
        };
        let audit = self.server.audit();
        audit.record(&self.who, Event::LimitHit { limit });
    }

    /// Records a refusal, if it is one that an operator wants to know of.
    pub(super) fn refuses(&self, method: &str, error: &RpcError) {
        if let Some(member) = errors::refused_sandbox(error) {
            self.server.audit().record_with(&self.who, || {
                let (method, member) = (method.to_owned(), member.to_owned());
                Event::SandboxRefused { method, member }
            });
        }
    }

    pub(super) fn kills(&self, process: &str, why: &'static str) {
        self.server.audit().record_with(&self.who, || {
            let process = process.into();
            Event::ProcessKill { process, why }
        });
    }

    /// What records the end of a process, whenever that is.
    pub(super) fn end_recorder(&self, process: &str) -> impl FnOnce(Option<i32>) + Send + use<> {
        let (audit, who) = (self.server.audit().clone(), self.who.clone());
        let process: Arc<str> = process.into();
        move |code| audit.record(&who, Event::ProcessExit { process, code })
    }
}

fn described(params: &StartParams, wants_argv: bool) -> ProcessStart {
    let set = params
        .env_policy
        .iter()
        .flat_map(|policy| policy.set.keys());
    let mut names = params.env.keys().chain(set).cloned();
    ProcessStart {
        process: params.process_id.as_str().into(),
        argv0: params.argv.first().cloned().unwrap_or_default(),
        argv_sha256: argv_digest(&params.argv),
        argv: wants_argv.then(|| params.argv.clone()),
        cwd: params.cwd.to_string(),
        tty: params.tty,
        // Whatever would confine it is refused so far.
        sandbox: "none",
        sandbox_sha256: None,
        env_names: names.by_ref().take(ENV_NAMES_MAX).collect(),
        env_names_more: names.count(),
        thread: params
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.thread_id)
            .map(|thread| thread.to_string()),
        tool_call: params
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.tool_call_id.clone()),
        trace: None,
    }
}
