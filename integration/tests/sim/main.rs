//! The protocol's own parts on a wire that fails, decided by a seed.
//!
//! Nothing here waits: a step of the world is a step of the simulation, so a thousand bad days take
//! seconds. A failure names its seed; `FARSTEP_SIM_SEED=17` plays that one alone, and
//! `FARSTEP_SIM_SEEDS=1000000` plays more of them.

mod caller;
mod server;
mod world;

use farstep_integration::Luck;

/// Played for every change.
const SEEDS: u64 = 1000;

/// A number from the surroundings.
fn chosen(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn whatever_the_wire_does_every_process_is_heard_to_its_end_once_and_in_order() {
    let seeds = match chosen("FARSTEP_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..chosen("FARSTEP_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut days = world::Days::default();
    for seed in seeds {
        match world::play(&mut Luck::new(seed)) {
            Ok(day) => days.add(&day),
            Err(why) => panic!("seed {seed}: {why}"),
        }
    }
    // A world in which nothing ever goes wrong would show nothing.
    if chosen("FARSTEP_SIM_SEED").is_none() {
        assert!(days.is_bad_enough(), "{days:?}");
    }
}
