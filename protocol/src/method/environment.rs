//! `environment/info` and `environment/status` (`exec-protocol` section 6).

use std::collections::BTreeMap;

use farstep_path_uri::PathUri;
use serde::{Deserialize, Deserializer, Serialize};

/// Request without params; answers [`EnvironmentInfo`].
pub const INFO: &str = "environment/info";
/// Request without params; answers [`Status`].
pub const STATUS: &str = "environment/status";

/// Capability, ours: sessions that are kept for as long as their opener wishes, see
/// [`SessionWish`](super::initialize::SessionWish).
pub const DURABLE_SESSIONS: &str = "farstepDurableSessions";

/// What an executor says about its machine. Only `shell` is always there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentInfo {
    /// The default shell.
    pub shell: Shell,
    /// Where the executor was started.
    #[serde(
        default,
        deserialize_with = "usable",
        skip_serializing_if = "Option::is_none"
    )]
    pub cwd: Option<PathUri>,
    /// Absent on old servers. Never decide anything by it; use `capabilities`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor_version: Option<String>,
    /// Opaque identity of the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Where `~` points.
    #[serde(
        default,
        deserialize_with = "usable",
        skip_serializing_if = "Option::is_none"
    )]
    pub user_home_dir: Option<PathUri>,
    /// `linux`, `macos` or `windows`; others may come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_os: Option<String>,
    /// Directories the executor puts in front of an inherited `PATH`.
    #[serde(default, deserialize_with = "all_usable")]
    pub prepend_path_dirs: Vec<PathUri>,
    /// From `TMPDIR`, when set.
    #[serde(default, deserialize_with = "all_usable")]
    pub temporary_directories: Vec<PathUri>,
    /// The preferred temporary directory.
    #[serde(
        default,
        deserialize_with = "usable",
        skip_serializing_if = "Option::is_none"
    )]
    pub temp_dir: Option<PathUri>,
    /// What may be used beyond the core. Anything not named is absent.
    #[serde(default, deserialize_with = "flags")]
    pub capabilities: BTreeMap<String, bool>,
    /// The limits in force, by name. Ours; the peer does not send it.
    #[serde(
        default,
        rename = "farstepLimits",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub limits: BTreeMap<String, u64>,
    /// The processor architecture, e.g. `x86_64`. Ours; the peer does not send it.
    #[serde(
        default,
        rename = "farstepArch",
        skip_serializing_if = "Option::is_none"
    )]
    pub arch: Option<String>,
}

impl EnvironmentInfo {
    /// Whether the capability is announced.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.get(capability).copied().unwrap_or(false)
    }
}

/// A shell: its kind and where it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// `bash`, `zsh`, `sh`, `powershell`, `cmd`, ...
    pub name: String,
    /// A native path, not a URI.
    pub path: String,
}

/// Result of [`STATUS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `ready`; other values are reserved.
    pub status: String,
}

/// A path an executor reports that is no URI counts as not reported: a description must not cost
/// the connection.
fn usable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathUri>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| PathUri::parse(&text).ok()))
}

fn all_usable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathUri>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    let paths = texts.iter().filter_map(|text| PathUri::parse(text).ok());
    Ok(paths.collect())
}

/// Capabilities of a newer peer may be more than flags; those are skipped.
fn flags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, bool>, D::Error> {
    let all = Option::<BTreeMap<String, serde_json::Value>>::deserialize(deserializer)?;
    let flags = all.unwrap_or_default().into_iter();
    Ok(flags
        .filter_map(|(name, value)| value.as_bool().map(|flag| (name, flag)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_may_report_nothing_but_its_shell() {
        let info: EnvironmentInfo =
            serde_json::from_str(r#"{"shell":{"name":"sh","path":"/bin/sh"}}"#).unwrap();
        assert_eq!(info.cwd, None);
        assert!(!info.can("fsWatchMissing"));
    }

    #[test]
    fn what_a_newer_server_adds_or_leaves_null_does_no_harm() {
        let info: EnvironmentInfo = serde_json::from_str(
            r#"{"shell":{"name":"sh","path":"/bin/sh","x":1},"cwd":"not a uri","prependPathDirs":null,
                "capabilities":{"a":true,"b":{"deep":1},"c":false},"y":[]}"#,
        )
        .unwrap();
        assert_eq!(info.cwd, None);
        assert!(info.can("a"));
        assert!(!info.can("b"));
    }
}
