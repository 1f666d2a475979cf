//! Capability tokens: made here, kept as digests, compared in constant time.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::args::TokenSource;
use super::secret_file::{self, SecretFileError};
use super::watched::Watched;
use super::{Denied, Principal};
use crate::audit::Audit;
use crate::os;

/// What every token of ours begins with, so that secret scanners know it (`security` SR-9).
const PREFIX: &str = "fst1_";

/// Random bytes in a token of ours: 256 bits.
const RANDOM_BYTES: usize = 32;

/// Bytes of SHA-256 behind them, by which a scanner tells a token from something that looks alike.
const CHECK_BYTES: usize = 4;

type Digest = [u8; 32];

/// The tokens in force.
pub(crate) struct Tokens {
    file: Option<Watched<Digest>>,
    overlap: Duration,
    known: Mutex<Known>,
}

/// Which tokens are valid now.
struct Known {
    current: Digest,
    /// The one before, and until when it counts as well.
    former: Option<(Digest, Instant)>,
}

impl Tokens {
    pub(super) fn load(source: &TokenSource) -> Result<Tokens, SecretFileError> {
        let (file, current, overlap) = match source {
            TokenSource::Digest(digest) => (None, *digest, Duration::ZERO),
            TokenSource::File { path, overlap } => {
                let read = path.clone();
                let file = Watched::new(vec![path.clone()], move || digest_of_file(&read))?;
                let current = digest_of_file(path)?;
                (Some(file), current, *overlap)
            }
        };
        let known = Known {
            current,
            former: None,
        };
        Ok(Tokens {
            file,
            overlap,
            known: Mutex::new(known),
        })
    }

    pub(super) fn report_to(&self, audit: &Audit) {
        if let Some(file) = &self.file {
            file.report_to(audit);
        }
    }

    pub(super) async fn check(&self, token: &str) -> Result<Principal, Denied> {
        let read = match &self.file {
            Some(file) => Some(*file.current().await.0),
            None => None,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = read
            && read != known.current
        {
            known.former = Some((known.current, Instant::now() + self.overlap));
            known.current = read;
        }
        if known
            .former
            .is_some_and(|(_, until)| Instant::now() >= until)
        {
            known.former = None;
        }
        let presented: Digest = Sha256::digest(token.as_bytes()).into();
        // Both are always compared, so that nothing shows in the time which one it was.
        let former = match &known.former {
            Some((former, _)) => presented.ct_eq(former),
            None => presented.ct_eq(&known.current) & Choice::from(0),
        };
        if bool::from(presented.ct_eq(&known.current) | former) {
            // Everybody who knows the token, and after a rotation the next one, is the same.
            Ok(Principal::named("token"))
        } else {
            Err(Denied("the token is wrong"))
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The digest of the token in a file; line ends around it do not belong to it.
fn digest_of_file(path: &Path) -> Result<Digest, SecretFileError> {
    let secret = secret_file::read(path)?;
    Ok(Sha256::digest(secret.trim_ascii()).into())
}

/// Makes a token for --ws-auth capability-token
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct TokenArgs {
    /// Write it to this new file, readable by you alone, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the system gave no random bytes")]
    NoRandomness,
    #[error("failed to write the token to {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is there already; a new token is only written to a new file", path.display())]
    Exists { path: PathBuf },
}

/// What `token new` made. It does not show itself.
#[expect(missing_debug_implementations, reason = "it holds the token")]
pub struct NewToken {
    /// The token itself, when it is not in a file.
    pub token: Option<Zeroizing<String>>,
    /// Its SHA-256, for `--ws-token-sha256`.
    pub sha256: String,
}

impl TokenArgs {
    /// Makes the token and writes it where it was asked for.
    pub fn run(&self) -> Result<NewToken, TokenError> {
        let token = generate()?;
        let sha256 = hex(&Sha256::digest(token.as_bytes()));
        let Some(path) = &self.out else {
            return Ok(NewToken {
                token: Some(token),
                sha256,
            });
        };
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => TokenError::Exists { path: path.clone() },
            _ => TokenError::Write {
                path: path.clone(),
                source,
            },
        };
        let mut file = os::create_secret(path).map_err(failed)?;
        file.write_all(token.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        Ok(NewToken {
            token: None,
            sha256,
        })
    }
}

fn generate() -> Result<Zeroizing<String>, TokenError> {
    let mut random = Zeroizing::new([0; RANDOM_BYTES]);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let filled = provider.secure_random.fill(&mut *random);
    filled.map_err(|_| TokenError::NoRandomness)?;
    let mut token = Zeroizing::new(format!("{PREFIX}{}", hex(&*random)));
    let check = Sha256::digest(token.as_bytes());
    token.push_str(&hex(check.get(..CHECK_BYTES).unwrap_or_default()));
    Ok(token)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
