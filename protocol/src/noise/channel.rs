//! Messages as records of ciphertext, and back.
//!
//! ```text
//!   message ─▶ length, bytes ─▶ stream of plaintext ─▶ cut ─▶ sealed records, numbered from 0
//! ```
//!
//! Where records end says nothing about where messages do: several small messages share a record,
//! a large one takes many.

use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use clatter::transportstate::TransportState;

use super::padding::{Packing, Padding, PaddingError, Unpacking, pad};
use super::rekey::{KeyLife, Opening, RekeyError, Rekeys, Sealing};
use super::suite::{AesGcm, Sha256, TAG_BYTES};
use crate::relay::{Order, OrderError};

/// Plaintext of one record, in bytes. Peers end the stream beyond it.
pub const RECORD_BYTES_MAX: usize = 61_440;

/// A message, in bytes. Peers end the stream beyond it.
pub const MESSAGE_BYTES_MAX: usize = 67_108_864;

/// The length before each message, in bytes.
const PREFIX_BYTES: usize = 4;

/// A buffer that grew beyond it is given back when it is empty.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Both directions of one stream behind its handshake.
pub struct Channel {
    state: TransportState<AesGcm, Sha256>,
    order: Order,
    /// What was opened and is no whole message yet.
    opened: BytesMut,
    /// Records that were opened.
    opened_records: u64,
    /// What is to be sealed.
    unsealed: BytesMut,
    next: u32,
    /// The last number there is was given to a record.
    is_used_up: bool,
    sealing: Sealing,
    opening: Opening,
    packing: Packing,
    unpacking: Unpacking,
}

