//! A wire inside an encrypted channel.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use farstep_protocol::noise::{Channel, ChannelError, KeyLife, MESSAGE_BYTES_MAX};
use farstep_protocol::relay::{CREDENTIAL_EXPIRED, Frame, Kind};
use futures_util::{Sink, Stream};
use tokio::time::Instant;

use super::{Carrier, PaddingWish};
use crate::{Padding, Rekeys, Text, Wire, WireError};

/// What may wait to be sealed before more is taken, in bytes: small messages share records, large
/// ones do not pile up.
const UNSEALED_BYTES_MAX: usize = 256 * 1024;

/// The wire of one stream, behind its handshake.
#[derive(Debug)]
pub struct Sealed<C> {
    carrier: C,
    stream: String,
    channel: Channel,
    padding: PaddingWish,
    /// A message that is made while it is sent. Its length comes first, so it has to be whole.
    parts: BytesMut,
    is_over: bool,
}

impl<C: Carrier> Sealed<C> {
    /// The stream of that id, whose handshake is behind it.
    pub fn new(carrier: C, stream: String, channel: Channel) -> Sealed<C> {
        Sealed {
            carrier,
            stream,
            channel,
            padding: PaddingWish::default(),
            parts: BytesMut::new(),
            is_over: false,
        }
    }

    /// The same, of an end that wants this of padding.
    pub fn wishing(self, padding: PaddingWish) -> Sealed<C> {
        Sealed { padding, ..self }
    }

    /// What the frames travel on.
    pub fn carrier(&self) -> &C {
        &self.carrier
    }

