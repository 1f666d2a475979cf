//! The `process/` methods. Requests for a process that is being started wait until the start is
//! answered, in the order in which they came; none of the others ever waits for another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farstep_protocol::frame;
use farstep_protocol::method::Empty;
use farstep_protocol::method::process::{
    CloseInputParams, EnvPolicy as WirePolicy, Inherit as WireInherit, ReadParams, ResizeParams,
    Signal, SignalParams, StartParams, StartResult, TerminateParams, TerminateResult, Window,
    WriteParams, WriteResult, WriteStatus,
};
use farstep_protocol::output::{Body as _, ReadPage};
use farstep_protocol::rpc::{RequestId, RpcError, Trace};
use farstep_transport::Text;
use tokio::time::Instant;
use tracing::Span;

use super::{Answer, Calls, Effect, Finished, Job, on_pool, refusal, reply, sandbox};
use crate::errors;
use crate::os::{HAS_NOTICES, Notice, WindowSize};
use crate::process::{self, EnvPolicy, Held, Inherit, Lookup, StartRequest, Table};
use crate::trace::TraceContext;

/// The longest process id, in bytes. Every event repeats it.
pub(crate) const PROCESS_ID_BYTES_MAX: usize = 256;

/// The longest id of a write, in bytes. Thousands are remembered for each process.
pub(crate) const WRITE_ID_BYTES_MAX: usize = 128;

/// The longest scope of a shell snapshot, in bytes.
pub(crate) const SNAPSHOT_SCOPE_BYTES_MAX: usize = 256;

/// A page of output larger than this is encoded on the pool.
const PAGE_IN_PLACE_BYTES_MAX: usize = 256 * 1024;

impl Calls {
    pub(super) fn start(
        &mut self,
        session: &Table,
        id: RequestId,
        params: StartParams,
        trace: Option<Trace>,
    ) -> Result<Answer, RpcError> {
        check(&params)?;
        sandbox::unconfined_start(&params)?;
        let process_id = params.process_id.clone();
        let mut reservation = session.reserve(&process_id).map_err(|error| {
            self.refuses_more(&error);
            errors::reserve(&error)
        })?;
        let trace = self.trace_of_commands(trace.as_ref());
        self.starts(&params, trace.as_ref())?;
        let (ended, failed) = (
            self.end_recorder(&process_id),
            self.end_recorder(&process_id),
        );
        let request = match start_request(params, trace) {
            Ok(request) => request,
            Err(error) => {
                failed(None);
                return Err(error);
            }
        };
        reservation.when_ended(move |code| ended(Some(code)));
        self.starting.insert(process_id.clone().into(), Vec::new());
        Ok(Answer::Later(Box::pin(async move {
            let (text, process) = match reservation.start(request).await {
                Ok(process) => {
                    tracing::debug!(process = process_id, "process started");
                    let sandbox_type = Some("none".to_owned());
                    let result = StartResult {
                        process_id: process_id.clone(),
                        sandbox_type,
                    };
                    (reply(&id, &result), Some(process))
                }
                Err(error) => {
                    failed(None);
                    (refusal(&id, &errors::start(&error)), None)
                }
            };
            Finished {
                reply: text.into(),
                effect: Effect::Started(process_id.into(), process),
            }
        })))
    }

    pub(super) fn read(
        &mut self,
        session: &Table,
        message: &Text,
        id: RequestId,
        params: &ReadParams<'_>,
    ) -> Result<Answer, RpcError> {
        if self.park(&params.process_id, message) {
            return Ok(Answer::Waits);
        }
        let Lookup::Known(process) = session.lookup(&params.process_id) else {
            return Err(errors::unknown_process(&params.process_id));
        };
        let (after, max_bytes) = (params.after_seq, params.max_bytes);
        let page = process.read(after, max_bytes);
        if params.wait_ms == 0 || has_news(&page, after) {
            return Ok(self.page(id, page));
        }
        // Far beyond what a clock can say is as good as for ever.
        let deadline = Instant::now().checked_add(Duration::from_millis(params.wait_ms));
        let places = Arc::clone(&self.places);
        Ok(Answer::Later(Box::pin(async move {
            process.wait_news(after, deadline).await;
            let page = process.read(after, max_bytes);
            let reply = match is_quick(&page) {
                true => page_reply(&id, &page).into(),
                false => on_pool(places, Job::new(id, move |id| Ok(page_reply(id, &page)))).await,
            };
            Finished {
                reply,
                effect: Effect::Nothing,
            }
        })))
    }

