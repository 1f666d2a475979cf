//! A caller that follows processes by notifications and, after a loss, by pages.

use farstep_protocol::caller::{Caller, Event};
use farstep_protocol::frame::{self, read_base64};
use farstep_protocol::method::process::{
    CLOSED, ClosedParams, EXITED, ExitedParams, OUTPUT, OutputParams, READ, ReadParams, ReadResult,
};
use farstep_protocol::reorder::Reorder;
use farstep_protocol::rpc::{ErrorCode, Params, RequestId, RpcError};

/// What a call was for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Resume,
    Page { process: usize, after: u64 },
}

pub(crate) struct Client {
    calls: Caller<Asked>,
    followed: Vec<Followed>,
    page_bytes: u64,
    pub(crate) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    Connected,
    /// The connection is gone.
    Lost,
    /// Asked for the session on a new one.
    Asking,
    /// The executor does not know the session any more.
    Forgotten,
}

struct Followed {
    order: Reorder<Said>,
    heard: Vec<u8>,
    closed: bool,
    /// Pages are being read; until they reach the present, nothing else is known to be whole.
    catching_up: bool,
}

enum Said {
    Output(Vec<u8>),
    /// A position that holds no output, and perhaps the last.
    Nothing,
    Closed,
}

impl Client {
    pub(crate) fn new(processes: usize, page_bytes: u64) -> Client {
        let followed = |_| Followed {
            order: Reorder::default(),
            heard: Vec::new(),
            closed: false,
            catching_up: false,
        };
        Client {
            calls: Caller::new(64),
            followed: (0..processes).map(followed).collect(),
            page_bytes,
            phase: Phase::Connected,
        }
    }

    /// What was heard of `process`.
    pub(crate) fn heard(&self, process: usize) -> &[u8] {
        &self.followed[process].heard
    }

    pub(crate) fn has_heard_all(&self) -> bool {
        self.followed.iter().all(|followed| followed.closed)
    }

    pub(crate) fn lose(&mut self) {
        let _given_up = self.calls.drain().count();
        self.phase = Phase::Lost;
    }

    /// A new connection: asks for the session.
    pub(crate) fn ask_again(&mut self) -> Result<RequestId, String> {
        self.phase = Phase::Asking;
        self.calls
            .register(Asked::Resume)
            .map_err(|why| why.to_string())
    }

    /// Takes a message in; what is to be sent is pushed to `out`.
    pub(crate) fn take(&mut self, text: &str, out: &mut Vec<String>) -> Result<(), String> {
        let event = self
            .calls
            .handle_text(text)
            .map_err(|why| why.to_string())?;
        match event {
            Event::Notification { method, params } => self.notified(&method, params),
            Event::Reply {
                tag: Asked::Resume,
                outcome,
            } => self.resumed(outcome.map(drop), out),
            Event::Reply {
                tag: Asked::Page { process, after },
                outcome,
            } => {
                let page = outcome.map_err(|why| why.to_string())?;
                let page = serde_json::from_str(page).map_err(|why| why.to_string())?;
                self.page(process, after, &page, out)
            }
            Event::Request(_) | Event::Stray(_) => Err(format!("nobody asked for {text}")),
        }
    }

    fn notified(&mut self, method: &str, params: Params<'_>) -> Result<(), String> {
        let wrong = |why: RpcError| why.to_string();
        let (process, seq, said) = match method {
            OUTPUT => {
                let params: OutputParams<'_> = params.parse().map_err(wrong)?;
                let bytes = read_base64(&params.chunk).ok_or("no base64")?;
                (params.process_id, params.seq, Said::Output(bytes))
            }
            EXITED => {
                let params: ExitedParams<'_> = params.parse().map_err(wrong)?;
                (params.process_id, params.seq, Said::Nothing)
            }
            CLOSED => {
                let params: ClosedParams<'_> = params.parse().map_err(wrong)?;
                (params.process_id, params.seq, Said::Closed)
            }
            other => return Err(format!("{other} was never announced")),
        };
        let process: usize = process.parse().map_err(|_| "whose?".to_owned())?;
        self.followed[process].hear(seq, said)
    }

    fn resumed(
        &mut self,
        outcome: Result<(), RpcError>,
        out: &mut Vec<String>,
    ) -> Result<(), String> {
        match outcome {
            Ok(()) => {
                self.phase = Phase::Connected;
                for process in 0..self.followed.len() {
                    self.followed[process].catching_up = true;
                    self.read_on(process, out)?;
                }
            }
            // The other side has not noticed yet that the old connection is gone.
            Err(error) if error.is(ErrorCode::SessionAttached) => self.phase = Phase::Lost,
            Err(_) => self.phase = Phase::Forgotten,
        }
        Ok(())
    }

    fn read_on(&mut self, process: usize, out: &mut Vec<String>) -> Result<(), String> {
        let after = self.followed[process].order.next_seq() - 1;
        let asked = Asked::Page { process, after };
        let id = self.calls.register(asked).map_err(|why| why.to_string())?;
        let params = ReadParams {
            process_id: process.to_string().into(),
            after_seq: after,
            max_bytes: Some(self.page_bytes),
            wait_ms: 0,
        };
        let mut text = String::new();
        frame::request(&mut text, &id, READ, &params);
        out.push(text);
        Ok(())
    }

    fn page(
        &mut self,
        process: usize,
        after: u64,
        page: &ReadResult<'_>,
        out: &mut Vec<String>,
    ) -> Result<(), String> {
        let followed = &mut self.followed[process];
        let mut expected = after + 1;
        for chunk in &page.chunks {
            // Only the exit has no chunk and chunks behind it.
            if chunk.seq > expected + 1 || chunk.seq < expected {
                return Err(format!("{expected} is gone, {} is next", chunk.seq));
            }
            if chunk.seq == expected + 1 {
                followed.hear(expected, Said::Nothing)?;
            }
            let bytes = read_base64(&chunk.chunk).ok_or("no base64")?;
            followed.hear(chunk.seq, Said::Output(bytes))?;
            expected = chunk.seq + 1;
        }
        for seq in expected..page.next_seq {
            let is_last = seq + 1 == page.next_seq && page.closed;
            followed.hear(seq, if is_last { Said::Closed } else { Said::Nothing })?;
        }
        followed.catching_up = !page.chunks.is_empty();
        if followed.catching_up {
            self.read_on(process, out)?;
        }
        Ok(())
    }
}

impl Followed {
    fn hear(&mut self, seq: u64, said: Said) -> Result<(), String> {
        let size = match &said {
            Said::Output(bytes) => bytes.len(),
            Said::Nothing | Said::Closed => 0,
        };
        let (heard, closed) = (&mut self.heard, &mut self.closed);
        let mut late = false;
        let pushed = self.order.push(seq, size, said, |_, said| {
            late |= *closed;
            match said {
                Said::Output(bytes) => heard.extend(bytes),
                Said::Nothing => {}
                Said::Closed => *closed = true,
            }
        });
        if late {
            return Err("something was said behind the close".to_owned());
        }
        pushed.map_err(|why| why.to_string())
    }
}
