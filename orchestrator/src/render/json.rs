//! `--json`: one event a line.

use std::io::{self, Write};

use super::Screen;
use crate::events::Signal;

/// The event stream on a writer.
#[derive(Debug)]
pub struct Json<W>(pub W);

impl<W: Write + Send + 'static> Screen for Json<W> {
    fn show(&mut self, signal: Signal) -> io::Result<()> {
        let Signal::Event(event) = signal else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        // One write a line, so that readers never see half of one for long.
        self.0.write_all(&line)?;
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Event, Live};

    #[test]
    fn only_events_become_lines() {
        let mut out = Json(Vec::new());
        out.show(Signal::Event(Event::TurnStarted)).unwrap();
        out.show(Signal::Live(Live::Text { delta: "x".into() }))
            .unwrap();
        out.show(Signal::Event(Event::Error {
            message: "a\nb".into(),
        }))
        .unwrap();
        assert_eq!(
            String::from_utf8(out.0).unwrap(),
            "{\"type\":\"turn.started\"}\n{\"type\":\"error\",\"message\":\"a\\nb\"}\n"
        );
    }
}
