//! A record as its line of JSON.
//!
//! The members before `prev` say what happened; `prev` is the digest of the line before and is
//! always the last member, so that a reader may check the chain without a parser of JSON.

use std::fmt::Write as _;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::event::{Event, ProcessStart, Who};
use crate::shown::write_json;

/// Bytes of JSON of one text. A path has 4096 at most; what is longer ends in `…`.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Bytes of JSON of all arguments together, when they are recorded at all.
const ARGV_BYTES_MAX: usize = 32 * 1024;

/// No line is longer. The longest has two long texts, the arguments and the names of variables.
pub(super) const LINE_BYTES_MAX: usize = 128 * 1024;

/// What stands in `prev` of the first line of all.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One record that waits for its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) who: Who,
    pub(super) event: Event,
}

/// Appends the line of `entry`, without its end, and returns its digest.
pub(super) fn write(out: &mut String, entry: &Entry, pid: u32, seq: u64, prev: &str) -> String {
    let start = out.len();
    // A string takes whatever is written to it, here and below.
    let _ = write!(
        out,
        r#"{{"t":"{:.3}","seq":{seq},"ev":"{}","pid":{pid}"#,
        entry.at,
        entry.event.name()
    );
    who(out, &entry.who);
    details(out, &entry.event);
    let _ = write!(out, r#","prev":"{prev}"}}"#);
    digest(&out.as_bytes()[start..])
}

/// The digest of a line, as the next one carries it.
pub(super) fn digest(line: &[u8]) -> String {
    hex(&Sha256::digest(line))
}

/// The digest of a program's arguments: equal commands are found without being shown.
pub fn argv_digest(argv: &[String]) -> String {
    let mut hash = Sha256::new();
    for argument in argv {
        hash.update(argument);
        hash.update([0]);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

fn who(out: &mut String, who: &Who) {
    if let Some(conn) = who.conn {
        let _ = write!(out, r#","conn":"c{conn}""#);
    }
    if let Some(session) = &who.session {
        text(out, "session", session);
    }
    if let Some(principal) = &who.principal {
        text(out, "principal", principal);
    }
    if let Some(peer) = who.peer {
        let _ = write!(out, r#","peer":"{peer}""#);
    }
}

fn details(out: &mut String, event: &Event) {
    match event {
        Event::Start => text(out, "version", env!("CARGO_PKG_VERSION")),
        Event::Stop | Event::Connect => {}
        Event::SessionNew | Event::SessionResume | Event::SessionDetach => {}
        Event::Listen { address } => text(out, "address", address),
        Event::AuthOk { mode } => text(out, "mode", mode),
        Event::AuthFail { mode, why } => {
            text(out, "mode", mode);
            text(out, "why", why);
        }
        Event::SessionEnd { why } => text(out, "why", why),
        Event::ProcessStart(start) => process_start(out, start),
        Event::ProcessExit { process, code } => {
            text(out, "process", process);
            match code {
                Some(code) => number(out, "code", code),
                None => flag(out, "failed_to_start", true),
            }
        }
        Event::ProcessKill { process, why } => {
            text(out, "process", process);
            text(out, "why", why);
        }
        Event::FsWrite { path, bytes } => {
            text(out, "path", path);
            if let Some(bytes) = bytes {
                number(out, "bytes", bytes);
            }
        }
        Event::FsRemove { path, recursive } => {
            text(out, "path", path);
            flag(out, "recursive", *recursive);
        }
        Event::FsCopy {
            from,
            to,
            recursive,
        } => {
            text(out, "from", from);
            text(out, "to", to);
            flag(out, "recursive", *recursive);
        }
        Event::FsRename { from, to } => {
            text(out, "from", from);
            text(out, "to", to);
        }
        Event::FsMode { path, mode } => {
            text(out, "path", path);
            text(out, "mode", &format!("{mode:03o}"));
        }
        Event::FsTimes {
            path,
            modified_at_ms,
        } => {
            text(out, "path", path);
            number(out, "modifiedAtMs", *modified_at_ms);
        }
        Event::FsRead { path } => text(out, "path", path),
        Event::SandboxRefused { method, member } => {
            text(out, "method", method);
            text(out, "member", member);
        }
        Event::HttpRequest {
            host,
            status,
            refused,
        } => {
            text(out, "host", host);
            if let Some(status) = status {
                number(out, "status", status);
            }
            if let Some(why) = refused {
                text(out, "refused", why);
            }
        }
        Event::LimitHit { limit } => text(out, "limit", limit),
        Event::ConfigChange { what } => text(out, "what", what),
        Event::Lost { count } => number(out, "count", count),
    }
}

fn process_start(out: &mut String, start: &ProcessStart) {
    text(out, "process", &start.process);
    text(out, "argv0", &start.argv0);
    text(out, "argv_sha256", &start.argv_sha256);
    if let Some(argv) = &start.argv {
        texts(out, "argv", argv, ARGV_BYTES_MAX);
    }
    text(out, "cwd", &start.cwd);
    flag(out, "tty", start.tty);
    text(out, "sandbox", start.sandbox);
    if let Some(digest) = &start.sandbox_sha256 {
        text(out, "sandbox_sha256", digest);
    }
    texts(out, "env_names", &start.env_names, TEXT_BYTES_MAX);
    if start.env_names_more > 0 {
        number(out, "env_names_more", start.env_names_more);
    }
    let optional = [
        ("thread", &start.thread),
        ("tool_call", &start.tool_call),
        ("trace", &start.trace),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            text(out, name, value);
        }
    }
}

fn text(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, r#","{name}":"#);
    write_json(out, value, TEXT_BYTES_MAX);
}

/// A list of texts with so many bytes together; those that find no room are left out, and the
/// last one says that there were more.
fn texts(out: &mut String, name: &str, values: &[String], bytes_max: usize) {
    let _ = write!(out, r#","{name}":["#);
    let end = out.len() + bytes_max;
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let room = end.saturating_sub(out.len());
        if room == 0 {
            write_json(out, "…", TEXT_BYTES_MAX);
            break;
        }
        write_json(out, value, room);
    }
    out.push(']');
}

fn number(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = write!(out, r#","{name}":{value}"#);
}

fn flag(out: &mut String, name: &str, value: bool) {
    number(out, name, value);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(who: Who, event: Event) -> Value {
        let at = Timestamp::from_millisecond(1_763_680_988_000).unwrap();
        let mut out = String::new();
        let digest = write(&mut out, &Entry { at, who, event }, 7, 4711, GENESIS);
        assert_eq!(digest, super::digest(out.as_bytes()));
        assert!(out.ends_with(&format!(r#","prev":"{GENESIS}"}}"#)));
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn a_start_is_told_with_names_and_digests() {
        let who = Who {
            conn: Some(9),
            peer: Some("127.0.0.1:53320".parse().unwrap()),
            principal: Some("tok:7be1".into()),
            session: Some("4f00aa11".into()),
        };
        let argv = ["/usr/bin/cargo".to_owned(), "test".to_owned()];
        let start = ProcessStart {
            process: "p-3".into(),
            argv0: argv[0].clone(),
            argv_sha256: argv_digest(&argv),
            cwd: "file:///srv/app".into(),
            sandbox: "none",
            env_names: vec!["PATH".into(), "CARGO_HOME".into()],
            thread: Some("t".into()),
            ..ProcessStart::default()
        };
        let wanted = json!({
            "t": "2025-11-20T23:23:08.000Z", "seq": 4711, "ev": "process.start", "pid": 7,
            "conn": "c9", "session": "4f00aa11", "principal": "tok:7be1", "peer": "127.0.0.1:53320",
            "process": "p-3", "argv0": "/usr/bin/cargo",
            "argv_sha256": ARGV_SHA256,
            "cwd": "file:///srv/app", "tty": false, "sandbox": "none",
            "env_names": ["PATH", "CARGO_HOME"], "thread": "t", "prev": GENESIS,
        });
        assert_eq!(written(who, Event::ProcessStart(Box::new(start))), wanted);
    }

    /// `printf '/usr/bin/cargo\0test\0' | sha256sum`
    const ARGV_SHA256: &str = "ea2597834eeec6faeb0d8d7ab492a63b0f44ead035718d8e13536c0399d6825b";

    #[test]
    fn the_longest_record_fits_into_its_line() {
        let long = || "\u{202e}".repeat(1 << 20);
        let start = ProcessStart {
            process: long().into(),
            argv0: long(),
            argv: Some(vec![long(), long()]),
            cwd: long(),
            env_names: vec![long(); 64],
            thread: Some(long()),
            tool_call: Some(long()),
            ..ProcessStart::default()
        };
        let entry = Entry {
            at: Timestamp::UNIX_EPOCH,
            who: Who::default(),
            event: Event::ProcessStart(Box::new(start)),
        };
        let mut out = String::new();
        write(&mut out, &entry, u32::MAX, u64::MAX, GENESIS);
        assert!(out.len() < LINE_BYTES_MAX, "{}", out.len());
        let read: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["argv"][1], "…");
    }
}
