//! Where lines of the log go, without ever waiting for whoever should read them.
//!
//! Standard error is often a pipe, and not everybody who starts an executor reads it. A pipe that
//! is full would stop the thread that logs, and with it connections that have nothing to do with
//! the log. So what is not taken is lost, counted, and told when lines are taken again.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;
use crate::background::Log;
use crate::os;

/// How long a line waits for a reader who was quick until now. One who let a line wait that long
/// is not waited for again before he has read something.
const PATIENCE: Duration = Duration::from_millis(100);

/// What takes bytes, or does not.
pub(super) trait Place: Send + 'static {
    /// Whether it takes [`os::STDERR_PIECE`] bytes without making us wait, now or within a time.
    fn takes(&mut self, within: Duration) -> bool;

    fn put(&mut self, bytes: &[u8]);
}

/// Standard error of this process.
#[derive(Debug)]
pub(super) struct Stderr {
    /// The file it is, if it is one that must not grow for ever.
    file: Option<Log>,
}

impl Stderr {
    pub(super) fn new(file: Option<Log>) -> Stderr {
        Stderr { file }
    }
}

impl Place for Stderr {
    fn takes(&mut self, within: Duration) -> bool {
        os::stderr_takes(within)
    }

    fn put(&mut self, bytes: &[u8]) {
        // Nobody is left to tell.
        let _ = io::stderr().write_all(bytes);
        if let Some(file) = &mut self.file {
            file.wrote(bytes.len());
        }
    }
}

/// The way of each line to its place.
#[derive(Debug)]
pub(super) struct Outlet<P> {
    format: LogFormat,
    state: Mutex<State<P>>,
}

#[derive(Debug)]
struct State<P> {
    place: P,
    /// The end of a line whose beginning was taken.
    rest: Vec<u8>,
    /// Whoever reads is not reading.
    is_stuck: bool,
    lost: u64,
}

impl<P: Place> Outlet<P> {
    pub(super) fn new(format: LogFormat, place: P) -> Outlet<P> {
        Outlet {
            format,
            state: Mutex::new(State {
                place,
                rest: Vec::new(),
                is_stuck: false,
                lost: 0,
            }),
        }
    }

    fn line(&self, line: &[u8]) {
        // A line is whole or kept as a rest, whoever panicked.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.takes_more() {
            state.lost += 1;
            return;
        }
        let lost = std::mem::take(&mut state.lost);
        if lost > 0 {
            state.put(told(self.format, Timestamp::now(), lost).as_bytes());
        }
        state.put(line);
    }
}

impl<P: Place> State<P> {
    /// Whether everything before is through and one more line may begin.
    fn takes_more(&mut self) -> bool {
        let rest = std::mem::take(&mut self.rest);
        self.put(&rest);
        self.rest.is_empty() && self.is_free()
    }

    fn put(&mut self, bytes: &[u8]) {
        if !self.rest.is_empty() {
            // Told together with a line of which a part is still here: at most one such pair.
            self.rest.extend_from_slice(bytes);
            return;
        }
        let mut pieces = bytes.chunks(os::STDERR_PIECE);
        let mut put = 0;
        for piece in pieces.by_ref() {
            if !self.is_free() {
                break;
            }
            self.place.put(piece);
            put += piece.len();
        }
        self.rest.extend_from_slice(&bytes[put..]);
    }

    fn is_free(&mut self) -> bool {
        let patience = if self.is_stuck {
            Duration::ZERO
        } else {
            PATIENCE
        };
        self.is_stuck = !self.place.takes(patience);
        !self.is_stuck
    }
}

fn told(format: LogFormat, at: Timestamp, lost: u64) -> String {
    const MESSAGE: &str = "lines of the log were lost: nobody read them";
    match format {
        LogFormat::Human => format!("{at:.3}  WARN {MESSAGE} lost={lost}\n"),
        LogFormat::Json => format!(
            "{{\"t\":\"{at:.3}\",\"level\":\"warn\",\"target\":\"{}\",\"msg\":\"{MESSAGE}\",\"lost\":{lost}}}\n",
            module_path!()
        ),
    }
}

/// One line at a time: whoever formats events writes each in one go.
impl<P: Place> Write for &Outlet<P> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, P: Place> MakeWriter<'a> for Outlet<P> {
    type Writer = &'a Outlet<P>;

    fn make_writer(&'a self) -> &'a Outlet<P> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A pipe with room for so many pieces.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<(usize, Vec<u8>, Duration)>>);

    impl Pipe {
        fn make_room(&self, pieces: usize) -> String {
            let mut pipe = self.0.lock().unwrap();
            pipe.0 = pieces;
            String::from_utf8(std::mem::take(&mut pipe.1)).unwrap()
        }
    }

    impl Place for Pipe {
        fn takes(&mut self, within: Duration) -> bool {
            let mut pipe = self.0.lock().unwrap();
            if pipe.0 == 0 {
                pipe.2 += within;
            }
            pipe.0 > 0
        }

        fn put(&mut self, bytes: &[u8]) {
            let mut pipe = self.0.lock().unwrap();
            pipe.0 = pipe.0.checked_sub(1).expect("nobody waits");
            pipe.1.extend_from_slice(bytes);
        }
    }

    #[test]
    fn what_nobody_reads_is_counted_and_told_when_somebody_does() {
        let pipe = Pipe::default();
        let outlet = Outlet::new(LogFormat::Json, pipe.clone());
        pipe.make_room(2);
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            outlet.line(line.as_bytes());
        }
        assert_eq!(pipe.make_room(9), "one\ntwo\n");
        // The first line that found no room waited for some, no other did.
        assert_eq!(pipe.0.lock().unwrap().2, PATIENCE);
        outlet.line(b"five\n");
        let said = pipe.make_room(0);
        let (told, line) = said.split_once('\n').unwrap();
        let told: serde_json::Value = serde_json::from_str(told).unwrap();
        assert_eq!((&told["lost"], &told["level"]), (&2.into(), &"warn".into()));
        assert_eq!(line, "five\n");
    }

    #[test]
    fn a_line_that_began_is_finished_before_the_next() {
        let pipe = Pipe::default();
        let outlet = Outlet::new(LogFormat::Human, pipe.clone());
        let long = format!("{}\n", "x".repeat(os::STDERR_PIECE));
        pipe.make_room(1);
        outlet.line(long.as_bytes());
        outlet.line(b"lost\n");
        let mut said = pipe.make_room(1);
        outlet.line(b"lost too\n");
        said += &pipe.make_room(9);
        outlet.line(b"heard\n");
        said += &pipe.make_room(0);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert_eq!(lines[0], long.trim_end());
        assert!(lines[1].ends_with("lost=2"), "{said}");
        assert_eq!(lines[2], "heard");
    }
}
