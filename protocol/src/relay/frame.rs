//! One message of the relay (`rendezvous` section A6).
//!
//! The schema is proto3, package `codex.exec_server.relay.v1`. It is small and frozen by the peers
//! in the field, so the prost types are written here and vectors check each field.

use bytes::Bytes;
use prost::Message as _;

/// The only version of the schema.
const VERSION: u32 = 1;

/// A websocket message of the relay, in bytes. Peers end the websocket beyond it.
pub const FRAME_BYTES_MAX: usize = 262_144;

/// A stream id we make or take, in bytes; newer peers refuse longer ones.
pub const STREAM_ID_BYTES_MAX: usize = 128;

/// The reason of a reset we send, in bytes.
pub const RESET_REASON_BYTES_MAX: usize = 256;

/// What is said on one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Not blank, at most [`STREAM_ID_BYTES_MAX`] bytes.
    pub stream: String,
    /// What is said.
    pub kind: Kind,
}

/// The kinds of frames.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// A record of ciphertext. Each direction counts its records from 0.
    Data {
        /// Its number.
        seq: u32,
        /// Never empty.
        payload: Bytes,
    },
    /// Ignored by everybody so far.
    Ack,
    /// An orchestrator claims the stream id at the relay.
    Resume {
        /// Ignored by everybody so far.
        next_seq: u32,
    },
    /// Ends the stream. It is not authenticated.
    Reset {
        /// For logs; never empty.
        reason: String,
    },
    /// Ignored by everybody so far.
    Heartbeat,
    /// A handshake message, never empty.
    Handshake(Bytes),
}

/// Sizes alone: ciphertext in a log helps nobody.
impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Data { seq, payload } => write!(f, "Data({seq}, {} bytes)", payload.len()),
            Kind::Ack => f.write_str("Ack"),
            Kind::Resume { next_seq } => write!(f, "Resume({next_seq})"),
            Kind::Reset { reason } => write!(f, "Reset({reason:?})"),
            Kind::Heartbeat => f.write_str("Heartbeat"),
            Kind::Handshake(payload) => write!(f, "Handshake({} bytes)", payload.len()),
        }
    }
}

/// Why bytes are no frame. The websocket stays open: such a message is dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not the schema.
    #[error("the bytes are no relay frame: {0}")]
    Undecodable(prost::DecodeError),
    /// Another version.
    #[error("relay frame of version {0}, and only 1 is known")]
    Version(u32),
    /// Blank or too long.
    #[error("the stream id is blank or above {STREAM_ID_BYTES_MAX} bytes")]
    Stream,
    /// None of the kinds.
    #[error("the frame says nothing")]
    NoKind,
    /// A payload or reason without content.
    #[error("the frame's {0} is empty")]
    Empty(&'static str),
    /// Records are never segmented.
    #[error("segment {index} of {count}, and records are never segmented")]
    Segmented {
        /// As said.
        index: u32,
        /// As said.
        count: u32,
    },
}

impl Frame {
    /// Reads a websocket message. Payloads share its memory.
    pub fn decode(bytes: Bytes) -> Result<Frame, FrameError> {
        let wire = Wire::decode(bytes).map_err(FrameError::Undecodable)?;
        if wire.version != VERSION {
            return Err(FrameError::Version(wire.version));
        }
        if wire.stream_id.trim().is_empty() || wire.stream_id.len() > STREAM_ID_BYTES_MAX {
            return Err(FrameError::Stream);
        }
        let kind = match wire.kind.ok_or(FrameError::NoKind)? {
            WireKind::Data(data) => {
                // The schema's zero of an absent count is not one segment.
                if data.segment_index != 0 || data.segment_count != 1 {
                    return Err(FrameError::Segmented {
                        index: data.segment_index,
                        count: data.segment_count,
                    });
                }
                Kind::Data {
                    seq: data.seq,
                    payload: filled(data.payload)?,
                }
            }
            WireKind::AckFrame(Nothing {}) => Kind::Ack,
            WireKind::Resume(resume) => Kind::Resume {
                next_seq: resume.next_seq,
            },
            WireKind::Reset(reset) if reset.reason.is_empty() => {
                return Err(FrameError::Empty("reason"));
            }
            WireKind::Reset(reset) => Kind::Reset {
                reason: reset.reason,
            },
            WireKind::Heartbeat(Nothing {}) => Kind::Heartbeat,
            WireKind::Handshake(handshake) => Kind::Handshake(filled(handshake.payload)?),
        };
        Ok(Frame {
            stream: wire.stream_id,
            kind,
        })
    }

    /// The websocket message.
    pub fn encode(self) -> Bytes {
        let kind = match self.kind {
            Kind::Data { seq, payload } => WireKind::Data(Data {
                seq,
                segment_index: 0,
                segment_count: 1,
                payload,
            }),
            Kind::Ack => WireKind::AckFrame(Nothing {}),
            Kind::Resume { next_seq } => WireKind::Resume(Resume { next_seq }),
            Kind::Reset { reason } => WireKind::Reset(Reset { reason }),
            Kind::Heartbeat => WireKind::Heartbeat(Nothing {}),
            Kind::Handshake(payload) => WireKind::Handshake(Handshake { payload }),
        };
        let wire = Wire {
            version: VERSION,
            stream_id: self.stream,
            ack: 0,
            ack_bits: 0,
            kind: Some(kind),
        };
        wire.encode_to_vec().into()
    }

