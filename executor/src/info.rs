//! What this executor says about its machine: `environment/info`.
//!
//! Gathered once, before listening, and rendered once: every later answer is a copy of one text.

use std::collections::BTreeMap;
use std::env::consts;
use std::path::{Path, PathBuf};

use farstep_path_uri::PathUri;
use farstep_protocol::method::environment::{EnvironmentInfo, Shell};

use crate::os;

/// Facts of the machine and of how the executor was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Where the executor was started.
    pub cwd: PathBuf,
    /// Where `~` points, if anywhere.
    pub home: Option<PathBuf>,
    /// The preferred temporary directory.
    pub temp: PathBuf,
    /// The temporary directory the user chose, if there is one.
    pub temp_chosen: Option<PathBuf>,
    /// The default shell.
    pub shell: os::Shell,
}

impl Host {
    /// The facts of this process, started in `cwd`.
    pub fn of_this_process(cwd: PathBuf) -> Host {
        let chosen = std::env::var_os("TMPDIR").filter(|value| !value.is_empty());
        Host {
            cwd,
            home: os::home_folder(),
            temp: std::env::temp_dir(),
            temp_chosen: chosen.map(PathBuf::from),
            shell: os::default_shell(),
        }
    }
}

/// What the executor announces. `limits` are those in force, by name.
pub(crate) fn describe(
    host: &Host,
    capabilities: &[&str],
    limits: &[(&str, u64)],
) -> EnvironmentInfo {
    let uri = |path: &Path| PathUri::from_host(path).ok();
    EnvironmentInfo {
        shell: Shell {
            name: host.shell.name.clone(),
            path: host.shell.path.to_string_lossy().into_owned(),
        },
        cwd: uri(&host.cwd),
        executor_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        provider_id: None,
        user_home_dir: host.home.as_deref().and_then(uri),
        platform_os: Some(os::os_name().to_owned()),
        prepend_path_dirs: Vec::new(),
        temporary_directories: host
            .temp_chosen
            .as_deref()
            .and_then(uri)
            .into_iter()
            .collect(),
        temp_dir: uri(&host.temp),
        capabilities: capabilities
            .iter()
            .map(|name| ((*name).to_owned(), true))
            .collect(),
        limits: limits
            .iter()
            .map(|(name, limit)| ((*name).to_owned(), *limit))
            .collect::<BTreeMap<_, _>>(),
        arch: Some(consts::ARCH.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_announced_as_uris_and_limits_by_name() {
        let host = Host {
            cwd: "/srv/a b".into(),
            home: None,
            temp: "/scratch".into(),
            temp_chosen: Some("/scratch".into()),
            shell: os::Shell {
                name: "bash".into(),
                path: "/bin/bash".into(),
            },
        };
        let info = describe(&host, &["fileWriteStreaming"], &[("requestsInFlight", 7)]);
        let uri = |text: &str| PathUri::parse(text).unwrap();
        let wanted = EnvironmentInfo {
            shell: Shell {
                name: "bash".into(),
                path: "/bin/bash".into(),
            },
            cwd: Some(uri("file:///srv/a%20b")),
            executor_version: Some(env!("CARGO_PKG_VERSION").into()),
            provider_id: None,
            user_home_dir: None,
            platform_os: Some(consts::OS.into()),
            prepend_path_dirs: vec![],
            temporary_directories: vec![uri("file:///scratch")],
            temp_dir: Some(uri("file:///scratch")),
            capabilities: BTreeMap::from([("fileWriteStreaming".into(), true)]),
            limits: BTreeMap::from([("requestsInFlight".into(), 7)]),
            arch: Some(consts::ARCH.into()),
        };
        assert_eq!(info, wanted);
    }
}
