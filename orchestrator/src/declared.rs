//! What an environment's entry declares about work there, whoever does it.

use std::collections::BTreeMap;

use farstep_environments::Environment;
pub use farstep_environments::admits;
use farstep_environments::config::Profile;
use farstep_path_uri::PathUri;

/// Nothing of it has to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Where commands start.
    pub cwd: Option<PathUri>,
    /// The folders a model is to keep to; without any, all of the machine.
    pub roots: Vec<PathUri>,
    pub labels: BTreeMap<String, String>,
    pub profile: Option<Profile>,
}

impl Declared {
    pub fn of(environment: &Environment) -> Declared {
        let Some(entry) = environment.entry() else {
            return Declared::default();
        };
        let ours = &entry.farstep;
        let profile = ours.permission_profile.as_deref();
        Declared {
            cwd: ours.cwd.clone(),
            roots: ours.roots.clone().unwrap_or_default(),
            labels: ours.labels.clone().unwrap_or_default(),
            profile: profile.and_then(Profile::named),
        }
    }

    /// Where commands start on a machine that would start them at `reported`: where the entry says,
    /// and inside its roots.
    pub fn folder(&self, reported: Option<&PathUri>) -> Option<&PathUri> {
        farstep_environments::starting_folder(self.cwd.as_ref(), &self.roots, reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_start_inside_the_roots_unless_the_entry_says_where() {
        let uri = |text: &str| PathUri::parse(text).unwrap();
        let mut declared = Declared::default();
        let reported = uri("file:///srv/app/sub");
        assert_eq!(declared.folder(Some(&reported)), None);
        declared.roots = vec![uri("file:///srv/app"), uri("file:///srv/lib")];
        assert_eq!(declared.folder(Some(&reported)), None);
        for outside in [
            Some(uri("file:///srv/application")),
            Some(uri("file:///")),
            None,
        ] {
            assert_eq!(declared.folder(outside.as_ref()), declared.roots.first());
        }
        declared.cwd = Some(uri("file:///elsewhere"));
        assert_eq!(declared.folder(Some(&reported)), declared.cwd.as_ref());
    }
}
