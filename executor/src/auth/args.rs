//! The flags of authentication, as the peer names them, and what they mean together.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// How peers authenticate.
#[derive(Debug, Args)]
pub struct AuthArgs {
    /// How peers authenticate: each upgrade needs `Authorization: Bearer ...`
    #[arg(long, value_name = "MODE")]
    ws_auth: Option<Mode>,

    /// capability-token: the file that holds the token; read again when it changes
    #[arg(long, value_name = "FILE")]
    ws_token_file: Option<PathBuf>,

    /// capability-token: the SHA-256 of the token, 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    ws_token_sha256: Option<String>,

    /// signed-bearer-token: the file with the shared secret (HS256, at least 32 bytes)
    #[arg(long, value_name = "FILE")]
    ws_shared_secret_file: Option<PathBuf>,

    /// signed-bearer-token: what `iss` must be
    #[arg(long, value_name = "NAME")]
    ws_issuer: Option<String>,

    /// signed-bearer-token: what `aud` must contain
    #[arg(long, value_name = "NAME")]
    ws_audience: Option<String>,

    /// signed-bearer-token: how far clocks may differ, at most 300
    #[arg(long, value_name = "SECONDS")]
    ws_max_clock_skew_seconds: Option<u64>,

    /// Seconds for which the old token or secret stays valid beside the new one in its file
    #[arg(long, value_name = "SECONDS", default_value_t = OVERLAP_SECONDS)]
    token_overlap: u64,
}

/// The modes the peer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    CapabilityToken,
    SignedBearerToken,
}

/// Time for whoever rotates a token to give the new one to everybody (`security` SR-10).
const OVERLAP_SECONDS: u64 = 60;

/// Clocks that differ by more are broken, and an expiry that is stretched further is none
/// (`security` SR-5).
const SKEW_SECONDS_MAX: u64 = 300;

/// As the peer has it when nothing is said.
const SKEW_SECONDS: u64 = 30;

/// How peers authenticate, checked. Holds no secret, only where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Settings {
    /// They do not.
    #[default]
    None,
    /// By a token.
    Capability(TokenSource),
    /// By a signed token.
    Signed(SignedSettings),
}

/// Where the token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// From a file, whose former content stays valid for a while.
    File { path: PathBuf, overlap: Duration },
    /// Only its SHA-256 is known here.
    Digest([u8; 32]),
}

/// What a signed token must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedSettings {
    pub secret: PathBuf,
    pub overlap: Duration,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub skew: Duration,
}

/// Flags that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0} needs --ws-auth {1}")]
    WithoutMode(&'static str, &'static str),
    #[error("{0} does not go with --ws-auth {1}")]
    OtherMode(&'static str, &'static str),
    #[error(
        "--ws-auth capability-token needs --ws-token-file or --ws-token-sha256 \
         (`farstep-executor token new --out FILE` makes a token)"
    )]
    NoToken,
    #[error("--ws-token-file and --ws-token-sha256 exclude each other")]
    TwoTokens,
    #[error("--ws-token-sha256 must be 64 hexadecimal digits")]
    Digest,
    #[error("--ws-auth signed-bearer-token needs --ws-shared-secret-file")]
    NoSecret,
    #[error("--ws-max-clock-skew-seconds is at most {SKEW_SECONDS_MAX}")]
    Skew,
}

const CAPABILITY: &str = "capability-token";
const SIGNED: &str = "signed-bearer-token";

impl TryFrom<AuthArgs> for Settings {
    type Error = Refused;

    fn try_from(args: AuthArgs) -> Result<Settings, Refused> {
        let for_tokens = [
            (args.ws_token_file.is_some(), "--ws-token-file"),
            (args.ws_token_sha256.is_some(), "--ws-token-sha256"),
        ];
        let for_signed = [
            (
                args.ws_shared_secret_file.is_some(),
                "--ws-shared-secret-file",
            ),
            (args.ws_issuer.is_some(), "--ws-issuer"),
            (args.ws_audience.is_some(), "--ws-audience"),
            (
                args.ws_max_clock_skew_seconds.is_some(),
                "--ws-max-clock-skew-seconds",
            ),
        ];
        let given = |flags: &[(bool, &'static str)]| {
            flags
                .iter()
                .find_map(|(given, flag)| given.then_some(*flag))
        };
        match (args.ws_auth, given(&for_tokens), given(&for_signed)) {
            (None, Some(flag), _) => Err(Refused::WithoutMode(flag, CAPABILITY)),
            (None, None, Some(flag)) => Err(Refused::WithoutMode(flag, SIGNED)),
            (None, None, None) => Ok(Settings::None),
            (Some(Mode::CapabilityToken), _, Some(flag)) => {
                Err(Refused::OtherMode(flag, CAPABILITY))
            }
            (Some(Mode::SignedBearerToken), Some(flag), _) => Err(Refused::OtherMode(flag, SIGNED)),
            (Some(Mode::CapabilityToken), _, None) => args.capability(),
            (Some(Mode::SignedBearerToken), None, _) => args.signed(),
        }
    }
}

impl AuthArgs {
    fn overlap(&self) -> Duration {
        Duration::from_secs(self.token_overlap)
    }

    fn capability(self) -> Result<Settings, Refused> {
        let overlap = self.overlap();
        let source = match (self.ws_token_file, self.ws_token_sha256) {
            (None, None) => return Err(Refused::NoToken),
            (Some(_), Some(_)) => return Err(Refused::TwoTokens),
            (Some(path), None) => TokenSource::File { path, overlap },
            (None, Some(digits)) => TokenSource::Digest(digest(&digits)?),
        };
        Ok(Settings::Capability(source))
    }

    fn signed(self) -> Result<Settings, Refused> {
        let overlap = self.overlap();
        let skew = self.ws_max_clock_skew_seconds.unwrap_or(SKEW_SECONDS);
        if skew > SKEW_SECONDS_MAX {
            return Err(Refused::Skew);
        }
        Ok(Settings::Signed(SignedSettings {
            secret: self.ws_shared_secret_file.ok_or(Refused::NoSecret)?,
            overlap,
            issuer: self.ws_issuer,
            audience: self.ws_audience,
            skew: Duration::from_secs(skew),
        }))
    }
}

fn digest(digits: &str) -> Result<[u8; 32], Refused> {
    let mut digest = [0; 32];
    let bytes = digits.as_bytes();
    if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
        return Err(Refused::Digest);
    }
    for (byte, pair) in digest.iter_mut().zip(bytes.chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| Refused::Digest)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| Refused::Digest)?;
    }
    Ok(digest)
}
