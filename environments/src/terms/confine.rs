//! From the name of a permission profile to what travels with each call (`sandbox` sections 1, 2).

use farstep_path_uri::{Convention, PathUri};
use farstep_protocol::method::environment::EnvironmentInfo;
use farstep_protocol::method::sandbox::{
    Access, Entry, EntryPath, FileSystem, MissingPath, Network, Permissions, SandboxContext,
    SpecialPath, WindowsSandboxLevel,
};

use crate::config::Profile;
use crate::dial::ConnectError;

/// What the peer announces only where it can confine what it runs. Either will do.
const SANDBOXES: [&str; 2] = ["capabilityDiscoverySandbox", "sandboxedFileStreaming"];

/// What in each workspace root steers tools and is not to be changed by them.
const PROTECTED: [&str; 4] = [".git", ".agents", ".codex", ".aws"];

/// Where people keep what opens other doors, below their home.
const CREDENTIALS: [&str; 13] = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".config/gcloud",
    ".azure",
    ".kube",
    ".docker/config.json",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".codex/auth.json",
    ".config/farstep",
];

/// What confines calls there, unless that machine cannot confine them.
pub(super) fn context(
    profile: Profile,
    info: &EnvironmentInfo,
    roots: &[PathUri],
) -> Result<SandboxContext, ConnectError> {
    let cannot = |reason: &str| ConnectError::Unconfined {
        profile: profile.as_str(),
        reason: reason.to_owned(),
    };
    if !SANDBOXES.iter().any(|capability| info.can(capability)) {
        return Err(cannot("the executor does not announce that it can"));
    }
    let first = roots.first();
    let cwd =
        first.ok_or_else(|| cannot("it reports no working folder, and `roots` names none"))?;
    let windows = cwd.convention() == Some(Convention::Windows);
    Ok(SandboxContext {
        permissions: Permissions::Managed {
            network: Network::Restricted,
            file_system: FileSystem::Restricted {
                entries: entries(profile, info),
                glob_scan_max_depth: None,
            },
        },
        windows_sandbox_level: match windows {
            true => WindowsSandboxLevel::RestrictedToken,
            false => WindowsSandboxLevel::Disabled,
        },
        cwd: Some(cwd.clone()),
        workspace_roots: Some(roots.to_vec()),
        policy_context: None,
    })
}

fn entries(profile: Profile, info: &EnvironmentInfo) -> Vec<Entry> {
    let special = |value, access| Entry {
        path: EntryPath::Special { value },
        access,
        missing_path_behavior: None,
    };
    let mut entries = vec![special(SpecialPath::Root, Access::Read)];
    if profile == Profile::Workspace {
        let root = |subpath| SpecialPath::ProjectRoots { subpath };
        entries.push(special(root(None), Access::Write));
        entries.push(special(SpecialPath::SlashTmp, Access::Write));
        entries.push(special(SpecialPath::Tmpdir, Access::Write));
        entries.extend(PROTECTED.iter().map(|name| Entry {
            missing_path_behavior: Some(MissingPath::Skip),
            ..special(root(Some((*name).to_owned())), Access::Read)
        }));
    }
    let home = info.user_home_dir.iter();
    let secrets = home.flat_map(|home| CREDENTIALS.iter().map(|name| home.join_descendant(name)));
    entries.extend(secrets.flatten().map(|path| Entry {
        path: EntryPath::Path { path },
        access: Access::Deny,
        missing_path_behavior: Some(MissingPath::Skip),
    }));
    entries
}
