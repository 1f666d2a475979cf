//! Flags of an executor that registers at a rendezvous.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use farstep_protocol::relay::is_fingerprint;
use farstep_protocol::relay::registry::{ExecutorInfo, is_environment_id};
use farstep_transport::PaddingWish;
use url::{Host, Url};

/// Flags of the rendezvous.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Rendezvous")]
pub struct RemoteArgs {
    /// Register at this rendezvous instead of listening: its https URL, or http on loopback
    #[arg(
        long,
        value_name = "URL",
        requires = "environment_id",
        conflicts_with = "listen"
    )]
    remote: Option<String>,

    /// The environment to be, under which orchestrators ask for this executor
    #[arg(long, value_name = "ID", requires = "remote")]
    environment_id: Option<String>,

    /// A name for people, in this executor's own log
    #[arg(long, value_name = "NAME", requires = "remote")]
    name: Option<String>,

    /// Read the credential from the first line of standard input, instead of FARSTEP_API_KEY or
    /// CODEX_API_KEY
    #[arg(long, requires = "remote", conflicts_with_all = ["executor_credential_stdin", "credential_file"])]
    registration_bearer_stdin: bool,

    /// Read credentials from standard input as they are renewed, one JSON object a line; its end
    /// ends the executor
    #[arg(long, requires = "remote", conflicts_with = "credential_file")]
    executor_credential_stdin: bool,

    /// Read the credential from this file, anew each time it is needed
    #[arg(long, value_name = "FILE", requires = "remote")]
    credential_file: Option<PathBuf>,

    /// Exchange this enrolment code for a credential, once; it is kept in the state folder, where the
    /// next start finds it without this, and renewed when it is due
    #[arg(long, value_name = "CODE", requires = "remote", conflicts_with_all =
          ["credential_file", "registration_bearer_stdin", "executor_credential_stdin"])]
    enroll: Option<String>,

    /// The file with this executor's key; it is made if there is none [default: one for each
    /// environment in the state folder]
    #[arg(long, value_name = "FILE", requires = "remote")]
    identity_file: Option<PathBuf>,

    /// Let in only orchestrators with this key, whatever the registry says (fst1:...; may be
    /// repeated)
    #[arg(long, value_name = "FINGERPRINT", requires = "remote")]
    allow_harness_key: Vec<String>,

    /// The same as a list in a file that the tenant signed, read again for each orchestrator
    #[arg(long, value_name = "FILE", requires = "harness_keys_signer")]
    harness_keys: Option<PathBuf>,

    /// The key that signed --harness-keys (fstk1:...)
    #[arg(long, value_name = "KEY", requires = "harness_keys")]
    harness_keys_signer: Option<String>,

    /// The file with what the tenant signed about this executor's key, shown to orchestrators
    #[arg(long, value_name = "FILE", requires = "remote")]
    key_attestation: Option<PathBuf>,

    /// When records are padded to a few sizes, so that the relay does not see how much is said
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "asked",
        requires = "remote"
    )]
    padding: PaddingWhen,

    /// Tell the rendezvous this of the executor (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", requires = "remote")]
    label: Vec<String>,
}

/// When records are padded.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PaddingWhen {
    /// When an orchestrator asks for it
    Asked,
    /// Always: an orchestrator that does not ask is refused
    Always,
    /// Never: an orchestrator that insists on it goes away
    Never,
}

/// Where the credential comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A variable of this process; without one, what an enrolment left in the state folder.
    Variable,
    /// An enrolment code.
    Code(String),
    /// A file, read anew each time.
    File(PathBuf),
    /// The first line of standard input.
    LineOnStdin,
    /// Lines of standard input, each of which replaces the one before.
    FramesOnStdin,
}

/// What the flags say, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The registry's URL, without a slash at the end.
    pub base: String,
    /// The environment to be.
    pub environment: String,
    /// For people.
    pub name: Option<String>,
    /// Where the credential comes from.
    pub credential: CredentialSource,
    /// Where the identity is kept, if not where it usually is.
    pub identity_file: Option<PathBuf>,
    /// Fingerprints of the orchestrators that may come in; empty is whoever the registry lets.
    pub allowed: Vec<String>,
    /// A signed list of more of them, and the key that signs it.
    pub harness_keys: Option<(PathBuf, String)>,
    /// The file with what the tenant signed about our key.
    pub key_attestation: Option<PathBuf>,
    /// When records are padded.
    pub padding: PaddingWish,
    /// What the rendezvous is told.
    pub labels: BTreeMap<String, String>,
}

/// Flags that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("--remote {0:?} is no http or https URL of a rendezvous")]
    Url(String),
    #[error(
        "--remote {0}: refused, because the credential would cross the network readable. Use https"
    )]
    Plaintext(String),
    #[error("--environment-id {0:?}: use at most 256 of ASCII letters, digits, `-` and `_`")]
    Environment(String),
    #[error(
        "--allow-harness-key {0:?}: a fingerprint begins with fst1: and has 26 characters behind it"
    )]
    Fingerprint(String),
    #[error("--label {0:?}: it is NAME=VALUE, each of at most 64 bytes, and there are at most 16")]
    Label(String),
}

