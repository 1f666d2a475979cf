//! The login in front of an executor that is reached over `ssh`, tried on its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use farstep_environments::{SshError, SshTarget};
use tokio::process::Command;

use super::{Finding, QUIET_LOGIN, noisy};

/// How long a login may take: jump hosts, and machines that wake up.
const LOGIN_WAIT: Duration = Duration::from_secs(30);
/// The options of `ssh` that a value follows.
const WITH_VALUE: &str = "BbcDEeFIiJLlmOopQRSWw";
/// What `ssh` ends with when it is `ssh` that failed.
const SSH_FAILED: i32 = 255;

/// An `ssh` of somebody's entry, up to the host.
#[derive(Debug)]
pub(super) struct Login<'a> {
    program: &'a str,
    options: &'a [String],
    destination: &'a str,
    port: Option<u16>,
}

impl<'a> Login<'a> {
    /// `None` when the program is another.
    pub(super) fn of(program: &'a str, args: &'a [String]) -> Option<Login<'a>> {
        if Path::new(program).file_stem()? != "ssh" {
            return None;
        }
        let mut port = None;
        let mut at = 0;
        loop {
            let word = args.get(at)?;
            let Some(letters) = word.strip_prefix('-') else {
                return Some(Login {
                    program,
                    options: args.get(..at)?,
                    destination: word,
                    port,
                });
            };
            at += 1;
            // `-p 22`, `-p22` or `-Tp 22`
            let takes = |letter| WITH_VALUE.contains(letter);
            if let Some((before, value)) = letters.split_once(takes) {
                let value = match value {
                    "" => {
                        at += 1;
                        args.get(at - 1)?
                    }
                    value => value,
                };
                if letters.get(before.len()..)?.starts_with('p') {
                    port = value.parse().ok();
                }
            }
        }
    }

    /// Logs in, runs nothing, and asks nobody anything.
    pub(super) async fn try_it(&self, env: &BTreeMap<String, String>) -> Vec<Finding> {
        let begun = Instant::now();
        let mut command = Command::new(self.program);
        command
            .args(self.options)
            .args(["-o", "BatchMode=yes", self.destination, "exit 0"])
            .envs(env)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = tokio::time::timeout(LOGIN_WAIT, command.output()).await;
        let took = begun.elapsed();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (login, noise) = match ended {
            Err(_) => {
                let found = Finding::failed("ssh", format!("no login within {LOGIN_WAIT:?}"));
                let remedy = format!("`ssh -v {} exit` shows where it waits", self.destination);
                (found.try_this(&remedy), String::new())
            }
            Ok(Err(error)) => {
                let told = format!("the program `ssh` cannot be started: {error}");
                let remedy = "install an OpenSSH client, or put it on PATH";
                (Finding::failed("ssh", told).try_this(remedy), String::new())
            }
            Ok(Ok(output)) if output.status.code() == Some(SSH_FAILED) => {
                let error = SshError::of_login(&self.target(), &said(&output.stderr), "");
                let found = Finding::failed("ssh", error.to_string());
                (found.try_this(&error.remedy), String::new())
            }
            Ok(Ok(output)) => {
                let found = Finding::ok("ssh", format!("logged in to {}", self.destination));
                (found, said(&output.stdout))
            }
        };
        let mut findings = vec![login.took(took)];
        if !noise.is_empty() {
            let told = noisy(&format!("`{}`", self.destination), &noise);
            findings.push(Finding::warning("login_output", told).try_this(QUIET_LOGIN));
        }
        findings
    }

    fn target(&self) -> SshTarget {
        let (user, host) = match self.destination.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, self.destination),
        };
        SshTarget {
            user,
            host: host.to_owned(),
            port: self.port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_ssh_command_is_found_behind_its_options() {
        for (line, destination, port) in [
            ("box exec it", "box", None),
            (
                "-T -o BatchMode=yes -p 2222 me@box exec it",
                "me@box",
                Some(2222),
            ),
            ("-Tp2222 -oBatchMode=yes box", "box", Some(2222)),
            ("-J jump -i key box true", "box", None),
        ] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let login = Login::of("/usr/bin/ssh", &args).unwrap();
            assert_eq!(
                (login.destination, login.port),
                (destination, port),
                "{line}"
            );
        }
        assert!(Login::of("ssh", &["-T".to_owned()]).is_none());
        assert!(Login::of("docker", &["exec".to_owned()]).is_none());
    }
}
