//! The two messages of the handshake, from either end.

use bytes::Bytes;
use clatter::bytearray::{ByteArray, HeapArray};
use clatter::crypto::rng::DefaultRng;
use clatter::handshakepattern::noise_hybrid_ik;
use clatter::{Handshaker, HybridHandshakeCore, HybridHandshakeParams};

use super::channel::Channel;
use super::identity::Identity;
use super::suite::{AesGcm, MlKem768, Sha256, X25519};
use crate::relay::PublicKey;
use crate::relay::registry::AUTHORIZATION_BYTES_MAX;

/// A handshake message above it is refused, in bytes.
pub const HANDSHAKE_BYTES_MAX: usize = 65_535;

/// What message 1 has beside its payload, in bytes.
const FIRST_BYTES: usize = 3568;

/// Message 2 without a payload, in bytes.
const SECOND_BYTES: usize = 3424;

/// The payload of message 2 that says no: the registry does not accept the *executor's* credential.
const REJECTED: &[u8] = b"codex-registry-authentication-rejected/v1";

/// What the prologue begins with.
const CONTEXT: &[u8] = b"codex-exec-server-relay-noise/v1";

type Handshake = HybridHandshakeCore<X25519, MlKem768, MlKem768, AesGcm, Sha256, DefaultRng>;
type Params<'a> = HybridHandshakeParams<'a, X25519, MlKem768, MlKem768>;

/// What both ends must agree on before the first byte: a message captured elsewhere is worthless.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The environment's id.
    pub environment: &'a str,
    /// The registration under which the executor is reached.
    pub registration: &'a str,
    /// The stream's id.
    pub stream: &'a str,
}

impl Binding<'_> {
    fn prologue(&self) -> Vec<u8> {
        let parts = [
            CONTEXT,
            self.environment.as_bytes(),
            self.registration.as_bytes(),
            self.stream.as_bytes(),
        ];
        let mut prologue = Vec::new();
        for part in parts {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            prologue.extend_from_slice(&length.to_be_bytes());
            prologue.extend_from_slice(part);
        }
        prologue
    }
}

/// Why there is no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Too long or too short.
    #[error("a handshake message of {0} bytes")]
    Size(usize),
    /// It was made for somebody or something else, or changed on the way.
    #[error("the handshake message is not authentic")]
    Authentic,
    /// The authorization is no text or too long.
    #[error("the authorization is no text of at most {AUTHORIZATION_BYTES_MAX} bytes")]
    Authorization,
    /// The executor completed the handshake to say that the registry turned its credential down.
    #[error("executor credentials rejected by the registry")]
    Rejected,
    /// Message 2 says something nobody knows.
    #[error("the executor answered the handshake with something unknown")]
    Answer,
    /// A key that is none, or no randomness.
    #[error("the handshake cannot be made")]
    Made,
}

/// The orchestrator's end between the two messages.
pub struct Initiator(Handshake);

/// The executor's end before message 1.
#[derive(Debug)]
pub struct Responder<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// What both ends agree on.
    pub binding: Binding<'a>,
}

/// An authentic message 1: somebody wants in. Dropping it answers nothing.
pub struct Knock {
    handshake: Handshake,
    peer: PublicKey,
    authorization: String,
}

fn handshake(params: Params<'_>, binding: &Binding<'_>) -> Result<Handshake, HandshakeError> {
    let prologue = binding.prologue();
    let params = HybridHandshakeParams {
        prologue: Some(prologue.as_slice()),
        ..params
    };
    Handshake::new(params).map_err(|_| HandshakeError::Made)
}

fn params(identity: &Identity, initiator: bool) -> Params<'_> {
    Params::new(noise_hybrid_ik(), initiator)
        .with_s(identity.dh.clone())
        .with_s_kem(identity.kem.clone())
}

