//! The first words of a bridge to the executor in the background: what its login is like.
//!
//! `FSG1`, four bytes of length, and texts of the system each with a NUL behind: the session that
//! has to be there, or nothing; the working folder; and the variables. One byte is the answer.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::os;

/// The answer of one who has the session, or was asked for none.
pub(crate) const KNOWN: u8 = b'+';
/// The answer of one who has not.
pub(crate) const UNKNOWN: u8 = b'-';

const MAGIC: [u8; 4] = *b"FSG1";
/// More than any system allows a program to be started with.
const BYTES_MAX: u32 = 8 << 20;

/// See above.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// Only who has this session is meant.
    pub(crate) session: Option<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) variables: Vec<(OsString, OsString)>,
}

/// Without what may be secret.
impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Greeting")
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// Why there was none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    #[error("it is none")]
    Nonsense,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Greeting {
    /// Says it, and hears the answer.
    pub(crate) async fn say<S>(&self, stream: &mut S) -> io::Result<u8>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        stream.write_all(&self.encode()?).await?;
        stream.read_u8().await
    }

    pub(crate) async fn hear<S: AsyncRead + Unpin>(
        stream: &mut S,
    ) -> Result<Greeting, GreetingError> {
        let mut head = [0; MAGIC.len()];
        stream.read_exact(&mut head).await?;
        let length = stream.read_u32().await?;
        if head != MAGIC || length > BYTES_MAX {
            return Err(GreetingError::Nonsense);
        }
        // It grows with what really comes.
        let mut bytes = Vec::new();
        let mut texts = stream.take(length.into());
        texts.read_to_end(&mut bytes).await?;
        Greeting::decode(&bytes).ok_or(GreetingError::Nonsense)
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut texts = Vec::new();
        let mut push = |parts: &[&OsStr]| {
            for part in parts {
                texts.extend_from_slice(os::bytes_of(part));
            }
            texts.push(0);
        };
        push(&[self.session.as_deref().unwrap_or_default().as_ref()]);
        push(&[self.cwd.as_os_str()]);
        for (name, value) in &self.variables {
            push(&[name, "=".as_ref(), value]);
        }
        let length = u32::try_from(texts.len()).ok();
        let length = length.filter(|length| *length <= BYTES_MAX);
        let length = length.ok_or_else(|| {
            io::Error::new(ErrorKind::InvalidInput, "the environment is too large")
        })?;
        Ok([&MAGIC[..], &length.to_be_bytes(), &texts].concat())
    }

    fn decode(bytes: &[u8]) -> Option<Greeting> {
        let mut texts = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0);
        let session = String::from_utf8(texts.next()?.to_vec()).ok()?;
        let cwd = PathBuf::from(os::text_of(texts.next()?));
        let variable = |text: &[u8]| {
            // A name may begin with the sign, on systems where that means something.
            let at = text.iter().skip(1).position(|byte| *byte == b'=')? + 1;
            let (name, value) = text.split_at_checked(at)?;
            Some((os::text_of(name), os::text_of(value.get(1..)?)))
        };
        Some(Greeting {
            session: Some(session).filter(|session| !session.is_empty()),
            cwd,
            variables: texts.filter_map(variable).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(session: Option<&str>) -> Greeting {
        Greeting {
            session: session.map(str::to_owned),
            cwd: "/srv/a b".into(),
            variables: [("A", "1=2"), ("EMPTY", ""), ("LINES", "x\ny")]
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
        }
    }

    #[tokio::test]
    async fn what_is_said_is_what_is_heard_and_answered() {
        for said in [greeting(None), greeting(Some("id"))] {
            let (mut here, mut there) = tokio::io::duplex(16);
            let listening = async {
                let heard = Greeting::hear(&mut there).await.unwrap();
                there.write_u8(KNOWN).await.unwrap();
                heard
            };
            let (answer, heard) = tokio::join!(said.say(&mut here), listening);
            assert_eq!((answer.unwrap(), heard), (KNOWN, said));
        }
    }

    #[tokio::test]
    async fn what_is_none_is_no_greeting() {
        let whole = greeting(None).encode().unwrap();
        let huge = [&MAGIC[..], &u32::MAX.to_be_bytes()].concat();
        for mut bytes in [&b"GET / HTTP"[..], &whole[..9], b"FSG1\0\0\0\0", &huge] {
            assert!(Greeting::hear(&mut bytes).await.is_err());
        }
    }
}
