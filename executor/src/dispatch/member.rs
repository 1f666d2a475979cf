//! A part of a request that is used after the request was read.

use std::borrow::Cow;
use std::ops::Range;

use farstep_protocol::frame;
use farstep_transport::Text;

/// A member of a message that outlives the parsing of it, without a copy unless it was escaped.
pub(super) enum Member {
    Inside(Text, Range<usize>),
    Apart(String),
}

impl Member {
    pub(super) fn of(message: &Text, member: Cow<'_, str>) -> Member {
        match member {
            Cow::Borrowed(part) => {
                let start = (part.as_ptr() as usize).wrapping_sub(message.as_ptr() as usize);
                Member::Inside(message.clone(), start..start.wrapping_add(part.len()))
            }
            Cow::Owned(part) => Member::Apart(part),
        }
    }

    /// The bytes it stands for; `None` if it is not the base64 of any.
    pub(super) fn decoded(&self) -> Option<Vec<u8>> {
        frame::read_base64(self.text()?)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Member::Inside(message, range) => message.get(range.clone()),
            Member::Apart(part) => Some(part),
        }
    }
}
