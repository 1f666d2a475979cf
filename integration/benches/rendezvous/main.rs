//! The figures of one rendezvous node next to their targets (`rendezvous` section C10).
//!
//! `cargo xtask bench-rendezvous` builds the node for release, starts it and loads it over loopback
//! from this process, which plays its executors and orchestrators. It ends by itself after some
//! three minutes, and fails when a target is missed.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

mod idle;
mod node;
mod seal;
mod streams;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use node::Node;

/// How many executors are idle, unless FARSTEP_BENCH_EXECUTORS says less for a machine with fewer
/// descriptors; 0 leaves them out.
const EXECUTORS: usize = 10_000;

/// All of it together.
const PATIENCE: Duration = Duration::from_secs(600);

/// What was measured, next to what is wanted.
#[derive(Debug, Default)]
struct Figures {
    missed: usize,
}

impl Figures {
    fn at_most(&mut self, name: &str, found: f64, most: f64, unit: &str) {
        self.row(name, found, '≤', most, unit, found <= most);
    }

    fn at_least(&mut self, name: &str, found: f64, least: f64, unit: &str) {
        self.row(name, found, '≥', least, unit, found >= least);
    }

    fn row(&mut self, name: &str, found: f64, sign: char, target: f64, unit: &str, is_met: bool) {
        self.missed += usize::from(!is_met);
        let verdict = if is_met { "" } else { "  MISSED" };
        println!("{name:<52} {found:>9.2} {unit:<7} {sign} {target}{verdict}");
    }
}

fn main() -> Result<ExitCode> {
    // Also `cargo test --benches` runs this, and wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = std::env::var("FARSTEP_BENCH_EXECUTORS").ok();
    let executors = wanted.and_then(|wanted| wanted.parse().ok());
    let executors = executors.unwrap_or(EXECUTORS);
    let runtime = tokio::runtime::Runtime::new()?;
    let mut figures = Figures::default();
    runtime.block_on(async {
        let all = async {
            seal::measure(&mut figures)?;
            let mut node = Node::start().await?;
            streams::measure(&node, &mut figures).await?;
            match executors {
                0 => Ok(()),
                _ => idle::measure(&mut node, executors, &mut figures).await,
            }
        };
        tokio::time::timeout(PATIENCE, all).await?
    })?;
    Ok(match figures.missed {
        0 => ExitCode::SUCCESS,
        missed => {
            println!("{missed} of the targets are missed on this machine");
            ExitCode::FAILURE
        }
    })
}

/// The value that so many of a hundred are below.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * percent / 100)
        .copied()
        .unwrap_or(f64::NAN)
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
