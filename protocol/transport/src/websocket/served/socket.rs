//! The byte stream below a served websocket, and what was read from it in advance.
//!
//! Bytes go on to tungstenite frame by frame, but for one kind: a large message that is one frame
//! is taken out here. On the usual way its bytes would be moved twice, in steps of what an idle
//! connection can afford to hold, and unmasked when they have long left the processor's cache.
//!
//! ```text
//!   small frames, parts of messages, what is not in order ──▶ tungstenite, as they are
//!   a large message ──▶ the socket reads into its memory ──▶ unmasked ──▶ Text
//! ```

use std::io::{self, Cursor, Read, Write};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::super::{Options, broken};
use super::LARGE_BYTES_MIN;
use crate::budget::Charge;
use crate::{Text, WireError};

/// How much is read at once from a peer that sends little.
const DIRECT_BYTES: usize = 4 * 1024;

/// How much is read at once from a peer that sends more than fits the small buffer.
const AHEAD_BYTES: usize = 64 * 1024;

/// How much of a large message is read before it is unmasked: it is still in the cache then.
const PIECE_BYTES: usize = 256 * 1024;

/// The memory of smaller messages is at hand in the allocator as soon as one of them is done with,
/// and still in the cache; keeping it here would only take it from the next.
const SPARE_BYTES_MIN: usize = 2 * 1024 * 1024;

/// How the socket says that the budget is used up, on its way through tungstenite.
pub(super) const OVERLOADED: io::ErrorKind = io::ErrorKind::OutOfMemory;

#[derive(Debug)]
pub(super) struct Socket<S> {
    pub(super) stream: S,
    pub(super) ahead: BytesMut,
    /// The last read filled all the room there was.
    is_hungry: bool,
    /// A large frame is written in part: nobody else may write.
    pub(super) is_mid_frame: bool,
    /// Bytes read since the last whole message, and what is charged for them.
    arrived: usize,
    pub(super) charge: Option<Charge>,
    frames: Frames,
    large: Option<Large>,
    /// The memory of the large message before, if nobody has it any more: new memory costs as much
    /// time as what is written there.
    pub(super) spare: BytesMut,
}

/// Where the frames end that go on to tungstenite.
#[derive(Debug)]
struct Frames {
    /// What is missing of the frame that is going on.
    left: u64,
    /// A message in several frames is under way.
    in_message: bool,
    /// Which messages are taken out, by the bytes of their frame.
    large: std::ops::RangeInclusive<u64>,
}

/// A message that arrives in its own memory.
#[derive(Debug)]
struct Large {
    payload: BytesMut,
    bytes: usize,
    mask: [u8; 4],
    is_text: bool,
}

/// What stands where a frame begins.
enum Beginning {
    /// Not enough to say.
    Incomplete,
    /// So many bytes that go on, header included.
    Small(u64),
    /// A large message, behind a header of so many bytes.
    Large(usize, Large),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// `read` is what arrived already.
    pub(super) fn new(stream: S, read: &[u8], options: &Options) -> Self {
        let most = options.frame_bytes_max.min(options.message_bytes_max);
        Socket {
            stream,
            ahead: BytesMut::from(read),
            is_hungry: false,
            is_mid_frame: false,
            arrived: 0,
            charge: None,
            frames: Frames {
                left: 0,
                in_message: false,
                large: LARGE_BYTES_MIN.min(most / 2 + 1) as u64..=most as u64,
            },
            large: None,
            spare: BytesMut::new(),
        }
    }

    /// Gives back what is only kept to be faster next time.
    pub(super) fn forget_spare(&mut self) {
        self.spare = BytesMut::new();
    }

    pub(super) fn on<'a, 'b>(&'a mut self, cx: &'a mut Context<'b>) -> SocketOn<'a, 'b, S> {
        SocketOn { socket: self, cx }
    }

    /// Whether a large message is arriving; nothing goes on to tungstenite until it is whole.
    pub(super) fn is_large(&self) -> bool {
        self.large.is_some()
    }