impl RemoteArgs {
    /// What they say; `None` without `--remote`.
    pub(crate) fn check(self) -> Result<Option<Settings>, Refused> {
        let (Some(remote), Some(environment)) = (self.remote, self.environment_id) else {
            return Ok(None);
        };
        let credential = match (self.credential_file, self.enroll) {
            (Some(path), _) => CredentialSource::File(path),
            (None, Some(code)) => CredentialSource::Code(code),
            _ if self.executor_credential_stdin => CredentialSource::FramesOnStdin,
            _ if self.registration_bearer_stdin => CredentialSource::LineOnStdin,
            _ => CredentialSource::Variable,
        };
        if !is_environment_id(&environment) {
            return Err(Refused::Environment(environment));
        }
        let wrong = self
            .allow_harness_key
            .iter()
            .find(|key| !is_fingerprint(key));
        if let Some(wrong) = wrong {
            return Err(Refused::Fingerprint(wrong.clone()));
        }
        Ok(Some(Settings {
            base: base(remote)?,
            environment,
            name: self.name,
            credential,
            identity_file: self.identity_file,
            allowed: self.allow_harness_key,
            harness_keys: self.harness_keys.zip(self.harness_keys_signer),
            key_attestation: self.key_attestation,
            padding: match self.padding {
                PaddingWhen::Asked => PaddingWish::IfAsked,
                PaddingWhen::Always => PaddingWish::Always,
                PaddingWhen::Never => PaddingWish::Never,
            },
            labels: labels(&self.label)?,
        }))
    }
}

fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, Refused> {
    let mut info = ExecutorInfo::default();
    for text in texts {
        let wrong = || Refused::Label(text.clone());
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        info.labels.insert(name.to_owned(), value.to_owned());
        if name.is_empty() || !info.is_modest() {
            return Err(wrong());
        }
    }
    Ok(info.labels)
}

fn base(text: String) -> Result<String, Refused> {
    let Ok(url) = Url::parse(&text) else {
        return Err(Refused::Url(text));
    };
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(Refused::Url(text)),
    };
    let has_more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
    match url.scheme() {
        "http" | "https" if has_more => Err(Refused::Url(text)),
        "http" if !is_here => Err(Refused::Plaintext(text)),
        "http" | "https" => Ok(url.as_str().trim_end_matches('/').to_owned()),
        _ => Err(Refused::Url(text)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[arg(long, default_value = "x")]
        listen: String,
        #[command(flatten)]
        remote: RemoteArgs,
    }

    fn settings(url: &str, more: &[&str]) -> Result<Settings, Refused> {
        let line = ["x", "--remote", url, "--environment-id", "box"];
        let line = Line::try_parse_from(line.iter().chain(more)).unwrap();
        assert_eq!(line.listen, "x");
        line.remote.check().map(Option::unwrap)
    }

    #[test]
    fn a_credential_goes_to_https_or_to_this_machine() {
        for (url, base) in [
            ("https://rdv.example/t/acme/", "https://rdv.example/t/acme"),
            ("http://127.0.0.1:8787", "http://127.0.0.1:8787"),
            ("http://[::1]:1/", "http://[::1]:1"),
            ("http://localhost:1//", "http://localhost:1"),
        ] {
            assert_eq!(settings(url, &[]).unwrap().base, base);
        }
        let plain = "http://rdv.example";
        let refused = settings(plain, &[]).unwrap_err();
        assert_eq!(refused, Refused::Plaintext(plain.to_owned()));
        for wrong in [
            "rdv.example",
            "ws://127.0.0.1",
            "https://h/?a=b",
            "https://u@h",
            "",
        ] {
            assert_eq!(settings(wrong, &[]), Err(Refused::Url(wrong.to_owned())));
        }
    }

    #[test]
    fn keys_are_checked_before_anybody_counts_on_them() {
        let good = format!("fst1:{}", "a".repeat(26));
        let known = settings("http://127.0.0.1:1", &["--allow-harness-key", &good]);
        assert_eq!(known.unwrap().allowed, [good]);
        let labelled = settings(
            "http://127.0.0.1:1",
            &["--label", "rack=7", "--label", "x="],
        );
        assert_eq!(labelled.unwrap().labels["rack"], "7");
        for wrong in ["rack", "=7", "rack=\u{1b}", &"r".repeat(70)] {
            let refused = settings("http://127.0.0.1:1", &["--label", wrong]);
            assert_eq!(refused, Err(Refused::Label(wrong.to_owned())));
        }
        let wrong = settings("http://127.0.0.1:1", &["--allow-harness-key", "fst1:a"]);
        assert_eq!(wrong, Err(Refused::Fingerprint("fst1:a".to_owned())));
    }
}
