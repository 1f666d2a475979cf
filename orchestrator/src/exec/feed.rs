//! From our standard input to a process elsewhere.
//!
//! What the process has not taken is not read here either, beyond a little: whoever writes to us is
//! held back by whoever reads there.

use farstep_environments::{ProcessInput, WriteStatus};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use crate::terminal::{Escape, Typed};

/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces that wait for the process. They travel together, so that a long way costs few round
/// trips; and whoever wants to leave is heard although the process reads nothing.
const PIECES: usize = 16;

/// What tells a terminal that nothing follows.
const END_OF_TRANSMISSION: u8 = 4;

/// What follows behind our input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The end of the process's input.
    Close,
    /// The key that stands for it.
    Key,
}

/// Why nothing more is fed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// Everything was, or nobody reads it.
    All,
    /// Somebody typed that they want to leave.
    Leave,
}

/// Feeds the process until our input ends. With an `escape`, a person is typing.
pub(super) async fn feed(input: ProcessInput, end: End, escape: Option<Escape>) -> Fed {
    let (pieces, waiting) = mpsc::channel(PIECES);
    tokio::select! {
        () = read(pieces, escape) => Fed::Leave,
        () = write(input, waiting, end) => Fed::All,
    }
}

/// Returns when somebody wants to leave.
async fn read(pieces: mpsc::Sender<Vec<u8>>, mut escape: Option<Escape>) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = match stdin.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "standard input cannot be read");
                break;
            }
        };
        let read = buffer.get(..count).unwrap_or_default();
        let piece = match &mut escape {
            None => read.to_vec(),
            Some(escape) => match escape.pass(read) {
                Typed::Keys(keys) => keys,
                Typed::Leave => return,
            },
        };
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    std::future::pending().await
}

async fn write(input: ProcessInput, mut waiting: mpsc::Receiver<Vec<u8>>, end: End) {
    let mut pieces = Vec::with_capacity(PIECES);
    while waiting.recv_many(&mut pieces, PIECES).await > 0 {
        let bytes = pieces.concat();
        pieces.clear();
        match input.write(&bytes).await {
            Ok(WriteStatus::Accepted) => {}
            // It does not read any more, which is its good right.
            Ok(_) => return,
            Err(error) => {
                // Who follows its output learns why.
                tracing::debug!(%error, "input was not taken");
                return;
            }
        }
    }
    let ended = match end {
        End::Close => input.close().await,
        End::Key => input.write(&[END_OF_TRANSMISSION]).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "the end of the input was not taken");
    }
}