    /// The large message, when it is whole. `None` when the connection ends before that.
    pub(super) fn poll_large(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Text, WireError>>> {
        let read = ready!(self.poll_rest(cx));
        let Some(mut large) = self.large.take() else {
            return Poll::Pending;
        };
        let bytes = if large.bytes < SPARE_BYTES_MIN {
            large.payload.freeze()
        } else {
            let bytes = large.payload.split().freeze();
            self.spare = large.payload;
            bytes
        };
        let text = match read {
            Ok(0) => return Poll::Ready(None),
            // Tied first: whether it is text is found out once.
            Ok(_) if large.is_text => Text::try_from(self.settle_bytes(bytes))
                .map_err(|error| broken(tungstenite::Error::Utf8(error.to_string()))),
            Ok(_) => Text::try_from(self.settle_bytes(bytes)).map_err(|_| WireError::NotText),
            Err(error) if error.kind() == OVERLOADED => Err(WireError::Overloaded),
            Err(error) => Err(WireError::Io(error)),
        };
        Poll::Ready(Some(text))
    }

    /// Reads until the large message is whole; 0 at the end of the connection.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(large) = &mut self.large {
            let (begin, left) = (
                large.payload.len(),
                large.bytes.saturating_sub(large.payload.len()),
            );
            if left == 0 {
                return Poll::Ready(Ok(begin));
            }
            let mut room = (&mut large.payload).limit(left.min(PIECE_BYTES));
            // Dropping the future of a read that is not ready loses nothing.
            let count = ready!(pin!(self.stream.read_buf(&mut room)).poll(cx))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            large.unmask(begin);
            self.charge_for(count)?;
        }
        Poll::Pending
    }

    /// Reads, and charges for what was read before more is asked for.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.poll_read_some(cx, room))?;
        self.charge_for(count)?;
        Poll::Ready(Ok(count))
    }

    fn charge_for(&mut self, count: usize) -> io::Result<()> {
        self.arrived += count;
        let charge = self.charge.as_mut();
        match charge.is_none_or(|charge| charge.cover(self.arrived)) {
            true => Ok(()),
            false => Err(OVERLOADED.into()),
        }
    }

    fn settle_bytes(&mut self, bytes: Bytes) -> Bytes {
        self.arrived = 0;
        match &mut self.charge {
            Some(charge) => charge.tie_bytes(bytes),
            None => bytes,
        }
    }

    /// A message is whole: what was charged stays with it.
    pub(super) fn settle(&mut self, text: Text) -> Text {
        self.arrived = 0;
        match &mut self.charge {
            Some(charge) => charge.tie(text),
            None => text,
        }
    }

    fn poll_read_some(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let count = self.frames.pass(&self.ahead, room.len());
            if count > 0 {
                self.ahead
                    .copy_to_slice(room.get_mut(..count).unwrap_or_default());
                self.rest_if_idle();
                return Poll::Ready(Ok(count));
            }
            if !self.ahead.is_empty()
                && let Beginning::Large(head, large) = self.frames.beginning(&self.ahead)
            {
                self.begin(head, large)?;
                // Nobody is to be woken: who asked looks whether it was this.
                return Poll::Pending;
            }
            let count = if self.ahead.is_empty() && !self.is_hungry {
                ready!(self.poll_read_directly(cx, room))?
            } else {
                ready!(self.poll_read_ahead(cx))?.map(|()| 0)
            };
            match count {
                // The end of the connection.
                None => return Poll::Ready(Ok(0)),
                Some(0) => {}
                Some(count) => return Poll::Ready(Ok(count)),
            }
        }
    }

    /// Makes room for a large message, and puts there what has arrived of it.
    fn begin(&mut self, head: usize, mut large: Large) -> io::Result<()> {
        self.ahead.advance(head);
        large.payload = std::mem::take(&mut self.spare);
        if !large.payload.try_reclaim(large.bytes) {
            large.payload = BytesMut::with_capacity(large.bytes);
        }
        let here = self.ahead.len().min(large.bytes);
        large.payload.extend_from_slice(&self.ahead.split_to(here));
        large.unmask(0);
        self.large = Some(large);
        // What comes behind it is read as from anybody.
        self.is_hungry = false;
        self.rest_if_idle();
        self.charge_for(head + here)
    }

    /// While the peer pauses: an idle connection holds no large buffer.
    fn rest_if_idle(&mut self) {
        if self.ahead.is_empty() && !self.is_hungry {
            self.ahead = BytesMut::new();
        }
    }

    /// `None` at the end of the connection.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<()>>> {
        self.ahead.reserve(AHEAD_BYTES);
        let room = self.ahead.capacity();
        // Dropping the future of a read that is not ready loses nothing.
        let read = pin!(self.stream.read_buf(&mut self.ahead)).poll(cx);
        self.is_hungry = self.ahead.len() == room;
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        let count = ready!(read)?;
        Poll::Ready(Ok((count > 0).then_some(())))
    }

    /// How much of it went straight to `room`; `None` at the end of the connection.
    fn poll_read_directly(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        // Most messages fit, and an idle connection need not keep room for one.
        let mut space = [MaybeUninit::uninit(); DIRECT_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.is_hungry = buffer.remaining() == 0;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(None));
        }
        let count = self.frames.pass(buffer.filled(), room.len());
        let (now, later) = buffer.filled().split_at(count);
        room.get_mut(..count)
            .unwrap_or_default()
            .copy_from_slice(now);
        self.ahead.extend_from_slice(later);
        Poll::Ready(Ok(Some(count)))
    }
}

