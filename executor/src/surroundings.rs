//! What a session finds on this machine: the environment its programs inherit, and what is said
//! about the place it is in.
//!
//! Most executors have one, that in which they were started. One in the background serves logins
//! that each have their own.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use farstep_path_uri::PathUri;
use farstep_protocol::frame;
use farstep_protocol::method::environment::EnvironmentInfo;

use crate::process::BaseEnv;

/// See above. Rendered once: every later answer about it is a copy of one text.
#[derive(Debug)]
pub(crate) struct Surroundings {
    base: Arc<BaseEnv>,
    info: EnvironmentInfo,
    info_json: String,
}

impl Surroundings {
    pub(crate) fn new(base: Arc<BaseEnv>, info: EnvironmentInfo) -> Surroundings {
        let mut info_json = String::new();
        frame::write_json(&mut info_json, &info);
        Surroundings {
            base,
            info,
            info_json,
        }
    }

    /// The same machine as somebody else finds it.
    pub(crate) fn of_login(
        &self,
        cwd: &Path,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Surroundings {
        let info = EnvironmentInfo {
            cwd: PathUri::from_host(cwd).ok(),
            ..self.info.clone()
        };
        Surroundings::new(Arc::new(BaseEnv::new(variables, Vec::new())), info)
    }

    /// What programs inherit.
    pub(crate) fn base(&self) -> &Arc<BaseEnv> {
        &self.base
    }

    pub(crate) fn info(&self) -> &EnvironmentInfo {
        &self.info
    }

    pub(crate) fn info_json(&self) -> &str {
        &self.info_json
    }
}
