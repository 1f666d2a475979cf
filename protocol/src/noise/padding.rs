//! Records of few sizes, so that a relay learns little from how long they are.
//!
//! ```text
//!   padded:  length (2 bytes) │ content │ zeros                   as many bytes as a bucket has
//!   a stream:  record …, begin ─▶ padded … padded                  each direction by itself
//! ```
//!
//! Begin is a record without plaintext. Whoever agreed to pad sends it before anything else, so an
//! executor's is the first record of its direction, and its answer is padded already. From then on an
//! empty content is what an empty record was before: the marker of [a change of keys](super::rekey).
//!
//! Buckets are powers of two. A shape that follows sizes more closely (PADMÉ) would save next to
//! nothing here, since most of what is said is below the smallest bucket either way and bulk fills
//! records that have no padding; and it would tell some 130 sizes apart instead of nine.

use std::ops::Range;

use super::channel::RECORD_BYTES_MAX;
use crate::relay::WINDOW;

/// The plaintexts of padded records, in bytes.
pub const BUCKETS: [usize; 9] = [
    256,
    512,
    1024,
    2048,
    4096,
    8192,
    16_384,
    32_768,
    RECORD_BYTES_MAX,
];

/// The length before the content, in bytes, most significant first.
const LENGTH_BYTES: usize = 2;

/// The content of one record, in bytes.
pub const CONTENT_BYTES_MAX: usize = RECORD_BYTES_MAX - LENGTH_BYTES;

/// What was said about padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Nothing: records are as long as they are.
    #[default]
    Never,
    /// We asked: the other end may begin with its first record, and we may not yet.
    Offered,
    /// Both ends do it.
    Agreed,
}

/// The other end does not keep to what was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaddingError {
    /// A size that padding does not lead to.
    #[error("a padded record of {0} bytes")]
    Size(usize),
    /// More than there is room for.
    #[error("a padded record of {size} bytes that would hold {length}")]
    Length {
        /// Of the record.
        size: usize,
        /// What it says.
        length: usize,
    },
    /// Something behind the content.
    #[error("a padded record with something in its padding")]
    NotZero,
    /// No padding, for too long.
    #[error("a record without the padding that was agreed")]
    Missing,
}

/// The plaintext of a padded record, with `tail` bytes of room behind it; `None` if the content is
/// longer than [`CONTENT_BYTES_MAX`].
pub(super) fn pad(content: &[u8], tail: usize) -> Option<Vec<u8>> {
    let size = bucket(content.len())?;
    let length = u16::try_from(content.len()).ok()?;
    let mut record = vec![0; size + tail];
    let (head, room) = record.split_first_chunk_mut::<LENGTH_BYTES>()?;
    *head = length.to_be_bytes();
    room.get_mut(..content.len())?.copy_from_slice(content);
    Some(record)
}

/// The size of a padded record with a content of `length` bytes, without its tag.
pub fn bucket(length: usize) -> Option<usize> {
    let least = length + LENGTH_BYTES;
    BUCKETS.into_iter().find(|size| *size >= least)
}

/// Where the content of a padded record's plaintext is.
///
/// A larger bucket than the content needs is as good: it tells less. What is behind the content has
/// to be zero, so that a sender which leaves its memory there is noticed; nobody on the way could
/// have changed it, so looking tells nobody anything.
pub fn content(plaintext: &[u8]) -> Result<Range<usize>, PaddingError> {
    let size = plaintext.len();
    if !BUCKETS.contains(&size) {
        return Err(PaddingError::Size(size));
    }
    let head = plaintext.first_chunk::<LENGTH_BYTES>();
    let length = usize::from(head.copied().map(u16::from_be_bytes).unwrap_or_default());
    let end = LENGTH_BYTES + length;
    let behind = plaintext.get(end..);
    let behind = behind.ok_or(PaddingError::Length { size, length })?;
    // All of them and not until the first: many are looked at in one instruction then.
    match behind.iter().fold(0, |sum, byte| sum | byte) {
        0 => Ok(LENGTH_BYTES..end),
        _ => Err(PaddingError::NotZero),
    }
}

/// Our half: the records we seal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Packing {
    #[default]
    Plain,
    /// The next one says that those behind it are padded.
    Due,
    Padded,
}

impl Packing {
    pub(super) fn set(&mut self, padding: Padding) {
        *self = match (padding, *self) {
            // What has begun goes on: the other end has been told.
            (_, Packing::Padded) => Packing::Padded,
            (Padding::Agreed, _) => Packing::Due,
            (Padding::Never | Padding::Offered, _) => Packing::Plain,
        };
    }

    /// How much a record holds at most.
    pub(super) fn most(self) -> usize {
        match self {
            Packing::Plain | Packing::Due => RECORD_BYTES_MAX,
            Packing::Padded => CONTENT_BYTES_MAX,
        }
    }
}

/// The other half: the records we open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unpacking {
    #[default]
    Plain,
    /// Padding begins with the first record, or not before it is agreed.
    Offered,
    /// It was agreed, and so many records may still come that were on their way.
    Due(u32),
    Padded,
}

impl Unpacking {
    pub(super) fn set(&mut self, padding: Padding) {
        *self = match (padding, *self) {
            (_, Unpacking::Padded) => Unpacking::Padded,
            (Padding::Never, _) => Unpacking::Plain,
            (Padding::Offered, _) => Unpacking::Offered,
            // Who is asked begins at once; who asked learns later that it may.
            (Padding::Agreed, Unpacking::Offered) => Unpacking::Due(0),
            (Padding::Agreed, _) => Unpacking::Due(WINDOW),
        };
    }

    /// Takes a record's plaintext, the first one of its direction or not. Says where its content
    /// is; `None` if it has none, because padding begins behind it.
    pub(super) fn take(
        &mut self,
        plaintext: &[u8],
        is_first: bool,
    ) -> Result<Option<Range<usize>>, PaddingError> {
        let whole = Some(0..plaintext.len());
        match self {
            Unpacking::Padded => content(plaintext).map(Some),
            Unpacking::Due(_) if plaintext.is_empty() => {
                *self = Unpacking::Padded;
                Ok(None)
            }
            Unpacking::Offered if plaintext.is_empty() && is_first => {
                *self = Unpacking::Padded;
                Ok(None)
            }
            Unpacking::Due(left) => {
                *left = left.checked_sub(1).ok_or(PaddingError::Missing)?;
                Ok(whole)
            }
            Unpacking::Plain | Unpacking::Offered => Ok(whole),
        }
    }
}