/// Why the stream has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Changed on the way, or sealed by somebody else.
    #[error("a record is not authentic")]
    Authentic,
    /// Too long or too short.
    #[error("a record of {0} bytes")]
    Record(usize),
    /// Something is missing.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A message of no or too many bytes.
    #[error("a message of {0} bytes; 1 to {MESSAGE_BYTES_MAX} are allowed")]
    Message(usize),
    /// Keys change, or do not, against what was agreed.
    #[error(transparent)]
    Rekey(#[from] RekeyError),
    /// Records are padded, or are not, against what was agreed.
    #[error(transparent)]
    Padding(#[from] PaddingError),
}

impl Channel {
    pub(super) fn new(state: TransportState<AesGcm, Sha256>) -> Channel {
        Channel {
            state,
            order: Order::default(),
            opened: BytesMut::new(),
            opened_records: 0,
            unsealed: BytesMut::new(),
            next: 0,
            is_used_up: false,
            sealing: Sealing::default(),
            opening: Opening::default(),
            packing: Packing::default(),
            unpacking: Unpacking::default(),
        }
    }

    /// What was said about changing keys, of which none is used for more than `life`.
    pub fn set_rekeys(&mut self, rekeys: Rekeys, life: KeyLife) {
        let (sealing, opening) = match rekeys {
            Rekeys::Never => (None, None),
            Rekeys::Offered => (None, Some(life)),
            Rekeys::Agreed => (Some(life), Some(life)),
        };
        self.sealing.set(sealing);
        self.opening.set(opening);
    }

    /// What was said about padding records. What has begun goes on to the end.
    pub fn set_padding(&mut self, padding: Padding) {
        self.packing.set(padding);
        self.unpacking.set(padding);
    }

    /// Takes a record as it came from the relay.
    pub fn handle_record(&mut self, seq: u32, record: Bytes) -> Result<(), ChannelError> {
        let size = ChannelError::Record(record.len());
        // What is too long is refused before it is held.
        if record.len() > RECORD_BYTES_MAX + TAG_BYTES {
            return Err(size);
        }
        self.order.insert(seq, record)?;
        while let Some(record) = self.order.pop() {
            let length = record.len().checked_sub(TAG_BYTES);
            let length = length.ok_or(ChannelError::Record(record.len()))?;
            let at = self.opened.len();
            self.opened.resize(at + length, 0);
            let opened = self
                .state
                .receive(&record, self.opened.get_mut(at..).unwrap_or_default());
            if opened.is_err() {
                // Nothing of it is believed.
                self.opened.truncate(at);
                return Err(ChannelError::Authentic);
            }
            self.opened_records += 1;
            match self.unpad(at)? {
                None => {}
                Some(0) => {
                    self.opening.renew()?;
                    let renewed = self.state.rekey_receiver();
                    renewed.map_err(|_| ChannelError::Authentic)?;
                }
                Some(_) => self.opening.count()?,
            }
        }
        Ok(())
    }

    /// Leaves the content of the plaintext that begins at `at`, and says how long it is; `None` if
    /// there is none, because padding begins.
    fn unpad(&mut self, at: usize) -> Result<Option<usize>, ChannelError> {
        let plaintext = self.opened.get(at..).unwrap_or_default();
        let content = match self.unpacking.take(plaintext, self.opened_records == 1) {
            Ok(content) => content,
            Err(error) => {
                self.opened.truncate(at);
                return Err(error.into());
            }
        };
        let Some(content) = content else {
            return Ok(None);
        };
        let length = content.len();
        if content.start > 0 {
            self.opened
                .copy_within(at + content.start..at + content.end, at);
            self.opened.truncate(at + length);
        }
        Ok(Some(length))
    }

    /// How many records came and were opened, in their order.
    pub fn opened_records(&self) -> u64 {
        self.opened_records
    }

    /// The next whole message, if there is one.
    pub fn poll_message(&mut self) -> Result<Option<Bytes>, ChannelError> {
        let Some(prefix) = self.opened.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length == 0 || length > MESSAGE_BYTES_MAX {
            return Err(ChannelError::Message(length));
        }
        if self.opened.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.opened.advance(PREFIX_BYTES);
        let message = self.opened.split_to(length).freeze();
        if self.opened.is_empty() {
            // The message keeps the memory for as long as it needs it, and not longer.
            self.opened = BytesMut::new();
        }
        Ok(Some(message))
    }

    /// Takes a message to be sent, whole.
    pub fn send(&mut self, message: &[u8]) -> Result<(), ChannelError> {
        let length = u32::try_from(message.len()).ok();
        let length = length.filter(|_| (1..=MESSAGE_BYTES_MAX).contains(&message.len()));
        let length = length.ok_or(ChannelError::Message(message.len()))?;
        self.unsealed.extend_from_slice(&length.to_be_bytes());
        self.unsealed.extend_from_slice(message);
        Ok(())
    }

    /// What was taken and is not sealed yet, in bytes.
    pub fn unsealed(&self) -> usize {
        self.unsealed.len()
    }

    /// The next record for the relay, with its number.
    pub fn poll_record(&mut self, now: Instant) -> Result<Option<(u32, Bytes)>, ChannelError> {
        if self.unsealed.is_empty() {
            return Ok(None);
        }
        if self.packing == Packing::Due {
            let begin = self.seal(0)?;
            self.packing = Packing::Padded;
            return Ok(Some(begin));
        }
        if self.sealing.is_due(now) {
            let marker = self.seal(0)?;
            let renewed = self.state.rekey_sender();
            renewed.map_err(|_| OrderError::UsedUp)?;
            self.sealing.renew();
            return Ok(Some(marker));
        }
        let length = self.unsealed.len().min(self.packing.most());
        let record = self.seal(length)?;
        self.sealing.count(now);
        Ok(Some(record))
    }

    /// A record of the first `length` bytes of what waits.
    fn seal(&mut self, length: usize) -> Result<(u32, Bytes), ChannelError> {
        if self.is_used_up {
            return Err(OrderError::UsedUp.into());
        }
        let text = self.unsealed.get(..length).unwrap_or_default();
        let (mut record, size) = match self.packing {
            Packing::Padded => {
                let record = pad(text, TAG_BYTES).ok_or(ChannelError::Record(length))?;
                let size = record.len() - TAG_BYTES;
                (record, size)
            }
            Packing::Plain | Packing::Due => {
                let mut record = Vec::with_capacity(length + TAG_BYTES);
                record.extend_from_slice(text);
                record.resize(length + TAG_BYTES, 0);
                (record, length)
            }
        };
        // Sealing fails only when the numbers of the cipher are used up, long after ours.
        if self.state.send_in_place(&mut record, size).is_err() {
            return Err(OrderError::UsedUp.into());
        }
        self.unsealed.advance(length);
        if self.unsealed.is_empty() && self.unsealed.capacity() > KEPT_BYTES_MAX {
            self.unsealed = BytesMut::new();
        }
        let seq = self.next;
        match seq.checked_add(1) {
            Some(next) => self.next = next,
            None => self.is_used_up = true,
        }
        Ok((seq, record.into()))
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No keys and no contents.
        f.debug_struct("Channel")
            .field("next", &self.next)
            .field("opened", &self.opened.len())
            .field("unsealed", &self.unsealed.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
