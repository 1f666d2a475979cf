//! What an entry demands of the machine it leads to, and what it adds to every call there.
//!
//! ```text
//!   entry ──▶ Terms ──(what the executor says of itself)──▶ refused, or Manner
//! ```
//!
//! Checked once for each connection, before anything is asked of it: an entry that names another
//! machine than the one that answers, or rules that this one cannot enforce, is no connection.

mod confine;

use std::collections::BTreeMap;
use std::time::Duration;

use farstep_path_uri::PathUri;
use farstep_protocol::method::environment::EnvironmentInfo;
use farstep_protocol::method::fs;
use farstep_protocol::method::process::{EnvPolicy, Inherit, StartParams};
use farstep_protocol::method::sandbox::SandboxContext;

use crate::config::{Entry, EnvironmentVariables, Health, Os, Profile, Transport};
use crate::dial::ConnectError;

/// Between two probes, and how long one may take, where the `health` table does not say.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Shorter ones would only keep both sides busy.
const SHORTEST: Duration = Duration::from_millis(100);

/// What an entry says about its machine, beside how to reach it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    os: Option<Os>,
    arch: Option<String>,
    profile: Option<Profile>,
    cwd: Option<PathUri>,
    roots: Vec<PathUri>,
    variables: Option<EnvironmentVariables>,
    health: Option<Pulse>,
}

/// When an idle connection is asked for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// What is added to the calls of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    variables: Option<EnvironmentVariables>,
    sandbox: Option<SandboxContext>,
}

impl Terms {
    pub(crate) fn of(entry: &Entry) -> Terms {
        let ours = &entry.farstep;
        // A program has them already, and what it starts inherits them.
        let is_started = matches!(entry.transport, Transport::Stdio { .. });
        Terms {
            os: ours.os,
            arch: ours.arch.clone(),
            profile: ours.permission_profile.as_deref().and_then(Profile::named),
            cwd: ours.cwd.clone(),
            roots: ours.roots.clone().unwrap_or_default(),
            variables: ours.env.clone().filter(|_| !is_started),
            health: ours.health.as_ref().map(Pulse::of),
        }
    }

    pub(crate) fn health(&self) -> Option<Pulse> {
        self.health
    }

    /// Whether there is anything to keep to, beside the profile and the pulse.
    pub(crate) fn binds(&self) -> bool {
        let demands = self.os.is_some() || self.arch.is_some() || self.variables.is_some();
        demands || self.cwd.is_some() || !self.roots.is_empty()
    }

    /// The folders that somebody keeps to who is held to the roots: the working folder is one of them.
    pub(crate) fn workspace(&self) -> Vec<PathUri> {
        let mut workspace = self.roots.clone();
        let is_new = |cwd: &&PathUri| !admits(&self.roots, cwd);
        if !workspace.is_empty() {
            workspace.extend(self.cwd.iter().filter(is_new).cloned());
        }
        workspace
    }

    /// Where commands start on a machine that would start them at `reported`, if not there.
    pub(crate) fn folder(&self, reported: Option<&PathUri>) -> Option<&PathUri> {
        starting_folder(self.cwd.as_ref(), &self.roots, reported)
    }

    /// Gives a process the entry's variables. Whether there are any.
    pub(crate) fn equip(
        &self,
        env: &mut BTreeMap<String, String>,
        policy: Option<&mut EnvPolicy>,
    ) -> bool {
        if let Some(variables) = &self.variables {
            equip(variables, env, policy);
        }
        self.variables.is_some()
    }

    /// What holds for a connection to the machine that describes itself so.
    pub(crate) fn agree(&self, info: &mut EnvironmentInfo) -> Result<Manner, ConnectError> {
        self.is_meant(info)?;
        let sandbox = match self.profile {
            None | Some(Profile::Full) => None,
            Some(profile) => Some(confine::context(profile, info, &self.places(info))?),
        };
        if sandbox.is_some() {
            // These calls know no sandbox, so nothing may rely on them.
            info.capabilities.remove(fs::FILES);
        }
        Ok(Manner {
            variables: self.variables.clone(),
            sandbox,
        })
    }