    pub(super) fn write(
        &mut self,
        session: &Table,
        message: &Text,
        id: RequestId,
        params: &WriteParams<'_>,
    ) -> Result<Answer, RpcError> {
        if params.write_id.is_empty() || params.write_id.len() > WRITE_ID_BYTES_MAX {
            return Err(errors::invalid_params(format_args!(
                "writeId has 1 to {WRITE_ID_BYTES_MAX} bytes"
            )));
        }
        if self.park(&params.process_id, message) {
            return Ok(Answer::Waits);
        }
        let bytes = frame::read_base64(&params.chunk).ok_or_else(|| errors::base64("chunk"))?;
        let status = match session.lookup(&params.process_id) {
            Lookup::Unknown => WriteStatus::UnknownProcess,
            Lookup::Starting(_) => WriteStatus::Starting,
            Lookup::Known(process) => {
                match process.begin_write(&params.write_id, Bytes::from(bytes)) {
                    process::Write::Done(status) => wire_status(status),
                    process::Write::Waiting(pending) => {
                        return Ok(Answer::Later(Box::pin(async move {
                            let result = WriteResult {
                                status: wire_status(pending.await),
                            };
                            Finished {
                                reply: reply(&id, &result).into(),
                                effect: Effect::Nothing,
                            }
                        })));
                    }
                }
            }
        };
        Ok(Answer::Now(reply(&id, &WriteResult { status })))
    }

    pub(super) fn signal(
        &mut self,
        session: &Table,
        message: &Text,
        id: RequestId,
        params: &SignalParams<'_>,
    ) -> Result<Answer, RpcError> {
        let notice = notice(params.signal);
        if notice.is_some() && !HAS_NOTICES {
            return Err(errors::invalid_params("signal is not one of this system"));
        }
        if self.park(&params.process_id, message) {
            return Ok(Answer::Waits);
        }
        if let Lookup::Known(process) = session.lookup(&params.process_id) {
            self.kills(&params.process_id, "signal");
            match notice {
                None => process.interrupt(),
                Some(notice) => process.notify(notice),
            }
        }
        Ok(Answer::Now(reply(&id, &Empty {})))
    }

    pub(super) fn close_input(
        &mut self,
        session: &Table,
        message: &Text,
        id: RequestId,
        params: &CloseInputParams<'_>,
    ) -> Result<Answer, RpcError> {
        if self.park(&params.process_id, message) {
            return Ok(Answer::Waits);
        }
        let status = match session.lookup(&params.process_id) {
            Lookup::Unknown => WriteStatus::UnknownProcess,
            Lookup::Starting(_) => WriteStatus::Starting,
            Lookup::Known(process) => wire_status(process.end_input()),
        };
        Ok(Answer::Now(reply(&id, &WriteResult { status })))
    }

    pub(super) fn resize(
        &mut self,
        session: &Table,
        message: &Text,
        id: RequestId,
        params: &ResizeParams<'_>,
    ) -> Result<Answer, RpcError> {
        if self.park(&params.process_id, message) {
            return Ok(Answer::Waits);
        }
        // One that has ended, or has no terminal, has nothing that could be resized.
        if let Lookup::Known(process) = session.lookup(&params.process_id)
            && let Err(error) = process.resize(size(params.window))
        {
            tracing::debug!(%error, "a terminal was not resized");
        }
        Ok(Answer::Now(reply(&id, &Empty {})))
    }

    pub(super) fn terminate(
        &mut self,
        session: &Table,
        message: &Text,
        id: RequestId,
        params: &TerminateParams<'_>,
    ) -> Result<Answer, RpcError> {
        if self.park(&params.process_id, message) {
            return Ok(Answer::Waits);
        }
        let running = match session.lookup(&params.process_id) {
            Lookup::Known(process) => {
                let running = process.terminate();
                if running {
                    self.kills(&params.process_id, "terminate");
                }
                running
            }
            Lookup::Unknown | Lookup::Starting(_) => false,
        };
        Ok(Answer::Now(reply(&id, &TerminateResult { running })))
    }

