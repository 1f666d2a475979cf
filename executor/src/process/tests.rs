//! Real processes, through the same calls that a connection makes.

mod input;
mod lifecycle;
mod output;
mod retention;
mod table;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use farstep_protocol::method::process::OutputStream;
use farstep_protocol::output::{Chunk, Event, ReadPage, Seq};

use super::*;

/// A session on an executor of its own.
struct Bench {
    host: Arc<Host>,
    table: Table,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(Settings::default())
    }

    fn with(settings: Settings) -> Bench {
        let host = Host::new(settings, [("PATH".into(), "/usr/bin:/bin".into())]);
        let table = Table::new(Arc::clone(&host), Arc::clone(host.base()));
        Bench { host, table }
    }

    /// Started and announced.
    async fn start(&self, id: &str, request: StartRequest) -> Arc<Process> {
        let reservation = self.table.reserve(id).unwrap();
        let process = reservation.start(request).await.unwrap();
        process.announce();
        process
    }

    /// What the attached connection is told until `enough`.
    async fn until(&self, mut enough: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let process = self.table.ready().next().await;
            while let Some(event) = take(&process) {
                let done = enough(&event);
                events.push(event);
                if done {
                    self.table.ready().put_back(process);
                    return events;
                }
            }
        }
    }

    async fn until_closed(&self) -> Vec<Event> {
        self.until(|event| matches!(event, Event::Closed { .. }))
            .await
    }

    async fn until_output(&self, wanted: &str) -> Vec<Event> {
        let mut text = Vec::new();
        self.until(|event| {
            if let Event::Output(chunk) = event {
                text.extend_from_slice(&chunk.bytes);
            }
            String::from_utf8_lossy(&text).contains(wanted)
        })
        .await
    }
}

fn request(argv: &[&str], tty: bool, pipe_stdin: bool) -> StartRequest {
    StartRequest {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        arg0: None,
        cwd: "/".into(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        env_policy: None,
        stdio: StartRequest::stdio(tty, pipe_stdin, None),
    }
}

fn sh(script: &str) -> StartRequest {
    request(&["/bin/sh", "-c", script], false, false)
}

fn sh_with_input(script: &str) -> StartRequest {
    request(&["/bin/sh", "-c", script], false, true)
}

fn sh_on_terminal(script: &str) -> StartRequest {
    request(&["/bin/sh", "-c", script], true, false)
}

fn text(events: &[Event], wanted: OutputStream) -> String {
    let mut text = Vec::new();
    for event in events {
        if let Event::Output(chunk) = event
            && chunk.stream == wanted
        {
            text.extend_from_slice(&chunk.bytes);
        }
    }
    String::from_utf8(text).unwrap()
}

/// The exit code; checks on the way that the events are whole and in order.
fn code(events: &[Event]) -> i32 {
    let seqs: Vec<_> = events.iter().map(Event::seq).collect();
    let first = seqs[0];
    let gapless: Vec<_> = (first..first + seqs.len() as Seq).collect();
    assert_eq!(seqs, gapless);
    assert!(matches!(events.last(), Some(Event::Closed { .. })));
    let exits = events.iter().filter_map(|event| match event {
        Event::Exited { exit, .. } => Some(exit.code),
        _ => None,
    });
    let exits: Vec<_> = exits.collect();
    assert_eq!(exits.len(), 1);
    exits[0]
}

/// The next event, with its bytes.
fn take(process: &Process) -> Option<Event> {
    Some(match process.take_event()? {
        Event::Output(chunk) => Event::Output(Chunk {
            seq: chunk.seq,
            stream: chunk.stream,
            bytes: bytes(&chunk.bytes),
        }),
        Event::Exited { seq, exit } => Event::Exited { seq, exit },
        Event::Closed { seq } => Event::Closed { seq },
    })
}

fn bytes(held: &Held) -> Bytes {
    held.load(&mut Vec::new()).unwrap().to_vec().into()
}

fn whole(page: &ReadPage<Held>) -> Vec<u8> {
    page.chunks
        .iter()
        .flat_map(|chunk| bytes(&chunk.bytes))
        .collect()
}

/// Waits until the process is held up.
async fn until_paused(process: &Process) {
    let mut seen = 0;
    while !process.is_paused() {
        tokio::select! {
            () = process.wait_news(seen, None) => {}
            // It may be held up right behind its last news.
            () = tokio::task::yield_now() => {}
        }
        seen = process.read(u64::MAX, None).next_seq - 1;
    }
}

fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).exists()
}

/// Waits for the end of a process that is nobody's child here, by watching its descriptor.
async fn gone(pid: &str) {
    let Some(pid) = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()) else {
        return;
    };
    let flags = rustix::process::PidfdFlags::empty();
    if let Ok(fd) = rustix::process::pidfd_open(pid, flags) {
        let ended = tokio::task::spawn_blocking(move || {
            let mut fds = [rustix::event::PollFd::new(
                &fd,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, None).map(drop)
        });
        ended.await.unwrap().unwrap();
    }
}

async fn write(process: &Arc<Process>, id: &str, bytes: impl Into<Bytes>) -> WriteStatus {
    match process.begin_write(id, bytes.into()) {
        Write::Done(status) => status,
        Write::Waiting(pending) => pending.await,
    }
}

/// The actor books a close after it was announced.
async fn until_remembered(bench: &Bench) {
    until_open(bench, 0).await;
}

async fn until_open(bench: &Bench, count: usize) {
    while bench.table.open() != count {
        tokio::task::yield_now().await;
    }
}