    /// Whether it is the machine that the entry is about.
    pub(crate) fn is_meant(&self, info: &EnvironmentInfo) -> Result<(), ConnectError> {
        let os = self.os.map(Os::as_str);
        // Nobody can be held to what they do not say.
        if let (Some(said), Some(found)) = (os, &info.platform_os)
            && said != found
        {
            return Err(other("os", said, found));
        }
        if let (Some(said), Some(found)) = (&self.arch, &info.arch)
            && architecture(said) != architecture(found)
        {
            return Err(other("arch", said, found));
        }
        Ok(())
    }

    /// The working folder and the roots around it.
    fn places(&self, info: &EnvironmentInfo) -> Vec<PathUri> {
        let cwd = self.cwd.clone().or_else(|| info.cwd.clone());
        match self.roots.as_slice() {
            [] => cwd.into_iter().collect(),
            roots => roots.to_vec(),
        }
    }
}

/// Where commands start on a machine that would start them at `reported`, if not there: where the entry
/// says, and inside its roots.
pub fn starting_folder<'a>(
    cwd: Option<&'a PathUri>,
    roots: &'a [PathUri],
    reported: Option<&PathUri>,
) -> Option<&'a PathUri> {
    let is_inside = || reported.is_some_and(|path| admits(roots, path));
    match cwd {
        Some(cwd) => Some(cwd),
        None if is_inside() => None,
        None => roots.first(),
    }
}

/// Whether `path` is one of `roots` or lies below one, by its name alone.
pub fn admits(roots: &[PathUri], path: &PathUri) -> bool {
    roots.iter().any(|root| root.contains(path))
}

/// The entry's variables win over those of whoever starts a process: a person wrote them for this
/// machine.
fn equip(
    variables: &EnvironmentVariables,
    env: &mut BTreeMap<String, String>,
    policy: Option<&mut EnvPolicy>,
) {
    let EnvironmentVariables { set, pass, unset } = variables;
    if let Some(policy) = policy {
        if let Some(pass) = pass {
            // Without a name in it the list would let everything through.
            match pass.is_empty() {
                true => policy.inherit = Inherit::None,
                false => policy.include_only.clone_from(pass),
            }
        }
        policy.exclude.extend(unset.iter().flatten().cloned());
    }
    let set = set.iter().flat_map(|set| &set.0);
    env.extend(set.map(|(name, value)| (name.clone(), value.clone())));
}

fn other(key: &'static str, said: &str, found: &str) -> ConnectError {
    ConnectError::OtherMachine {
        key,
        said: said.to_owned(),
        found: found.to_owned(),
    }
}

/// One name for what systems and people call differently.
pub(crate) fn architecture(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let known = match name.as_str() {
        "amd64" | "x64" | "x86-64" => "x86_64",
        "arm64" => "aarch64",
        "i386" | "i486" | "i586" | "i686" => "x86",
        "armv6l" | "armv7" | "armv7l" | "armv8l" => "arm",
        "riscv64gc" => "riscv64",
        "ppc64" | "ppc64le" | "powerpc64le" => "powerpc64",
        other => other,
    };
    known.to_owned()
}

impl Pulse {
    fn of(health: &Health) -> Pulse {
        Pulse {
            interval: health.interval.unwrap_or(INTERVAL).max(SHORTEST),
            timeout: health.timeout.unwrap_or(TIMEOUT).max(SHORTEST),
        }
    }
}

impl Manner {
    /// What a call on a path is confined to.
    pub(crate) fn sandbox(&self) -> Option<SandboxContext> {
        self.sandbox.clone()
    }

    /// What a process is started with.
    pub(crate) fn apply(&self, mut params: StartParams) -> StartParams {
        if params.sandbox.is_none() {
            params.sandbox = self.sandbox();
        }
        if let Some(variables) = &self.variables {
            equip(variables, &mut params.env, params.env_policy.as_mut());
        }
        params
    }
}

#[cfg(test)]
mod tests;