    /// What commands of this call belong to. What is wrong with it is ignored, but not unnoticed.
    fn trace_of_commands(&self, trace: Option<&Trace>) -> Option<TraceContext> {
        let checked = trace.map(Trace::checked).unwrap_or_default();
        if checked.ignored {
            self.server.metrics().trace_ignored.increment(1);
            tracing::debug!("a trace context is ignored");
        }
        let of_call = checked.trace.and_then(TraceContext::of);
        TraceContext::for_commands(&Span::current(), of_call)
    }

    /// Keeps a message for a process that is being started here.
    fn park(&mut self, process_id: &str, message: &Text) -> bool {
        let Some(waiting) = self.starting.get_mut(process_id) else {
            return false;
        };
        waiting.push(message.clone());
        self.parked += 1;
        true
    }

    fn page(&self, id: RequestId, page: ReadPage<Held>) -> Answer {
        if is_quick(&page) {
            return Answer::Now(page_reply(&id, &page));
        }
        let job = Job::new(id, move |id| Ok(page_reply(id, &page)));
        Answer::Later(self.on_pool(job, Effect::Nothing))
    }
}

/// What is wrong with a start whatever the state of the session.
fn check(params: &StartParams) -> Result<(), RpcError> {
    if params.process_id.len() > PROCESS_ID_BYTES_MAX {
        return Err(errors::invalid_params(format_args!(
            "processId has at most {PROCESS_ID_BYTES_MAX} bytes"
        )));
    }
    if params.argv.is_empty() {
        return Err(errors::invalid_params("argv is empty"));
    }
    let scope = params
        .shell_snapshot
        .as_ref()
        .map(|snapshot| snapshot.scope_id.len());
    if scope.is_some_and(|bytes| !(1..=SNAPSHOT_SCOPE_BYTES_MAX).contains(&bytes)) {
        let why = format_args!("shellSnapshot.scopeId has 1 to {SNAPSHOT_SCOPE_BYTES_MAX} bytes");
        return Err(errors::invalid_params(why));
    }
    Ok(())
}

fn start_request(
    params: StartParams,
    trace: Option<TraceContext>,
) -> Result<StartRequest, RpcError> {
    let traced = trace.map(|trace| trace.variables(|name| sets(&params, name)));
    Ok(StartRequest {
        cwd: params
            .cwd
            .to_host()
            .map_err(|error| errors::invalid_params(&error))?,
        argv: params.argv,
        arg0: params.arg0,
        env: params
            .env
            .into_iter()
            .chain(traced.into_iter().flatten())
            .collect(),
        env_policy: params.env_policy.map(env_policy),
        stdio: StartRequest::stdio(params.tty, params.pipe_stdin, params.window.map(size)),
    })
}

/// Whether the caller chose a variable, however it is spelled: where that matters, case does not.
fn sets(params: &StartParams, name: &str) -> bool {
    let set = params
        .env_policy
        .iter()
        .flat_map(|policy| policy.set.keys());
    params
        .env
        .keys()
        .chain(set)
        .any(|set| set.eq_ignore_ascii_case(name))
}

fn env_policy(policy: WirePolicy) -> EnvPolicy {
    EnvPolicy {
        inherit: match policy.inherit {
            WireInherit::All => Inherit::All,
            WireInherit::Core => Inherit::Core,
            WireInherit::None => Inherit::None,
        },
        ignore_default_excludes: policy.ignore_default_excludes,
        exclude: policy.exclude,
        set: policy.set.into_iter().collect(),
        include_only: policy.include_only,
    }
}

fn size(window: Window) -> WindowSize {
    WindowSize {
        rows: window.rows,
        columns: window.columns,
    }
}

/// What a signal is beside the one that every peer knows.
fn notice(signal: Signal) -> Option<Notice> {
    match signal {
        Signal::Interrupt => None,
        Signal::Terminate => Some(Notice::Terminate),
        Signal::Hangup => Some(Notice::Hangup),
        Signal::Quit => Some(Notice::Quit),
    }
}

fn wire_status(status: process::WriteStatus) -> WriteStatus {
    match status {
        process::WriteStatus::Accepted => WriteStatus::Accepted,
        process::WriteStatus::StdinClosed => WriteStatus::StdinClosed,
    }
}

