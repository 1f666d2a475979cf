//! The readers of patches and of terminal text, as their crate has them.
//!
//! Their sources are taken in instead of the crate, which would bring a runtime, TLS and a C
//! compiler into every build of targets that need none of them.

#[path = "../../src/patch/mod.rs"]
pub mod patch;

#[path = "../../src/text"]
pub mod text {
    pub mod terminal;

    pub use terminal::for_terminal;
}

#[path = "../../src/render/filter.rs"]
pub mod filter;
