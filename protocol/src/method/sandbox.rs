//! The sandbox context a request may carry (`exec-protocol` section 12.1, `sandbox` section 1.1).
//!
//! Note the mixture of case styles: the context is camelCase, all inside `permissions` is
//! snake_case. Unknown members are ignored, unknown tags and values are refused.

use farstep_path_uri::PathUri;
use serde::{Deserialize, Serialize};

/// What the caller wants confined, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxContext {
    /// What is allowed.
    pub permissions: Permissions,
    /// How hard to try on Windows.
    pub windows_sandbox_level: WindowsSandboxLevel,
    /// What relative rules refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathUri>,
    /// The project roots; `cwd` when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_roots: Option<Vec<PathUri>>,
    /// Newer nesting of the two members above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_context: Option<PolicyContext>,
}

impl SandboxContext {
    /// Whether it takes any right away. Contexts that do not may run without a sandbox.
    pub fn restricts(&self) -> bool {
        match &self.permissions {
            Permissions::Disabled => false,
            Permissions::External { network } => *network == Network::Restricted,
            Permissions::Managed { .. } => true,
        }
    }
}

/// `cwd` and roots in their newer place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyContext {
    /// What relative rules refer to.
    #[serde(default)]
    pub cwd: Option<PathUri>,
    /// The project roots.
    #[serde(default)]
    pub workspace_roots: Option<Vec<PathUri>>,
}

/// Who confines, and to what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Permissions {
    /// Nobody.
    Disabled,
    /// Somebody outside; only the network wish is told.
    External {
        /// The wish.
        network: Network,
    },
    /// The executor.
    Managed {
        /// The network rule.
        network: Network,
        /// The file rules.
        file_system: FileSystem,
    },
}

/// The network rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// No limits.
    Enabled,
    /// None, but for what a proxy allows.
    Restricted,
}

/// The file rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FileSystem {
    /// No rules.
    Unrestricted,
    /// What no entry allows is forbidden.
    Restricted {
        /// The rules.
        entries: Vec<Entry>,
        /// How deep patterns are looked for; 1 or more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        glob_scan_max_depth: Option<std::num::NonZeroU64>,
    },
}

/// One file rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is about.
    pub path: EntryPath,
    /// What may be done there.
    pub access: Access,
    /// What becomes of the rule where there is no such path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_path_behavior: Option<MissingPath>,
}

/// What becomes of a rule about a path that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingPath {
    /// It does not count.
    Skip,
    /// Something this version does not know. It confines nothing, so it need not.
    #[serde(other)]
    Other,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EntryPath {
    /// One path and all below it.
    Path {
        /// The path.
        path: PathUri,
    },
    /// All paths that match.
    GlobPattern {
        /// Native text, absolute or relative to `cwd`.
        pattern: String,
    },
    /// A place known by its role.
    Special {
        /// The role.
        value: SpecialPath,
    },
}

/// A place known by its role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SpecialPath {
    /// Everything.
    Root,
    /// What nearly every program reads.
    Minimal,
    /// The workspace roots.
    #[serde(alias = "current_working_directory")]
    ProjectRoots {
        /// A place below each of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
    },
    /// What `TMPDIR` names.
    Tmpdir,
    /// `/tmp`.
    SlashTmp,
    /// A role this version does not know.
    Unknown {
        /// Its name.
        path: String,
        /// A place below it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
    },
}

/// What a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
    /// Nothing.
    #[serde(alias = "none")]
    Deny,
}

/// How hard to try on Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowsSandboxLevel {
    /// Not at all.
    Disabled,
    /// A restricted token.
    RestrictedToken,
    /// A set-up with elevated rights.
    Elevated,
    /// The system's own containers.
    Mxc,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(permissions: &str) -> Result<SandboxContext, serde_json::Error> {
        serde_json::from_str(&format!(
            r#"{{"permissions":{permissions},"windowsSandboxLevel":"disabled","useLegacyLandlock":false}}"#
        ))
    }

    #[test]
    fn only_disabled_and_external_with_network_take_nothing_away() {
        for (permissions, restricts) in [
            (r#"{"type":"disabled"}"#, false),
            (r#"{"type":"external","network":"enabled"}"#, false),
            (r#"{"type":"external","network":"restricted"}"#, true),
            (
                r#"{"type":"managed","network":"enabled","file_system":{"type":"unrestricted"}}"#,
                true,
            ),
        ] {
            assert_eq!(
                context(permissions).unwrap().restricts(),
                restricts,
                "{permissions}"
            );
        }
    }

    #[test]
    fn unknown_tags_and_values_are_refused() {
        for permissions in [
            r#"{"type":"open"}"#,
            r#"{"type":"external","network":"some"}"#,
            r#"{"type":"managed","network":"enabled","fileSystem":{"type":"unrestricted"}}"#,
            r#"{"type":"managed","network":"enabled","file_system":{"type":"restricted","entries":[],"glob_scan_max_depth":0}}"#,
            r#"{"type":"managed","network":"enabled","file_system":{"type":"restricted","entries":[{"path":{"type":"path","path":"/srv"},"access":"read"}]}}"#,
        ] {
            assert!(context(permissions).is_err(), "{permissions}");
        }
    }
}
