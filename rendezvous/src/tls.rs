//! TLS of the listener, with certificates that may be renewed while it runs.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use farstep_transport::tls::server::{ConfigError, ServerConfig, TlsAcceptor, TlsStream, config};
use tokio::net::TcpStream;

/// Between two looks at the files.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A file of certificates or a key, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Permissions of others than the owner.
const OF_OTHERS: u32 = 0o077;

/// Why the listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A key that others may read.
    #[error("{} can be read by others; make it private with `chmod 600`", path.display())]
    NotPrivate {
        /// Which one.
        path: PathBuf,
    },
    /// What is in them.
    #[error("{} and {}: {source}", certificates.display(), key.display())]
    Content {
        /// The certificates.
        certificates: PathBuf,
        /// Their key.
        key: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
}

/// What tells a file from the one that was there before.
type Stamp = (u64, u64, i64, i64, u64);

/// Turns accepted sockets into TLS streams.
#[derive(Debug)]
pub struct Tls {
    certificates: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    stamps: [Option<Stamp>; 2],
    looked: Instant,
}

impl Tls {
    /// With the certificates and the private key in these files, both in PEM form.
    pub fn load(certificates: &Path, key: &Path) -> Result<Tls, TlsError> {
        // Before the content, so that a change in between is seen as one.
        let stamps = [stamp(certificates), stamp(key)];
        Ok(Tls {
            state: Mutex::new(State {
                config: Arc::new(load(certificates, key)?),
                stamps,
                looked: Instant::now(),
            }),
            certificates: certificates.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Shakes hands.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.current().await;
        TlsAcceptor::from(config).accept(tcp).await
    }

    /// What the files say, give or take a second. What cannot be read stays as it was.
    async fn current(&self) -> Arc<ServerConfig> {
        let (config, before) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.looked.elapsed() < LOOK_AGAIN {
                return Arc::clone(&state.config);
            }
            state.looked = Instant::now();
            (Arc::clone(&state.config), state.stamps)
        };
        let (certificates, key) = (self.certificates.clone(), self.key.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let stamps = [stamp(&certificates), stamp(&key)];
            (stamps != before).then(|| (stamps, load(&certificates, &key)))
        });
        let Ok(Some((stamps, loaded))) = looked.await else {
            // Unchanged, or the runtime is ending.
            return config;
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stamps = stamps;
        match loaded {
            Ok(loaded) => {
                tracing::info!("the certificate changed and was read again");
                state.config = Arc::new(loaded);
            }
            // Said once for each change.
            Err(error) => tracing::warn!(%error, "the certificate that was read before stays"),
        }
        Arc::clone(&state.config)
    }
}

fn load(certificates: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let (chain, _) = read(certificates)?;
    let (secret, about) = read(key)?;
    if about.mode() & OF_OTHERS != 0 {
        return Err(TlsError::NotPrivate {
            path: key.to_owned(),
        });
    }
    config(&chain, &secret, None).map_err(|source| TlsError::Content {
        certificates: certificates.to_owned(),
        key: key.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<(Vec<u8>, Metadata), TlsError> {
    let read = || {
        let file = File::open(path)?;
        // Of the file that is read, whatever is put in its place.
        let about = file.metadata()?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok((bytes, about))
    };
    read().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = path.metadata().ok()?;
    Some((
        about.dev(),
        about.ino(),
        about.mtime(),
        about.mtime_nsec(),
        about.len(),
    ))
}
