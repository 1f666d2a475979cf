//! What a node lets its callers do at most (`rendezvous` section C8), as flags.

use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::relay::{QueueLimits, STREAMS_MAX};

/// Where a container's memory limit stands: of cgroups, version 2 and 1.
const LIMIT_FILES: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// What is assumed where nothing says how much memory there is.
const MEMORY_UNKNOWN: u64 = 1 << 30;

/// How much of the memory the queues may hold.
const QUEUES_SHARE: u64 = 4;

/// Limits of a node.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Limits")]
pub struct Quotas {
    /// Streams of one executor at once; the peer's takes 128
    #[arg(long, value_name = "NUMBER", default_value_t = STREAMS_MAX,
          value_parser = at_most(128))]
    pub streams_per_executor: usize,

    /// Streams of one harness credential at once
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = at_most(1_000_000))]
    pub streams_per_token: usize,

    /// Environments of one tenant
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    pub executors_per_tenant: u32,

    /// Executors connected to this node at once; beyond it they are told to try again
    #[arg(long, value_name = "NUMBER", default_value_t = 50_000, value_parser = at_most(10_000_000))]
    pub executors: usize,

    /// Bytes that may wait for one side of a stream before its sender is not read from
    #[arg(long, value_name = "BYTES", default_value_t = QueueLimits::default().bytes,
          value_parser = at_most(64 << 20))]
    pub queue_bytes: usize,

    /// The same in frames
    #[arg(long, value_name = "NUMBER", default_value_t = QueueLimits::default().frames,
          value_parser = at_most(65_536))]
    pub queue_frames: usize,

    /// A stream of which nothing was taken for so long is reset at both ends
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub stall_seconds: u32,

    /// Memory of which all queues may hold a quarter; then no websocket is accepted until there is
    /// room [default: what the machine or the container has]
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<u64>,

    /// Bytes a second that one tenant's streams may carry, both directions together [default: any]
    #[arg(long, value_name = "BYTES")]
    pub tenant_rate: Option<NonZeroU32>,

    /// Name so many tenants in the labels of metrics; the others are counted as `other`
    /// [default: none is named]
    #[arg(long, value_name = "NUMBER", value_parser = at_most(10_000))]
    pub metrics_tenants: Option<usize>,

    /// Bundles that one harness credential may ask for in a second
    #[arg(long, value_name = "NUMBER", default_value_t = NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN))]
    pub connects_per_second: NonZeroU32,

    /// Bundles that it may ask for at once after a quiet while
    #[arg(long, value_name = "NUMBER", default_value_t = NonZeroU32::new(50).unwrap_or(NonZeroU32::MIN))]
    pub connects_at_once: NonZeroU32,
}

fn at_most(max: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=max)
}

impl Default for Quotas {
    fn default() -> Quotas {
        let queue = QueueLimits::default();
        Quotas {
            streams_per_executor: STREAMS_MAX,
            streams_per_token: 32,
            executors_per_tenant: 1000,
            executors: 50_000,
            queue_bytes: queue.bytes,
            queue_frames: queue.frames,
            stall_seconds: 30,
            memory: None,
            tenant_rate: None,
            metrics_tenants: None,
            connects_per_second: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN),
            connects_at_once: NonZeroU32::new(50).unwrap_or(NonZeroU32::MIN),
        }
    }
}

impl Quotas {
    pub(crate) fn queue(&self) -> QueueLimits {
        QueueLimits {
            bytes: self.queue_bytes,
            frames: self.queue_frames,
            stall: Duration::from_secs(self.stall_seconds.into()),
        }
    }

    /// What all queues may hold, in bytes.
    pub(crate) fn queues_max(&self) -> u64 {
        self.memory.unwrap_or_else(detected) / QUEUES_SHARE
    }
}

/// What the machine has, or less where the container says so.
fn detected() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(total);
    let container = LIMIT_FILES
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
        .min();
    let known = [machine, container].into_iter().flatten().min();
    known.unwrap_or(MEMORY_UNKNOWN)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        quotas: Quotas,
    }

    #[test]
    fn the_flags_default_to_the_table_and_take_no_nonsense() {
        let parse = |line: &[&str]| Line::try_parse_from(["x"].iter().chain(line));
        assert_eq!(parse(&[]).unwrap().quotas, Quotas::default());
        let wanted = ["--streams-per-executor", "3", "--tenant-rate", "1000"];
        let quotas = parse(&wanted).unwrap().quotas;
        assert_eq!(quotas.streams_per_executor, 3);
        assert_eq!(quotas.tenant_rate, NonZeroU32::new(1000));
        for wrong in [
            ["--streams-per-executor", "129"],
            ["--queue-frames", "0"],
            ["--tenant-rate", "0"],
            ["--connects-per-second", "0"],
        ] {
            parse(&wrong).unwrap_err();
        }
    }

    #[test]
    fn the_queues_have_a_quarter_of_the_memory() {
        let quotas = Quotas {
            memory: Some(4096),
            ..Quotas::default()
        };
        assert_eq!(quotas.queues_max(), 1024);
        assert_eq!(total("MemTotal:        8 kB\nMemFree: 1 kB\n"), Some(8192));
        assert!(detected() > 0);
    }
}
