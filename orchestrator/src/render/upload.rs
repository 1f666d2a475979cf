//! How far an executor has come on its way to a machine.

use std::io::IsTerminal as _;
use std::time::Duration;

use farstep_environments::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::note;

/// A bar on a terminal, and nothing elsewhere.
#[derive(Debug)]
pub struct Upload {
    target: String,
    bar: ProgressBar,
    on_terminal: bool,
}

impl Upload {
    pub fn new(target: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}") {
            bar.set_style(style);
        }
        Self {
            target: target.to_owned(),
            bar,
            on_terminal: std::io::stderr().is_terminal(),
        }
    }

    pub fn show(&self, progress: &Progress) {
        if !self.on_terminal {
            return;
        }
        let target = &self.target;
        match progress {
            // `ssh` may have questions, and nothing of ours may move beside them.
            Progress::LoggingIn | Progress::Present => {}
            Progress::Found(platform) => note(&format!("farstep: {target} is {platform}")),
            Progress::Sending { sent, total } => {
                if self.bar.is_hidden() {
                    self.bar.set_draw_target(ProgressDrawTarget::stderr());
                    self.bar.enable_steady_tick(Duration::from_millis(100));
                }
                self.bar.set_length(*total);
                self.bar
                    .set_message(format!("farstep: sending the executor to {target}"));
                self.bar.set_position(*sent);
            }
            Progress::Checking => self.bar.finish_and_clear(),
        }
    }
}
