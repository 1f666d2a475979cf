//! The orchestrator: a model loop whose tools run in environments near and far.
//!
//! ```text
//!   cli ─► run ─► turn ─► model            the loop, and the provider it samples
//!                  │
//!                  ├─► step ◄─ machine     the frozen picture of the environments
//!                  │     │
//!                  │     └─► world ─► prompt    what the model is shown of it
//!                  │
//!                  └─► tools ─► sessions ─► machine    calls, each under its own step
//!                        │
//!                      events ─► render    what people and programs see of it
//! ```
//!
//! It meets executors only through `farstep_environments`: there is no transport and no executor
//! in here, and a path of another machine stays a `PathUri`. A step's snapshot is the one source
//! for what the model reads, which tools it has and where its calls run.
//!
//! The modules are public for the program, for the bench and for tests; nothing outside this
//! workspace builds on them.

pub mod cli;
pub mod complete;
pub mod connect;
pub mod declared;
pub mod demo;
pub mod documents;
pub mod env_cmd;
pub mod events;
pub mod exec;
pub mod files;
pub mod image;
pub mod jobs;
pub mod locks;
pub mod machine;
pub mod model;
pub mod patch;
pub mod prompt;
pub mod render;
pub mod retry;
pub mod run;
pub mod sessions;
pub mod settings;
pub mod setup;
pub mod ssh;
pub mod step;
pub mod stop;
pub mod terminal;
pub mod text;
pub mod tools;
pub mod turn;
pub mod world;