    /// Hands what waits over to the carrier, as far as that takes it.
    fn poll_seal(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        while self.channel.unsealed() > 0 {
            ready!(Pin::new(&mut self.carrier).poll_ready(cx))?;
            // Nothing is sealed that cannot be sent: its number would be missing.
            let now = Instant::now().into_std();
            let Some((seq, payload)) = self.channel.poll_record(now).map_err(ended)? else {
                break;
            };
            let frame = Frame {
                stream: self.stream.clone(),
                kind: Kind::Data { seq, payload },
            };
            Pin::new(&mut self.carrier).start_send(frame.encode())?;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a frame. Those of other streams, and those that mean nothing, are passed over.
    fn take(&mut self, bytes: Bytes) -> Result<(), WireError> {
        let Ok(frame) = Frame::decode(bytes) else {
            return Ok(());
        };
        if frame.stream != self.stream {
            return Ok(());
        }
        match frame.kind {
            Kind::Data { seq, payload } => self.channel.handle_record(seq, payload).map_err(ended),
            Kind::Reset { reason } if reason == CREDENTIAL_EXPIRED => Err(WireError::Expired),
            Kind::Reset { reason } => Err(WireError::Reset { reason }),
            Kind::Ack | Kind::Resume { .. } | Kind::Heartbeat | Kind::Handshake(_) => Ok(()),
        }
    }
}

fn ended(error: ChannelError) -> WireError {
    WireError::Stream {
        reason: error.to_string(),
    }
}

impl<C: Carrier> Stream for Sealed<C> {
    type Item = Result<Text, WireError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.is_over {
                return Poll::Ready(None);
            }
            let took = match this.channel.poll_message() {
                Ok(Some(message)) => {
                    let text = Text::try_from(message).map_err(|_| WireError::NotText);
                    return Poll::Ready(Some(text));
                }
                Ok(None) => match ready!(Pin::new(&mut this.carrier).poll_next(cx)) {
                    Some(Ok(bytes)) => this.take(bytes),
                    Some(Err(error)) => Err(error),
                    None => return Poll::Ready(None),
                },
                Err(error) => Err(ended(error)),
            };
            if let Err(error) = took {
                this.is_over = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl<C: Carrier> Sink<Text> for Sealed<C> {
    type Error = WireError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        if this.channel.unsealed() < UNSEALED_BYTES_MAX {
            return Poll::Ready(Ok(()));
        }
        this.poll_seal(cx)
    }

    fn start_send(self: Pin<&mut Self>, text: Text) -> Result<(), WireError> {
        self.get_mut().channel.send(text.as_bytes()).map_err(ended)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        ready!(this.poll_seal(cx))?;
        Pin::new(&mut this.carrier).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().carrier).poll_close(cx)
    }
}

impl<C: Carrier> Wire for Sealed<C> {
    fn start_part(&mut self, part: Text, is_last: bool) -> Result<(), WireError> {
        if self.parts.len() + part.len() > MESSAGE_BYTES_MAX {
            return Err(WireError::TooLong {
                limit: MESSAGE_BYTES_MAX,
            });
        }
        self.parts.extend_from_slice(part.as_bytes());
        if is_last {
            let whole = std::mem::take(&mut self.parts);
            self.channel.send(&whole).map_err(ended)?;
        }
        Ok(())
    }

    fn set_farewell(&mut self, _reason: &'static str) {
        // A stream ends with a reset, which only its carrier's owner can send.
    }

    fn arrived(&self) -> Option<u64> {
        // A relay that swallows a record stalls the stream for ever.
        Some(self.channel.opened_records())
    }

    fn has_keys(&self) -> bool {
        true
    }

    fn set_rekeys(&mut self, rekeys: Rekeys) {
        self.channel.set_rekeys(rekeys, KeyLife::default());
    }

    fn padding_wish(&self) -> PaddingWish {
        self.padding
    }

    fn set_padding(&mut self, padding: Padding) {
        self.channel.set_padding(padding);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{SinkExt as _, StreamExt as _};

    use super::*;
    use crate::relay::{Pipe, memory};

    fn pair() -> (Sealed<Pipe>, Sealed<Pipe>) {
        memory().unwrap()
    }

    #[tokio::test]
    async fn texts_arrive_as_they_were_sent_whole_or_in_parts() {
        let (mut left, mut right) = pair();
        let long = "x".repeat(1_000_000);
        left.send(Text::from("short")).await.unwrap();
        left.send(Text::from(long.clone())).await.unwrap();
        left.start_part(Text::from("in "), false).unwrap();
        left.start_part(Text::from("parts"), true).unwrap();
        left.flush().await.unwrap();
        for expected in ["short", &long, "in parts"] {
            assert_eq!(right.next().await.unwrap().unwrap(), expected);
        }
    }

    /// Records of the left end that are under way, by their plaintext's bytes.
    fn under_way(right: &mut Sealed<Pipe>) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let Ok(bytes) = right.carrier.into.try_recv() {
            if let Kind::Data { payload, .. } = Frame::decode(bytes.clone()).unwrap().kind {
                sizes.push(payload.len() - 16);
            }
            right.take(bytes).unwrap();
        }
        sizes
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_are_an_hour_old_are_changed_if_that_was_agreed() {
        for (rekeys, expected) in [(Rekeys::Agreed, vec![0, 9]), (Rekeys::Never, vec![9])] {
            let (mut left, mut right) = pair();
            left.set_rekeys(rekeys);
            right.set_rekeys(rekeys);
            left.send(Text::from("early")).await.unwrap();
            assert_eq!(under_way(&mut right), [9]);
            tokio::time::advance(Duration::from_secs(3600)).await;
            left.send(Text::from("later")).await.unwrap();
            assert_eq!(under_way(&mut right), expected);
            for text in ["early", "later"] {
                assert_eq!(right.next().await.unwrap().unwrap(), text);
            }
        }
    }

    #[tokio::test]
    async fn what_shares_a_flush_shares_the_padding_of_one_record() {
        let (left, mut right) = pair();
        let mut left = left.wishing(PaddingWish::Always);
        assert_eq!(left.padding_wish(), PaddingWish::Always);
        for end in [&mut left, &mut right] {
            end.set_padding(Padding::Agreed);
        }
        for text in ["one", "two", "three"] {
            left.feed(Text::from(text)).await.unwrap();
        }
        left.flush().await.unwrap();
        assert_eq!(under_way(&mut right), [0, 256]);
        left.send(Text::from("x".repeat(300))).await.unwrap();
        assert_eq!(under_way(&mut right), [512]);
        for text in ["one", "two", "three"] {
            assert_eq!(right.next().await.unwrap().unwrap(), text);
        }
    }

    #[tokio::test]
    async fn frames_of_others_mean_nothing_and_a_reset_is_the_end() {
        let (left, mut right) = pair();
        let send = |bytes: Bytes| left.carrier.out.try_send(bytes).unwrap();
        send(Bytes::from_static(b"no frame"));
        send(Frame::reset("other", "no").encode());
        send(Frame::reset("s", "enough").encode());
        let error = right.next().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "stream was reset: enough");
        assert!(right.next().await.is_none());
    }

    #[tokio::test]
    async fn a_credential_that_expired_is_told_from_other_resets() {
        let (left, mut right) = pair();
        let reset = Frame::reset("s", CREDENTIAL_EXPIRED).encode();
        left.carrier.out.try_send(reset).unwrap();
        let error = right.next().await.unwrap().unwrap_err();
        assert!(matches!(error, WireError::Expired), "{error}");
        assert!(right.next().await.is_none());
    }

    #[tokio::test]
    async fn a_record_that_was_changed_ends_the_stream() {
        let (left, mut right) = pair();
        let frame = Frame {
            stream: "s".to_owned(),
            kind: Kind::Data {
                seq: 0,
                payload: Bytes::from_static(&[0; 40]),
            },
        };
        left.carrier.out.try_send(frame.encode()).unwrap();
        let error = right.next().await.unwrap().unwrap_err();
        assert!(matches!(error, WireError::Stream { .. }), "{error}");
    }
}
