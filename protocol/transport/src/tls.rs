//! TLS, with one choice of algorithms for everybody.
//!
//! ```text
//!   connect  the system's own store                       for whoever has no wishes
//!   Client   pins, own authorities, a client certificate  for who knows the other side
//!   server   certificates we show                         for listeners
//! ```
//!
//! The system's store counts with `SSL_CERT_FILE` on Linux, so a company's authorities are
//! believed as by every other program. Files are read by others; here are only their contents.

#[cfg(feature = "tls")]
mod calling;
#[cfg(feature = "tls")]
mod client;
#[cfg(feature = "tls")]
mod distrust;
#[cfg(feature = "tls")]
mod facts;
#[cfg(feature = "tls")]
mod pin;
#[cfg(feature = "tls-server")]
pub mod server;

#[cfg(feature = "tls")]
pub use calling::connect;
#[cfg(feature = "tls")]
use calling::{name, provider, system};
#[cfg(feature = "tls")]
pub use client::{Client, Identity, Settings, SettingsError};
#[cfg(feature = "tls")]
pub use distrust::{Distrust, TlsError};
#[cfg(feature = "tls")]
pub use facts::Facts;
#[cfg(feature = "tls")]
pub use pin::{Pin, PinError};
#[cfg(feature = "tls")]
pub use tokio_rustls::client::TlsStream;