fn written(
    handshake: &mut Handshake,
    payload: &[u8],
    overhead: usize,
) -> Result<Bytes, HandshakeError> {
    let mut message = vec![0; overhead + payload.len()];
    let length = handshake.write_message(payload, &mut message);
    message.truncate(length.map_err(|_| HandshakeError::Made)?);
    Ok(message.into())
}

/// Reads a message and returns its payload. The size is checked here, because `clatter` panics.
fn read(
    handshake: &mut Handshake,
    message: &[u8],
    overhead: usize,
) -> Result<Vec<u8>, HandshakeError> {
    let size = HandshakeError::Size(message.len());
    if message.len() > HANDSHAKE_BYTES_MAX {
        return Err(size);
    }
    let mut payload = vec![0; message.len().checked_sub(overhead).ok_or(size)?];
    let length = handshake.read_message(message, &mut payload);
    payload.truncate(length.map_err(|_| HandshakeError::Authentic)?);
    Ok(payload)
}

impl Initiator {
    /// Message 1 to the executor with `peer`'s key.
    pub fn start(
        identity: &Identity,
        peer: &PublicKey,
        binding: &Binding<'_>,
        authorization: &str,
    ) -> Result<(Initiator, Bytes), HandshakeError> {
        if authorization.len() > AUTHORIZATION_BYTES_MAX {
            return Err(HandshakeError::Authorization);
        }
        let params = params(identity, true)
            .with_rs(*peer.x25519())
            .with_rs_kem(HeapArray::from_slice(peer.mlkem768()));
        let mut handshake = handshake(params, binding)?;
        let message = written(&mut handshake, authorization.as_bytes(), FIRST_BYTES)?;
        Ok((Initiator(handshake), message))
    }

    /// Takes message 2. From here on the executor is who its key says.
    pub fn finish(mut self, message: &[u8]) -> Result<Channel, HandshakeError> {
        let payload = read(&mut self.0, message, SECOND_BYTES)?;
        match payload.as_slice() {
            [] => channel(self.0),
            REJECTED => Err(HandshakeError::Rejected),
            _ => Err(HandshakeError::Answer),
        }
    }
}

impl std::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Initiator")
    }
}

impl Responder<'_> {
    /// Takes message 1.
    pub fn read(&self, message: &[u8]) -> Result<Knock, HandshakeError> {
        let mut handshake = handshake(params(self.identity, false), &self.binding)?;
        let payload = read(&mut handshake, message, FIRST_BYTES)?;
        if payload.len() > AUTHORIZATION_BYTES_MAX {
            return Err(HandshakeError::Authorization);
        }
        let authorization = String::from_utf8(payload);
        let peer = handshake.get_remote_static().ok_or(HandshakeError::Made)?;
        let mlkem768 = Box::<[u8]>::from(peer.kem().as_slice());
        Ok(Knock {
            handshake,
            peer: PublicKey::new(
                *peer.dh(),
                mlkem768.try_into().map_err(|_| HandshakeError::Made)?,
            ),
            authorization: authorization.map_err(|_| HandshakeError::Authorization)?,
        })
    }
}

impl Knock {
    /// Who wants in.
    pub fn peer(&self) -> &PublicKey {
        &self.peer
    }

    /// What it shows for it.
    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    /// Lets it in: message 2, and the channel.
    pub fn admit(mut self) -> Result<(Bytes, Channel), HandshakeError> {
        let message = written(&mut self.handshake, &[], SECOND_BYTES)?;
        Ok((message, channel(self.handshake)?))
    }

    /// Message 2 that tells it, and nobody else, that the registry turned *us* down.
    pub fn refuse(mut self) -> Result<Bytes, HandshakeError> {
        written(&mut self.handshake, REJECTED, SECOND_BYTES)
    }
}

impl std::fmt::Debug for Knock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The authorization is good until it is used.
        f.debug_struct("Knock")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

fn channel(handshake: Handshake) -> Result<Channel, HandshakeError> {
    let state = handshake.finalize().map_err(|_| HandshakeError::Made)?;
    Ok(Channel::new(state))
}

#[cfg(test)]
mod tests;