    /// The frame that ends `stream`.
    pub fn reset(stream: impl Into<String>, reason: impl Into<String>) -> Frame {
        Frame {
            stream: stream.into(),
            kind: Kind::Reset {
                reason: reason.into(),
            },
        }
    }
}

fn filled(payload: Bytes) -> Result<Bytes, FrameError> {
    match payload.is_empty() {
        true => Err(FrameError::Empty("payload")),
        false => Ok(payload),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    stream_id: String,
    #[prost(uint32, tag = "3")]
    ack: u32,
    #[prost(uint32, tag = "4")]
    ack_bits: u32,
    #[prost(oneof = "WireKind", tags = "5, 6, 7, 8, 9, 10")]
    kind: Option<WireKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireKind {
    #[prost(message, tag = "5")]
    Data(Data),
    #[prost(message, tag = "6")]
    AckFrame(Nothing),
    #[prost(message, tag = "7")]
    Resume(Resume),
    #[prost(message, tag = "8")]
    Reset(Reset),
    #[prost(message, tag = "9")]
    Heartbeat(Nothing),
    #[prost(message, tag = "10")]
    Handshake(Handshake),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Data {
    #[prost(uint32, tag = "1")]
    seq: u32,
    #[prost(uint32, tag = "2")]
    segment_index: u32,
    #[prost(uint32, tag = "3")]
    segment_count: u32,
    #[prost(bytes = "bytes", tag = "4")]
    payload: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Resume {
    #[prost(uint32, tag = "1")]
    next_seq: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reset {
    #[prost(string, tag = "1")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Handshake {
    #[prost(bytes = "bytes", tag = "1")]
    payload: Bytes,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: Kind) -> Frame {
        Frame {
            stream: "s".to_owned(),
            kind,
        }
    }

    #[test]
    fn every_field_has_its_number_on_the_wire() {
        // version 1, stream id "s", then the kind; written by hand from the table of A6.
        let head = [0x08, 1, 0x12, 1, b's'];
        let data = Kind::Data {
            seq: 300,
            payload: Bytes::from_static(b"xy"),
        };
        let resume = Kind::Resume { next_seq: 7 };
        let reset = Kind::Reset {
            reason: "no".to_owned(),
        };
        let cases: [(Kind, &[u8]); 6] = [
            (
                data,
                &[0x2a, 9, 0x08, 0xac, 0x02, 0x18, 1, 0x22, 2, b'x', b'y'],
            ),
            (Kind::Ack, &[0x32, 0]),
            (resume, &[0x3a, 2, 0x08, 7]),
            (reset, &[0x42, 4, 0x0a, 2, b'n', b'o']),
            (Kind::Heartbeat, &[0x4a, 0]),
            (
                Kind::Handshake(Bytes::from_static(b"h")),
                &[0x52, 3, 0x0a, 1, b'h'],
            ),
        ];
        for (kind, tail) in cases {
            let bytes = Bytes::from([&head, tail].concat());
            assert_eq!(Frame::decode(bytes.clone()), Ok(frame(kind.clone())));
            assert_eq!(frame(kind).encode(), bytes);
        }
    }

    #[test]
    fn a_frame_that_says_too_little_or_too_much_is_refused() {
        let decode = |bytes: &[u8]| Frame::decode(Bytes::copy_from_slice(bytes)).unwrap_err();
        let heartbeat = [0x4a, 0];
        let with = |head: &[u8], tail: &[u8]| decode(&[head, tail].concat());
        let id = [0x12, 1, b's'];
        assert_eq!(with(&id, &heartbeat), FrameError::Version(0));
        let two = [[0x08, 2].as_slice(), &id].concat();
        assert_eq!(with(&two, &heartbeat), FrameError::Version(2));
        assert_eq!(with(&[0x08, 1], &heartbeat), FrameError::Stream);
        assert_eq!(
            with(&[0x08, 1, 0x12, 1, b' '], &heartbeat),
            FrameError::Stream
        );
        let long = [&[0x08, 1, 0x12, 0x81, 0x01], [b'i'; 129].as_slice()].concat();
        assert_eq!(with(&long, &heartbeat), FrameError::Stream);
        let one = [[0x08, 1].as_slice(), &id].concat();
        assert_eq!(with(&one, &[]), FrameError::NoKind);
        assert_eq!(with(&one, &[0x52, 0]), FrameError::Empty("payload"));
        assert_eq!(with(&one, &[0x42, 0]), FrameError::Empty("reason"));
        assert_eq!(
            with(&one, &[0x2a, 3, 0x22, 1, b'x']),
            FrameError::Segmented { index: 0, count: 0 }
        );
        assert_eq!(
            with(&one, &[0x2a, 2, 0x18, 1]),
            FrameError::Empty("payload")
        );
        assert!(matches!(decode(b"\xff"), FrameError::Undecodable(_)));
        // What a newer peer adds is passed over.
        let newer = [one.as_slice(), &heartbeat, &[0xa2, 0x06, 1, b'?']].concat();
        assert_eq!(
            Frame::decode(newer.into()).map(|frame| frame.kind),
            Ok(Kind::Heartbeat)
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            stream in "[!-~]{1,128}", seq: u32, payload in prop::collection::vec(any::<u8>(), 1..300)
        ) {
            let payload = Bytes::from(payload);
            for kind in [Kind::Data { seq, payload: payload.clone() }, Kind::Handshake(payload)] {
                let frame = Frame { stream: stream.clone(), kind };
                prop_assert_eq!(Frame::decode(frame.clone().encode()), Ok(frame));
            }
        }
    }
}
