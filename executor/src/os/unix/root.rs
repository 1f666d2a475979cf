//! Whether we are root of a whole machine (`security` SR-58).

use std::ffi::OsStr;
use std::path::Path;

/// What the makers of containers leave for those inside.
const SIGNS: [&str; 3] = [
    "/.dockerenv",
    "/run/.containerenv",
    "/run/systemd/container",
];
const SIGN_VARIABLES: [&str; 2] = ["container", "KUBERNETES_SERVICE_HOST"];
/// First processes of whole machines. A container's is the program it was made for.
const INITS: [&str; 8] = [
    "systemd",
    "init",
    "launchd",
    "openrc-init",
    "runit",
    "s6-svscan",
    "dinit",
    "finit",
];

/// Whether everything on this machine is ours to break: we are root, and in no container.
pub fn is_root_of_a_host() -> bool {
    is_root()
        && !in_container(
            |path| Path::new(path).exists(),
            |name| std::env::var_os(name).is_some(),
            first_process().as_deref(),
        )
}

/// Whether programs we start are root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn in_container(
    exists: impl Fn(&str) -> bool,
    is_set: impl Fn(&str) -> bool,
    first: Option<&OsStr>,
) -> bool {
    SIGNS.into_iter().any(exists)
        || SIGN_VARIABLES.into_iter().any(is_set)
        || first.is_some_and(|first| !INITS.into_iter().any(|init| first == init))
}

/// The name of the machine's first process, where that can be known.
fn first_process() -> Option<std::ffi::OsString> {
    let name = std::fs::read_to_string("/proc/1/comm").ok()?;
    Some(name.trim_end().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_each_of_its_signs() {
        let host = |first: &str| in_container(|_| false, |_| false, Some(OsStr::new(first)));
        assert!(!host("systemd") && !host("init"));
        assert!(host("sleep"));
        let init = Some(OsStr::new("systemd"));
        for sign in SIGNS {
            assert!(in_container(|path| path == sign, |_| false, init), "{sign}");
        }
        for sign in SIGN_VARIABLES {
            assert!(in_container(|_| false, |name| name == sign, init), "{sign}");
        }
        // Where nothing is known it is taken for a host.
        assert!(!in_container(|_| false, |_| false, None));
    }
}
