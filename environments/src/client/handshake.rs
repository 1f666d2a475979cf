//! The first exchange on a connection.
//!
//! `initialize` and `initialized` leave in one burst, so that opening a session costs a single
//! round trip. Only servers that do not describe themselves in their answer cost a second one.

use std::time::Duration;

use farstep_protocol::caller::{Caller, Event};
use farstep_protocol::frame;
use farstep_protocol::method::Empty;
use farstep_protocol::method::environment::{self, EnvironmentInfo};
use farstep_protocol::method::initialize::{
    ChannelTerms, INITIALIZE, INITIALIZED, InitializeParams, InitializeResult, SessionTerms,
    SessionWish,
};
use farstep_protocol::rpc::RpcError;
use farstep_transport::{Padding, PaddingWish, Rekeys, Text, Wire, WireError};
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;

use super::driver::SessionId;

/// How we introduce ourselves.
const CLIENT_NAME: &str = "farstep";

/// Calls under way at once, as many as executors allow one connection, plus what the connection
/// itself needs to let go of processes.
pub(super) const PENDING_MAX: usize = 2048;

/// How much of a line that is no message is shown.
const NOISE_SHOWN: usize = 200;

/// What an accepted handshake yields.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) info: EnvironmentInfo,
    /// The one secret of the session.
    pub(crate) session_id: String,
    /// Of a durable session.
    pub(crate) terms: Option<SessionTerms>,
    /// Goes on counting ids where the handshake stopped.
    pub(crate) caller: Caller<u64>,
}

/// Which session a connection is to have.
#[derive(Clone, Debug, Default)]
pub(crate) enum Wanted {
    /// A new one, as everybody knows it.
    #[default]
    Ordinary,
    /// A new durable one.
    Durable { retention: Duration },
    /// The one named. Of a durable one, `peek` leaves the clock alone.
    Resume { id: SessionId, peek: bool },
}

impl Wanted {
    fn params(&self) -> InitializeParams {
        let (resume, farstep) = match self {
            Wanted::Ordinary => (None, None),
            Wanted::Durable { retention } => {
                let wish = SessionWish {
                    retention_seconds: Some(retention.as_secs()),
                    peek: false,
                };
                (None, Some(wish))
            }
            Wanted::Resume { id, peek } => {
                let wish = SessionWish {
                    retention_seconds: None,
                    peek: true,
                };
                (Some(id.reveal().to_owned()), peek.then_some(wish))
            }
        };
        InitializeParams {
            client_name: CLIENT_NAME.to_owned(),
            resume_session_id: resume,
            farstep,
            farstep_channel: None,
        }
    }
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The other side said no.
    #[error("the executor refused the handshake: {0}")]
    Refused(RpcError),
    /// What we wrote came back.
    #[error(
        "what was sent came straight back: a terminal is attached where a pipe should be \
         (remove `-t` or `-tt` from the command that reaches the executor)"
    )]
    Echoed,
    /// The answer is not one.
    #[error("the executor's answer to `{method}` makes no sense: {detail}")]
    Nonsense {
        method: &'static str,
        detail: String,
    },
    /// It does not hide how much is said, and we want that.
    #[error("the executor does not agree to pad its records")]
    Unpadded,
    /// The connection ended first.
    #[error("exec-server transport closed")]
    Closed,
    /// The connection broke first.
    #[error("exec-server transport failed: {0}")]
    Wire(#[from] WireError),
}

/// Opens a session, or takes one up. The caller limits the time, and finds in `noise`
/// the first thing that arrived and was no message.
pub(crate) async fn handshake<W: Wire>(
    wire: &mut W,
    session: &Wanted,
    noise: &mut Option<String>,
) -> Result<Greeting, HandshakeError> {
    let mut opening = Opening {
        wire,
        caller: Caller::new(PENDING_MAX),
        noise,
    };
    let mut params = session.params();
    if opening.wire.has_keys() {
        // Whoever agrees may begin with its answer.
        opening.wire.set_rekeys(Rekeys::Offered);
        let padding = opening.wire.padding_wish() == PaddingWish::Always;
        if padding {
            opening.wire.set_padding(Padding::Offered);
        }
        params.farstep_channel = Some(ChannelTerms {
            rekey: true,
            padding,
        });
    }
    opening.request(INITIALIZE, &params).await?;
    let mut initialized = String::new();
    frame::notification(&mut initialized, INITIALIZED, &Empty {});
    opening.feed(initialized).await?;
    let answer = opening.answer(INITIALIZE).await?;
    let result: InitializeResult = read(INITIALIZE, &answer)?;
    let agreed = result.farstep_channel.unwrap_or_default();
    opening.wire.set_rekeys(match agreed.rekey {
        true => Rekeys::Agreed,
        false => Rekeys::Never,
    });
    if opening.wire.padding_wish() == PaddingWish::Always {
        if !agreed.padding {
            return Err(HandshakeError::Unpadded);
        }
        opening.wire.set_padding(Padding::Agreed);
    }
    let info = match result.environment_info {
        Some(info) => info,
        None => {
            opening.request(environment::INFO, &()).await?;
            read(environment::INFO, &opening.answer(environment::INFO).await?)?
        }
    };
    Ok(Greeting {
        info,
        session_id: result.session_id,
        terms: result.farstep,
        caller: opening.caller,
    })
}

fn read<T: serde::de::DeserializeOwned>(
    method: &'static str,
    json: &str,
) -> Result<T, HandshakeError> {
    serde_json::from_str(json).map_err(|error| HandshakeError::Nonsense {
        method,
        detail: error.to_string(),
    })
}

struct Opening<'a, W> {
    wire: &'a mut W,
    caller: Caller<u64>,
    noise: &'a mut Option<String>,
}

impl<W: Wire> Opening<'_, W> {
    async fn request<P: Serialize>(
        &mut self,
        method: &'static str,
        params: &P,
    ) -> Result<(), HandshakeError> {
        // One call at a time, so no tag has to tell them apart.
        let id = self
            .caller
            .register(0)
            .map_err(|error| HandshakeError::Nonsense {
                method,
                detail: error.to_string(),
            })?;
        let mut text = String::new();
        frame::request(&mut text, &id, method, params);
        self.feed(text).await
    }

    async fn feed(&mut self, text: String) -> Result<(), HandshakeError> {
        Ok(self.wire.feed(Text::from(text)).await?)
    }

    /// The result of the call under way, as JSON.
    async fn answer(&mut self, method: &'static str) -> Result<String, HandshakeError> {
        // A program that has ended does not listen either, but what it said before is still to
        // be read. How the reading ends tells more than that the writing failed.
        let _ = self.wire.flush().await;
        loop {
            let text = match self.wire.next().await {
                Some(Ok(text)) => text,
                Some(Err(error)) if error.is_survivable() => continue,
                Some(Err(error)) => return Err(error.into()),
                None => return Err(HandshakeError::Closed),
            };
            match self.caller.handle_text(&text) {
                Ok(Event::Reply { outcome, .. }) => {
                    return outcome.map(str::to_owned).map_err(HandshakeError::Refused);
                }
                Ok(Event::Request(request)) if request.method == method => {
                    return Err(HandshakeError::Echoed);
                }
                // A banner in front of the protocol is forgiven: `ssh` prints them.
                Err(_) if self.noise.is_none() => *self.noise = Some(excerpt(&text)),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn excerpt(text: &str) -> String {
    let shown: String = text.chars().take(NOISE_SHOWN).collect();
    crate::dial::printable(&shown)
}