/// Whether a page is encoded sooner than handed to the pool.
fn is_quick(page: &ReadPage<Held>) -> bool {
    let bytes: usize = page.chunks.iter().map(|chunk| chunk.bytes.size()).sum();
    bytes <= PAGE_IN_PLACE_BYTES_MAX && !page.chunks.iter().any(|chunk| chunk.bytes.is_stored())
}

/// Whether a page says something a poll behind `after` would have waited for.
fn has_news(page: &ReadPage<Held>, after: u64) -> bool {
    !page.chunks.is_empty()
        || page.closed
        || (page.exit.is_some() && page.next_seq > after.saturating_add(1))
}

fn page_reply(id: &RequestId, page: &ReadPage<Held>) -> Text {
    let (mut out, mut fetched) = (String::new(), Vec::new());
    frame::reply_with(&mut out, id, |out| {
        out.push_str("{\"chunks\":[");
        let mut is_first = true;
        for chunk in &page.chunks {
            // What cannot be fetched is gone like what was dropped, and the gap shows it.
            let bytes = match chunk.bytes.load(&mut fetched) {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::error!(%error, "stored output is lost");
                    continue;
                }
            };
            if !std::mem::take(&mut is_first) {
                out.push(',');
            }
            frame::read_chunk(out, chunk.seq, chunk.stream, bytes);
        }
        out.push_str("],\"nextSeq\":");
        frame::write_unsigned(out, page.next_seq);
        let (exited, denied) = (
            page.exit.is_some(),
            page.exit.is_some_and(|exit| exit.sandbox_denied),
        );
        out.push_str(if exited {
            ",\"exited\":true,\"exitCode\":"
        } else {
            ",\"exited\":false,\"exitCode\":"
        });
        frame::write_json(out, &page.exit.map(|exit| exit.code));
        out.push_str(if page.closed {
            ",\"closed\":true"
        } else {
            ",\"closed\":false"
        });
        out.push_str(if denied {
            ",\"failure\":null,\"sandboxDenied\":true"
        } else {
            ",\"failure\":null,\"sandboxDenied\":false"
        });
        if let Some(bytes) = page.dropped_bytes {
            out.push_str(",\"farstepDroppedBytes\":");
            frame::write_unsigned(out, bytes);
        }
        out.push('}');
    });
    out.into()
}

#[cfg(test)]
mod tests {
    use farstep_protocol::method::process::{OutputStream, ReadChunk, ReadResult};
    use farstep_protocol::output::{Chunk, Exit};

    use super::*;

    #[test]
    fn a_page_says_what_its_type_reads() {
        let chunk = |seq, bytes: &'static [u8]| Chunk {
            seq,
            stream: OutputStream::Stderr,
            bytes: Held::Here(bytes.into()),
        };
        let page = ReadPage {
            chunks: vec![chunk(3, b"a"), chunk(4, b"")],
            next_seq: 6,
            exit: Some(Exit {
                code: 137,
                sandbox_denied: false,
            }),
            closed: false,
            first_retained: Some(3),
            dropped_bytes: Some(17),
        };
        let text = page_reply(&RequestId::from(9), &page);
        let result = text
            .strip_prefix(r#"{"id":9,"result":"#)
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap();
        let wire = |seq, chunk: &'static str| ReadChunk {
            seq,
            stream: OutputStream::Stderr,
            chunk: chunk.into(),
        };
        let wanted = ReadResult {
            chunks: vec![wire(3, "YQ=="), wire(4, "")],
            next_seq: 6,
            exited: true,
            exit_code: Some(137),
            closed: false,
            failure: None,
            sandbox_denied: Some(false),
            dropped_bytes: Some(17),
        };
        assert_eq!(
            serde_json::from_str::<ReadResult<'_>>(result).unwrap(),
            wanted
        );
    }

    #[test]
    fn a_poll_behind_the_exit_waits_for_the_close() {
        let page = |next_seq, exited: bool, closed| ReadPage {
            chunks: vec![],
            next_seq,
            exit: exited.then_some(Exit {
                code: 0,
                sandbox_denied: false,
            }),
            closed,
            first_retained: None,
            dropped_bytes: None,
        };
        assert!(!has_news(&page(1, false, false), 0));
        assert!(has_news(&page(2, true, false), 0));
        assert!(!has_news(&page(2, true, false), 1));
        assert!(has_news(&page(3, true, true), 2));
        assert!(!has_news(&page(2, true, false), u64::MAX));
    }
}
