//! Our programs against each other: real processes, loopback only.

mod demo;
mod exec;
mod interrupt;
mod local;
mod round_trips;
mod scripts;
