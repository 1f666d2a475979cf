//! What the two ends pay for a channel that the node cannot read.

use std::time::Instant;

use anyhow::{Context as _, Result};
use farstep_protocol::noise::{Binding, Channel, Identity, Initiator, Responder};

use crate::{Figures, percentile, sorted};

const MESSAGE_BYTES: usize = 1 << 20;
const MESSAGES: usize = 512;
const HANDSHAKES: usize = 100;

pub(crate) fn measure(figures: &mut Figures) -> Result<()> {
    let (executor, harness) = (Identity::generate()?, Identity::generate()?);
    let binding = Binding {
        environment: "box",
        registration: "reg",
        stream: "09f1cd6a-0570-47b5-b312-bb4aa134314a",
    };
    let shake = || -> Result<(Channel, Channel)> {
        let (initiator, first) = Initiator::start(&harness, executor.public(), &binding, "auth")?;
        let knock = Responder {
            identity: &executor,
            binding,
        }
        .read(&first)?;
        let (second, theirs) = knock.admit()?;
        Ok((initiator.finish(&second)?, theirs))
    };
    let mut times = Vec::new();
    for _ in 0..HANDSHAKES {
        let began = Instant::now();
        shake()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let times = sorted(times);
    figures.at_most(
        "handshake, both ends, p50",
        percentile(&times, 50),
        2.0,
        "ms",
    );
    let (mut ours, mut theirs) = shake()?;
    let message = vec![7; MESSAGE_BYTES];
    let began = Instant::now();
    for _ in 0..MESSAGES {
        ours.send(&message)?;
        while let Some((seq, record)) = ours.poll_record(Instant::now())? {
            theirs.handle_record(seq, record)?;
        }
        theirs.poll_message()?.context("no message")?;
    }
    let rate = MESSAGES as f64 / began.elapsed().as_secs_f64();
    figures.at_least("seal and open on one core", rate, 300.0, "MiB/s");
    Ok(())
}
