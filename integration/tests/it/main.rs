//! Our programs against each other: real processes, loopback only.

mod demo;
mod exec;
mod faults;
mod interrupt;
mod local;
mod resume;
mod round_trips;
mod scripts;
mod trace;
