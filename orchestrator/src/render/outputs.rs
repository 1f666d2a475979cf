//! Our two outputs, as streams of bytes.

use std::borrow::Cow;
use std::io::IsTerminal as _;

use bytes::Bytes;
use farstep_environments::OutputStream;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::TerminalFilter;
use crate::text::AttachFilter;

/// What a command writes goes where it meant it to go.
#[derive(Debug)]
pub struct Outputs {
    out: Output<tokio::io::Stdout>,
    err: Output<tokio::io::Stderr>,
}

#[derive(Debug)]
struct Output<W> {
    to: W,
    filter: Filter,
}

/// What is taken out on the way.
#[derive(Debug)]
enum Filter {
    /// Nothing.
    None,
    /// A terminal is steered by what it shows, so it gets the visible form only.
    Visible(TerminalFilter),
    /// It is lent, so that it may be steered, but nothing beyond it.
    Lent(AttachFilter),
}

impl Outputs {
    /// `raw` trusts the far side with our terminal; `lent` does so with most of it.
    pub fn new(raw: bool, lent: bool) -> Outputs {
        let filter = |terminal: bool| match (terminal && !raw, lent) {
            (false, _) => Filter::None,
            (true, false) => Filter::Visible(TerminalFilter::default()),
            (true, true) => Filter::Lent(AttachFilter::default()),
        };
        Outputs {
            out: Output {
                to: tokio::io::stdout(),
                filter: filter(std::io::stdout().is_terminal()),
            },
            err: Output {
                to: tokio::io::stderr(),
                filter: filter(std::io::stderr().is_terminal()),
            },
        }
    }

    pub async fn write(&mut self, stream: OutputStream, bytes: Bytes) -> std::io::Result<()> {
        match stream {
            OutputStream::Stdout | OutputStream::Pty => self.out.write(bytes).await,
            OutputStream::Stderr => self.err.write(bytes).await,
        }
    }

    /// What was held back because more might have followed.
    pub async fn finish(&mut self) -> std::io::Result<()> {
        self.out.finish().await?;
        self.err.finish().await
    }
}

impl Filter {
    fn pass<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Filter::None => Cow::Borrowed(bytes),
            Filter::Visible(filter) => Cow::Owned(filter.pass(bytes).into_bytes()),
            Filter::Lent(filter) => Cow::Owned(filter.pass(bytes)),
        }
    }

    fn finish(&mut self) -> Vec<u8> {
        match self {
            Filter::None => Vec::new(),
            Filter::Visible(filter) => filter.finish().into_bytes(),
            Filter::Lent(filter) => filter.finish(),
        }
    }
}

impl<W: AsyncWrite + Unpin> Output<W> {
    async fn write(&mut self, bytes: Bytes) -> std::io::Result<()> {
        self.to.write_all(&self.filter.pass(&bytes)).await?;
        self.to.flush().await
    }

    async fn finish(&mut self) -> std::io::Result<()> {
        self.to.write_all(&self.filter.finish()).await?;
        self.to.flush().await
    }
}
