//! The task that owns one child from its start to its close.
//!
//! It ends when the process is closed: the program has ended and either both outputs have, or the
//! process was terminated and what its output still held was read. Every descriptor is closed by
//! then. Aborting the task drops the child, and with it the group is killed.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use farstep_protocol::method::process::OutputStream;

use super::Process;
use super::reader::{Piece, Reader};
use crate::os::{ExitWatch, Output};

/// What is read at most from one output of a terminated process: more than a pipe holds, and an
/// end, should a survivor go on writing.
const LAST_WORDS_MAX: usize = 2 * 1024 * 1024;
/// From here on sending a piece takes longer than waking a worker.
const WORTH_SHARING: usize = 32 * 1024;
/// What a process is said to have answered whose end was taken from us. Not possible as long as
/// nobody else in this program waits for children.
const UNKNOWN_EXIT: i32 = 255;

/// Told the exit code of a program, once, when it has ended.
pub struct WhenEnded(Box<dyn FnOnce(i32) + Send + Sync>);

impl WhenEnded {
    pub fn new(tell: impl FnOnce(i32) + Send + Sync + 'static) -> WhenEnded {
        WhenEnded(Box::new(tell))
    }
}

impl fmt::Debug for WhenEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WhenEnded")
    }
}

/// The task, before it runs. It holds the parts of a child that nobody else touches.
pub(super) struct Actor {
    process: Arc<Process>,
    exit: Option<ExitWatch>,
    stdout: Reader,
    stderr: Option<Reader>,
    stderr_first: bool,
    when_ended: Option<WhenEnded>,
}

enum Happened {
    Exited(i32),
    Stdout(Piece),
    Stderr(Piece),
}

impl Actor {
    pub(super) fn new(
        process: Arc<Process>,
        exit: ExitWatch,
        stdout: Output,
        stderr: Option<Output>,
        when_ended: Option<WhenEnded>,
    ) -> Actor {
        let first = if stdout.is_terminal() {
            OutputStream::Pty
        } else {
            OutputStream::Stdout
        };
        Actor {
            process,
            exit: Some(exit),
            stdout: Reader::new(stdout, first),
            stderr: stderr.map(|output| Reader::new(output, OutputStream::Stderr)),
            stderr_first: false,
            when_ended,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.is_over() {
            match self.next().await {
                Happened::Exited(code) => self.exited(code),
                Happened::Stdout(piece) => {
                    let len = record(&self.process, &mut self.stdout, piece);
                    make_way(len).await;
                }
                Happened::Stderr(piece) => {
                    if let Some(stderr) = &mut self.stderr {
                        let len = record(&self.process, stderr, piece);
                        make_way(len).await;
                    }
                }
            }
        }
        self.process.closed();
    }

    fn is_over(&self) -> bool {
        self.exit.is_none()
            && self.stdout.is_ended()
            && self.stderr.as_ref().is_none_or(Reader::is_ended)
    }

    async fn next(&mut self) -> Happened {
        let inputs = self.process.inputs();
        poll_fn(|cx| self.poll(cx, inputs)).await
    }

    /// Only finds out what happened; state changes in the caller. For a piece of output room is
    /// reserved until it is recorded.
    fn poll(&mut self, cx: &mut Context<'_>, inputs: u64) -> Poll<Happened> {
        // The end beats output, which may never end; input beats output, because a program that
        // reads nothing may have nothing to say.
        if let Some(exit) = &mut self.exit {
            if let Poll::Ready(code) = exit.poll_exit(cx) {
                return Poll::Ready(Happened::Exited(code.unwrap_or_else(|error| {
                    tracing::error!(%error, "the end of a process is lost");
                    UNKNOWN_EXIT
                })));
            }
            self.process.stdin().pump(cx);
        }
        let Some(room) = self.process.reserve(cx) else {
            return Poll::Pending;
        };
        // Neither output may starve the other.
        self.stderr_first = !self.stderr_first;
        for stderr in [self.stderr_first, !self.stderr_first] {
            let reader = if stderr {
                self.stderr.as_mut()
            } else {
                Some(&mut self.stdout)
            };
            if let Some(reader) = reader
                && !reader.is_ended()
            {
                reader.prepare(|| self.process.take_evicted());
                let Poll::Ready(piece) = reader.poll_piece(cx, inputs, room) else {
                    continue;
                };
                return Poll::Ready(match stderr {
                    true => Happened::Stderr(piece),
                    false => Happened::Stdout(piece),
                });
            }
        }
        self.process.release();
        Poll::Pending
    }

    fn exited(&mut self, code: i32) {
        self.exit = None;
        if let Some(WhenEnded(tell)) = self.when_ended.take() {
            tell(code);
        }
        self.process.stdin().close();
        let terminated = self.process.was_terminated();
        for reader in [Some(&mut self.stdout), self.stderr.as_mut()]
            .into_iter()
            .flatten()
        {
            if terminated {
                take_last_words(&self.process, reader);
                reader.close();
            } else if self.process.has_room()
                && let Some(room) = self.process.reserve_now()
                && let Some(piece) = reader.take_now(room)
            {
                // What it wrote just before its end is most useful before the news of it.
                record(&self.process, reader, piece);
            }
        }
        self.process.release();
        self.process.exited(code);
    }
}

/// Returns how much it was.
fn record(process: &Arc<Process>, reader: &mut Reader, piece: Piece) -> usize {
    match piece {
        Piece::Bytes(bytes) => {
            let len = bytes.len();
            process.output(reader.stream(), bytes);
            len
        }
        Piece::End => {
            reader.close();
            process.release();
            0
        }
    }
}

/// After a large piece, lets another worker go on here while this one sends what was read.
///
/// Whoever is woken by us runs on this worker and nobody else may take it, but they may take us.
async fn make_way(len: usize) {
    let mut made = len < WORTH_SHARING;
    poll_fn(|cx| {
        if std::mem::replace(&mut made, true) {
            return Poll::Ready(());
        }
        // Not the runtime's own way to yield: that would keep us where we are.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Takes out what was written before the kill, whether the log is full or not: it is little, and
/// would be lost otherwise. It is, when the executor may retain no more: a kill does not wait.
fn take_last_words(process: &Arc<Process>, reader: &mut Reader) {
    let mut taken = 0;
    while taken < LAST_WORDS_MAX
        && let Some(room) = process.reserve_now()
        && let Some(Piece::Bytes(bytes)) = reader.take_now(room)
    {
        taken += bytes.len();
        process.output(reader.stream(), bytes);
    }
}
