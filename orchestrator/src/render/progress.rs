//! How far something is that takes a while, on a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; nothing where that is no terminal.
#[derive(Debug)]
pub struct Progress(ProgressBar);

const TEMPLATE: &str =
    "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
const PER_SECOND: u8 = 8;

impl Progress {
    /// `wanted` is whether the person should see it at all.
    pub fn new(wanted: bool) -> Progress {
        if !wanted || !std::io::stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let target = ProgressDrawTarget::stderr_with_hz(PER_SECOND);
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress(bar)
    }

    /// So many bytes more are to come.
    pub fn expect(&self, bytes: u64) {
        self.0.inc_length(bytes);
    }

    /// So many are done.
    pub fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// What is under way.
    pub fn name(&self, text: &str) {
        self.0
            .set_message(crate::text::for_terminal(text).into_owned());
    }

    /// Prints something else without tearing the bar.
    pub fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// Takes it away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
