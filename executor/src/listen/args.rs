//! The flags of the listener beside where it listens, and what they mean.

use std::path::PathBuf;

use clap::Args;

/// Who may reach the listener, and how.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Certificate chain (PEM) for --listen wss://IP:PORT; read again when it changes
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// Private key (PEM) of --tls-cert; only you may be able to read it
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Only peers with a certificate by one of these authorities (PEM) may connect
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    /// Listen beyond loopback without TLS: credentials and everything else cross the network
    /// readable
    #[arg(long)]
    allow_plaintext: bool,

    /// A name with a dot by which peers reach this executor; repeatable
    #[arg(long = "allowed-host", value_name = "NAME")]
    allowed_hosts: Vec<String>,
}

/// The same, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub tls: Option<TlsSettings>,
    pub allow_plaintext: bool,
    /// In lower case.
    pub hosts: Vec<String>,
}

/// Where certificates and keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub certificates: PathBuf,
    pub key: PathBuf,
    pub client_authorities: Option<PathBuf>,
}

/// Flags that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("--tls-cert and --tls-key are only of use together")]
    Half,
    #[error("--tls-client-ca needs --tls-cert and --tls-key")]
    Authorities,
}

impl TryFrom<AccessArgs> for Access {
    type Error = Refused;

    fn try_from(args: AccessArgs) -> Result<Access, Refused> {
        let tls = match (args.tls_cert, args.tls_key) {
            (Some(certificates), Some(key)) => Some(TlsSettings {
                certificates,
                key,
                client_authorities: args.tls_client_ca,
            }),
            (None, None) if args.tls_client_ca.is_some() => return Err(Refused::Authorities),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(Refused::Half),
        };
        let hosts = args
            .allowed_hosts
            .iter()
            .map(|host| host.to_ascii_lowercase());
        Ok(Access {
            tls,
            allow_plaintext: args.allow_plaintext,
            hosts: hosts.collect(),
        })
    }
}
