//! Which hop failed, and what to do about it.

use std::fmt;

use super::SshTarget;

/// One thing that must work on the way to an executor behind `ssh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshHop {
    /// The program `ssh` on this machine.
    Program,
    /// Its configuration.
    Config,
    /// The name of the host to an address.
    Name,
    /// A connection to it.
    Tcp,
    /// Whether it is the machine it should be.
    HostKey,
    /// Whether we are somebody it lets in.
    Auth,
    /// The login's shell, up to our own command.
    Shell,
    /// An executor that fits, on this machine.
    Executor,
    /// Putting it there.
    Place,
    /// Running it there.
    Run,
}

/// For people: what was being done.
impl fmt::Display for SshHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SshHop::Program => "starting ssh",
            SshHop::Config => "reading the ssh configuration",
            SshHop::Name => "looking up the name",
            SshHop::Tcp => "connecting",
            SshHop::HostKey => "checking the host's key",
            SshHop::Auth => "logging in",
            SshHop::Shell => "starting a shell there",
            SshHop::Executor => "choosing an executor",
            SshHop::Place => "putting the executor there",
            SshHop::Run => "running the executor there",
        })
    }
}

/// Why there is no executor behind that `ssh`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{hop} failed: {reason}")]
pub struct SshError {
    pub hop: SshHop,
    pub reason: String,
    /// What to try.
    pub remedy: String,
}

/// What `ssh` says when it fails, the hop that means, and what helps; the first that fits counts.
const SAID: &[(&str, SshHop, &str)] = &[
    ("ssh: not found", SshHop::Program, NO_SSH),
    (
        "Could not resolve hostname",
        SshHop::Name,
        "check the name, or give it a `Host` entry in ~/.ssh/config",
    ),
    (
        "Connection reset by",
        SshHop::Tcp,
        "try again; `ssh -v HOST` shows why connections end",
    ),
    (
        "Connection closed by",
        SshHop::Tcp,
        "try again; `ssh -v HOST` shows why connections end",
    ),
    (
        "Connection refused",
        SshHop::Tcp,
        "start sshd there, or check the port",
    ),
    (
        "Connection timed out",
        SshHop::Tcp,
        "check the address and what lies between: a firewall, a VPN, a jump host",
    ),
    (
        "Operation timed out",
        SshHop::Tcp,
        "check the address and what lies between: a firewall, a VPN, a jump host",
    ),
    (
        "No route to host",
        SshHop::Tcp,
        "check the address and the network",
    ),
    (
        "Network is unreachable",
        SshHop::Tcp,
        "check the network of this machine",
    ),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        SshHop::HostKey,
        "if the machine was set up anew, remove its old key with `ssh-keygen -R KEY_OF`; if not, somebody may be in between",
    ),
    (
        "Host key verification failed",
        SshHop::HostKey,
        "run `ssh HOST` once and compare the key's fingerprint",
    ),
    (
        "Too many authentication failures",
        SshHop::Auth,
        "name the one key to use in ~/.ssh/config with `IdentityFile` and `IdentitiesOnly yes`",
    ),
    (
        "Permission denied (",
        SshHop::Auth,
        "put your key there with `ssh-copy-id HOST`, or load it into your agent with `ssh-add`",
    ),
    (
        "Permission denied, please try again",
        SshHop::Auth,
        "check the user and the password",
    ),
    (
        "Bad configuration option",
        SshHop::Config,
        "correct the line of ~/.ssh/config it names",
    ),
    (
        "Bad owner or permissions",
        SshHop::Config,
        "run chmod 600 on the file it names",
    ),
    (
        "Can't open user config file",
        SshHop::Config,
        "check the file it names",
    ),
    (
        "is not recognized as an internal or external command",
        SshHop::Shell,
        WINDOWS,
    ),
    (
        "is not recognized as the name of a cmdlet",
        SshHop::Shell,
        WINDOWS,
    ),
    (
        "kex_exchange_identification",
        SshHop::Tcp,
        "something that is no sshd answers there, or it lets nobody in; check the port",
    ),
    (
        "Connection closed by",
        SshHop::Auth,
        "the server ended it; `ssh -v HOST` shows when",
    ),
    (
        "Connection reset by",
        SshHop::Tcp,
        "something on the way ended it; `ssh -v HOST` shows when",
    ),
    (
        "This account is currently not available",
        SshHop::Shell,
        "log in as a user with a shell",
    ),
];

