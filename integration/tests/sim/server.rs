//! An executor without processes: real logs, real frames, output out of thin air.

use bytes::Bytes;
use farstep_integration::Luck;
use farstep_protocol::frame;
use farstep_protocol::method::process::{
    CLOSED, ClosedParams, EXITED, ExitedParams, OutputStream, ReadParams,
};
use farstep_protocol::output::{Event, Exit, Limits, OutputLog};
use farstep_protocol::rpc::{self, ErrorCode, Message, RequestId, RpcError};

/// What one log keeps. A connection holds less than `in_flight_bytes`, so nothing may be lost.
pub(crate) const LIMITS: Limits = Limits {
    retained_bytes: 24_000,
    retained_chunks: 4_000,
    backlog_bytes: 2_000,
    in_flight_bytes: 10_000,
};

/// The longest piece of output.
pub(crate) const PIECE_MAX: u64 = 400;

pub(crate) struct Server {
    /// Which life of the executor this is; it knows no session of an earlier one.
    pub(crate) life: u64,
    processes: Vec<Source>,
    /// Whether it believes to have a connection.
    pub(crate) attached: bool,
}

struct Source {
    log: OutputLog,
    written: Vec<u8>,
    /// How much it still wants to write.
    left: u64,
}

impl Server {
    pub(crate) fn start(life: u64, processes: usize, luck: &mut Luck) -> Server {
        let source = |_| Source {
            log: OutputLog::new(LIMITS),
            written: Vec::new(),
            left: luck.between(0, 45_000),
        };
        Server {
            life,
            processes: (0..processes).map(source).collect(),
            attached: true,
        }
    }

    /// What `process` wrote in all.
    pub(crate) fn written(&self, process: usize) -> &[u8] {
        &self.processes[process].written
    }

    /// Programs go on, as far as their logs let them.
    pub(crate) fn run(&mut self, luck: &mut Luck) -> Result<(), String> {
        for source in &mut self.processes {
            if source.log.is_closed() || luck.once_in(3) {
                continue;
            }
            let length = luck.between(1, PIECE_MAX + 1).min(source.left);
            let room = usize::try_from(length).unwrap_or_default();
            if source.left == 0 {
                if source.log.exit().is_none() {
                    source.log.exited(Exit {
                        code: 0,
                        sandbox_denied: false,
                    });
                } else {
                    source.log.closed();
                }
            } else if source.log.can_accept(room) {
                let piece: Vec<u8> = (0..length).map(|_| luck.draw().to_le_bytes()[0]).collect();
                source.left -= length;
                source.written.extend(&piece);
                source.log.push(OutputStream::Stdout, Bytes::from(piece));
            }
            let held = source.log.retained_bytes();
            if held > LIMITS.retained_bytes + usize::try_from(PIECE_MAX).unwrap_or_default() {
                return Err(format!("{held} bytes are retained"));
            }
        }
        Ok(())
    }

    /// The next thing some process says, while attached.
    pub(crate) fn say(&mut self, luck: &mut Luck) -> Option<String> {
        let first = luck.between(0, self.processes.len() as u64) as usize;
        let order = (first..self.processes.len()).chain(0..first);
        for process in order {
            if let Some(event) = self.processes[process].log.take() {
                return Some(notification(process, &event));
            }
        }
        None
    }

    /// The connection is gone, as far as it can tell.
    pub(crate) fn detach(&mut self) {
        self.attached = false;
        for source in &mut self.processes {
            source.log.detach();
        }
    }

    /// Answers what arrived on the connection that it serves.
    pub(crate) fn answer(&mut self, text: &str) -> Result<Option<String>, String> {
        let message = rpc::parse(text, &rpc::Limits::default()).map_err(|why| why.to_string())?;
        let Message::Request(request) = message else {
            return Ok(None);
        };
        let mut out = String::new();
        let params: ReadParams<'_> = request.params.parse().map_err(|why| why.to_string())?;
        let process: usize = params.process_id.parse().map_err(|_| "whose?".to_owned())?;
        let log = &mut self.processes[process].log;
        let page = log.read(params.after_seq, params.max_bytes);
        frame::reply_with(&mut out, &request.id, |out| {
            out.push_str("{\"chunks\":[");
            for (at, chunk) in page.chunks.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                frame::read_chunk(out, chunk.seq, chunk.stream, &chunk.bytes);
            }
            out.push_str(&format!(
                "],\"nextSeq\":{},\"exited\":{},\"exitCode\":null,\"closed\":{}}}",
                page.next_seq,
                page.exit.is_some(),
                page.closed
            ));
        });
        Ok(Some(out))
    }

    /// Takes the session up for a new connection, or says why not.
    pub(crate) fn resume(&mut self, id: &RequestId, life: u64) -> String {
        let refused = if life != self.life {
            Some(ErrorCode::InvalidRequest)
        } else if self.attached {
            Some(ErrorCode::SessionAttached)
        } else {
            None
        };
        let mut out = String::new();
        match refused {
            Some(code) => frame::refusal(&mut out, id, &RpcError::new(code, "refused")),
            None => {
                self.attached = true;
                for source in &mut self.processes {
                    source.log.attach();
                }
                frame::reply(&mut out, id, &self.life);
            }
        }
        out
    }
}

fn notification(process: usize, event: &Event) -> String {
    let id = process.to_string();
    let mut out = String::new();
    match event {
        Event::Output(chunk) => {
            frame::process_output(&mut out, &id, chunk.seq, chunk.stream, &chunk.bytes)
        }
        Event::Exited { seq, exit } => {
            let params = ExitedParams {
                process_id: id.into(),
                seq: *seq,
                exit_code: exit.code.into(),
                sandbox_denied: None,
            };
            frame::notification(&mut out, EXITED, &params);
        }
        Event::Closed { seq } => {
            let params = ClosedParams {
                process_id: id.into(),
                seq: *seq,
            };
            frame::notification(&mut out, CLOSED, &params);
        }
    }
    out
}