impl Frames {
    /// How many of `bytes`, and at most `limit`, go on to tungstenite.
    fn pass(&mut self, bytes: &[u8], limit: usize) -> usize {
        let limit = limit.min(bytes.len());
        let mut passed = 0;
        while passed < limit {
            if self.left == 0 {
                let rest = bytes.get(passed..).unwrap_or_default();
                let Some(frame) = shortest(rest).or_else(|| match self.beginning(rest) {
                    Beginning::Small(frame) => Some(frame),
                    Beginning::Incomplete | Beginning::Large(..) => None,
                }) else {
                    break;
                };
                self.left = frame;
                self.note(rest);
            }
            let count =
                usize::try_from(self.left).map_or(limit - passed, |left| left.min(limit - passed));
            passed += count;
            self.left -= count as u64;
        }
        passed
    }

    /// What begins with `bytes`, where a frame begins.
    fn beginning(&self, bytes: &[u8]) -> Beginning {
        let mut cursor = Cursor::new(bytes);
        let (header, payload) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Beginning::Incomplete,
            // All of it is for tungstenite to refuse.
            Err(_) => return Beginning::Small(u64::MAX),
        };
        let head = usize::try_from(cursor.position()).unwrap_or(bytes.len());
        let is_text = matches!(header.opcode, OpCode::Data(Data::Text));
        let is_binary = matches!(header.opcode, OpCode::Data(Data::Binary));
        let is_plain = !(header.rsv1 || header.rsv2 || header.rsv3);
        let is_whole = header.is_final && !self.in_message && is_plain && (is_text || is_binary);
        match (header.mask, usize::try_from(payload)) {
            (Some(mask), Ok(bytes)) if is_whole && self.large.contains(&payload) => {
                let large = Large {
                    payload: BytesMut::new(),
                    bytes,
                    mask,
                    is_text,
                };
                Beginning::Large(head, large)
            }
            _ => Beginning::Small(payload.saturating_add(head as u64)),
        }
    }

    /// Remembers whether the frame that begins with `bytes` leaves a message open.
    fn note(&mut self, bytes: &[u8]) {
        const IS_FINAL: u8 = 0x80;
        const IS_CONTROL: u8 = 0x08;
        if let Some(first) = bytes.first()
            && first & IS_CONTROL == 0
        {
            self.in_message = first & IS_FINAL == 0;
        }
    }
}

/// The bytes of a frame of the shortest kind, which most of them are.
fn shortest(bytes: &[u8]) -> Option<u64> {
    const IS_MASKED: u8 = 0x80;
    const MASK_BYTES: u8 = 4;
    let &[_, second, ..] = bytes else { return None };
    let (length, is_masked) = (second & !IS_MASKED, second & IS_MASKED != 0);
    let mask = if is_masked { MASK_BYTES } else { 0 };
    // The two above say that the length follows.
    (length < 126).then(|| u64::from(2 + length + mask))
}

impl Large {
    /// Takes the mask off everything from `begin` on.
    fn unmask(&mut self, begin: usize) {
        let mut mask = self.mask;
        mask.rotate_left(begin % self.mask.len());
        unmask(self.payload.get_mut(begin..).unwrap_or_default(), mask);
    }
}

/// Words at a time, which the compiler makes as wide as the machine is. Alone, so that it always does.
#[inline(never)]
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The socket in the hands of a polled task: what would wait is reported as blocked.
pub(super) struct SocketOn<'a, 'b, S> {
    socket: &'a mut Socket<S>,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for SocketOn<'_, '_, S> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        or_blocked(self.socket.poll_read(self.cx, room))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for SocketOn<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.socket.is_mid_frame {
            // Whoever finishes the frame flushes what waits here.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        or_blocked(Pin::new(&mut self.socket.stream).poll_write(self.cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        or_blocked(Pin::new(&mut self.socket.stream).poll_flush(self.cx))
    }
}

/// Stands in where a message is only to be queued.
pub(super) struct NoSocket;

impl Read for NoSocket {
    fn read(&mut self, _room: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for NoSocket {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

fn or_blocked<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

pub(super) fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