const NO_SSH: &str = "install an OpenSSH client, or put it on PATH";

const WINDOWS: &str = "nothing can be put on Windows this way: copy farstep-executor.exe there and run `farstep env add NAME -- ssh HOST farstep-executor.exe \
    --listen stdio`";

impl SshError {
    pub(super) fn no_ssh(error: &std::io::Error) -> SshError {
        SshError {
            hop: SshHop::Program,
            reason: format!("the program `ssh` cannot be started: {error}"),
            remedy: NO_SSH.to_owned(),
        }
    }

    pub(super) fn windows() -> SshError {
        SshError {
            hop: SshHop::Executor,
            reason: "the machine runs Windows".to_owned(),
            remedy: WINDOWS.to_owned(),
        }
    }

    /// From what `ssh` said last (`said`) and what the login printed (`noise`) when it ended before
    /// anything of ours was heard.
    pub fn of_login(target: &SshTarget, said: &str, noise: &str) -> SshError {
        let known = SAID
            .iter()
            .find(|(words, ..)| said.contains(words) || noise.contains(words));
        let quoted: Vec<&str> = [noise, said]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        let reason = match quoted.as_slice() {
            [] => "the connection ended without a word".to_owned(),
            quoted => quoted.join("\n"),
        };
        let of_host = |text: &str| {
            let host = target.destination();
            let words = target
                .port
                .map_or(host.clone(), |port| format!("-p {port} {host}"));
            let key = target.port.map_or(target.host.clone(), |port| {
                format!("[{}]:{port}", target.host)
            });
            text.replace("KEY_OF", &key).replace("HOST", &words)
        };
        match known {
            Some((_, hop, remedy)) => SshError {
                hop: *hop,
                reason,
                remedy: of_host(remedy),
            },
            None => SshError {
                hop: SshHop::Shell,
                reason,
                remedy: of_host("see that `ssh HOST true` works; `ssh -v HOST` shows each step"),
            },
        }
    }

    /// From what the script said when a step failed there.
    pub(super) fn there(step: &str, words: &str) -> SshError {
        let (hop, remedy) = match step {
            "home" => (SshHop::Place, "give the user a home folder it may enter"),
            "sum" => (
                SshHop::Place,
                "try again; if it happens again, check that machine's disk",
            ),
            "run" => return SshError::not_run(words),
            _ if words.contains("bytes arrived") => (
                SshHop::Place,
                "try again; if it happens again, look at the connection and the disk",
            ),
            _ if words.contains("No space left") || words.contains("quota") => {
                (SshHop::Place, "make room in the home folder there")
            }
            _ if words.contains("Read-only file system") => {
                (SshHop::Place, "the home folder there must be writable")
            }
            _ => (
                SshHop::Place,
                "make ~/.local/share writable for the user there",
            ),
        };
        SshError {
            hop,
            reason: words.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    /// `words`: the exit code and what was said.
    fn not_run(words: &str) -> SshError {
        let (code, said) = words.split_once(' ').unwrap_or((words, ""));
        let has = |text: &str| said.contains(text);
        let remedy = if has("GLIBC_") || has("GLIBCXX") {
            "the C library there is too old for this executor: build a static one for \
             x86_64-unknown-linux-musl and name it with --executor FILE"
        } else if has("xec format error") {
            "the executor is for another kind of machine; name one that fits with --executor FILE"
        } else if has("ermission denied") {
            "the file system of the home folder there lets nothing be executed (`noexec`); mount it \
             without, or put the executor elsewhere by hand"
        } else if has("ot found") || has("o such file") {
            "its C library is not the one the executor was built for: build a static one for \
             x86_64-unknown-linux-musl and name it with --executor FILE"
        } else {
            "run `farstep-executor --version` there by hand"
        };
        SshError {
            hop: SshHop::Run,
            reason: match said {
                "" => format!("it ended with exit code {code}"),
                said => format!("it ended with exit code {code}: {said}"),
            },
            remedy: remedy.to_owned(),
        }
    }
}
