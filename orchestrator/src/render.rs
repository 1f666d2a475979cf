//! The only place that prints, and the only place where errors become words and exit codes.
//!
//! What the model says goes to standard output; what happens on the way goes to standard error.
//! With `--json` standard output is the event stream and nothing else. Text that comes from an
//! executor, a provider or a model passes [`for_terminal`] before a terminal sees it.
//!
//! [`for_terminal`]: crate::text::for_terminal

mod failure;
mod files;
mod filter;
mod human;
mod jobs;
mod json;
mod outputs;
mod process_output;
mod progress;
mod span;
mod table;
mod upload;
mod waiting;

use std::io::{self, IsTerminal as _, Write};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::events::Signal;

pub use failure::{Failure, report, report_json};
pub use filter::TerminalFilter;
pub use human::Human;
pub use json::Json;
pub use outputs::Outputs;
pub use process_output::{Dropped, ProcessOutput};
pub use progress::Progress;
pub use span::span;
pub use table::{
    Column, print_bytes, print_json_line, print_lines, print_report, print_table, print_text,
};
pub use upload::Upload;
pub use waiting::waiting;

/// Something that shows what happens. Runs on a thread of its own, because terminals block.
pub trait Screen: Send + 'static {
    fn show(&mut self, signal: Signal) -> io::Result<()>;
}

/// Shows signals until the last one. When nothing can be shown any more (a closed pipe), `stop`
/// is cancelled: work nobody can see is not worth its price.
pub fn start(
    mut screen: impl Screen,
    mut signals: mpsc::Receiver<Signal>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        while let Some(signal) = signals.blocking_recv() {
            if signal == Signal::End {
                return;
            }
            if let Err(error) = screen.show(signal) {
                tracing::debug!(%error, "nothing can be shown any more");
                stop.cancel();
                return;
            }
        }
    })
}

/// Prints what a flag such as `--help` asked for, or what was wrong with the command line.
pub fn usage(error: &clap::Error) -> u8 {
    // Clap knows which of the two it is, where it goes, and whether colours are wanted.
    if error.print().is_err() {
        return 1;
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// Takes back what a program may have left on a terminal that was lent to it when it went without
/// a word: the other screen, reports of the mouse, marked pastes, a hidden cursor, colours.
pub fn calm_terminal() {
    const CALM: &[u8] = b"\x1b[?1047l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\
        \x1b[?1l\x1b>\x1b[?7h\x1b[?25h\x1b[0m\r\n";
    let mut out = io::stdout();
    if out.is_terminal() {
        // A terminal that is gone needs no calming.
        let _ = out.write_all(CALM).and_then(|()| out.flush());
    }
}

/// A note for the person, beside whatever standard output is used for.
pub fn note(text: &str) {
    let text = crate::text::for_terminal(text);
    // Without a standard error there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{text}");
}
