//! The environment a program gets: a pure function of three things.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use crate::os;

/// How a caller wants the environment put together.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvPolicy {
    pub inherit: Inherit,
    /// Keep names that look like secrets.
    pub ignore_default_excludes: bool,
    /// Patterns of names to leave out: `*` and `?`, without regard to case.
    pub exclude: Vec<String>,
    pub set: Vec<(String, String)>,
    /// If not empty, patterns one of which a name must match.
    pub include_only: Vec<String>,
}

/// What of the executor's own environment is the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit {
    All,
    Core,
    None,
}

/// The executor's own environment, as far as it is anybody's business.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BaseEnv {
    variables: BTreeMap<OsString, OsString>,
    prepend_path: Vec<PathBuf>,
}

/// Names with one of these in them look like secrets.
const SECRET: [&str; 3] = ["*KEY*", "*SECRET*", "*TOKEN*"];

/// Credentials of the executor itself are never handed on, whatever a caller asks for.
const OWN: &str = "FARSTEP_*";

/// Where the executor's own spans go, with the credentials for it in headers.
const OWN_HEADERS: &str = "OTEL_EXPORTER_OTLP*_HEADERS";

const PATH: &str = "PATH";

impl fmt::Debug for EnvPolicy {
    /// Without the variables it sets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvPolicy")
            .field("inherit", &self.inherit)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BaseEnv {
    /// Without a single variable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseEnv")
            .field("prepend_path", &self.prepend_path)
            .finish_non_exhaustive()
    }
}

impl BaseEnv {
    /// `prepend_path` are folders of the executor that come first in an inherited `PATH`.
    pub fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        prepend_path: Vec<PathBuf>,
    ) -> BaseEnv {
        let is_own_secret =
            |name: &OsStr| (matches(OWN, name) && looks_secret(name)) || matches(OWN_HEADERS, name);
        BaseEnv {
            variables: variables
                .into_iter()
                .filter(|(name, _)| !is_own_secret(name))
                .collect(),
            prepend_path,
        }
    }

    fn inherited(&self, inherit: Inherit) -> BTreeMap<OsString, OsString> {
        let kept = |name: &OsStr| match inherit {
            Inherit::All => true,
            Inherit::Core => os::CORE_VARIABLES.iter().any(|core| matches(core, name)),
            Inherit::None => false,
        };
        let mut variables: BTreeMap<_, _> = self
            .variables
            .iter()
            .filter(|(name, _)| kept(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if inherit != Inherit::None && !self.prepend_path.is_empty() {
            let path = variables
                .iter()
                .find(|(name, _)| is_same(name, OsStr::new(PATH)))
                .map(|(_, path)| path.clone())
                .unwrap_or_default();
            let rest = std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty());
            // A folder with the separator in its name cannot be in a PATH; then it stays as it is.
            if let Ok(path) = std::env::join_paths(self.prepend_path.iter().cloned().chain(rest)) {
                insert(&mut variables, PATH.into(), path);
            }
        }
        variables
    }
}

/// What the program gets: without a policy exactly `requested`, else what the policy makes of
/// `base` with `requested` on top, which is never filtered.
pub fn environment(
    base: &BaseEnv,
    policy: Option<&EnvPolicy>,
    requested: impl IntoIterator<Item = (String, String)>,
) -> Vec<(OsString, OsString)> {
    let mut variables = policy.map_or_else(BTreeMap::new, |policy| apply(base, policy));
    for (name, value) in requested {
        insert(&mut variables, name.into(), value.into());
    }
    variables.into_iter().collect()
}

/// Whether two names mean one variable on this system.
fn is_same(a: &OsStr, b: &OsStr) -> bool {
    a == b || (os::VARIABLES_IGNORE_CASE && a.eq_ignore_ascii_case(b))
}

fn insert(variables: &mut BTreeMap<OsString, OsString>, name: OsString, value: OsString) {
    if os::VARIABLES_IGNORE_CASE {
        variables.retain(|other, _| !is_same(other, &name));
    }
    variables.insert(name, value);
}

fn apply(base: &BaseEnv, policy: &EnvPolicy) -> BTreeMap<OsString, OsString> {
    let mut variables = base.inherited(policy.inherit);
    if !policy.ignore_default_excludes {
        variables.retain(|name, _| !looks_secret(name));
    }
    variables.retain(|name, _| !any_matches(&policy.exclude, name));
    for (name, value) in &policy.set {
        insert(&mut variables, name.into(), value.into());
    }
    if !policy.include_only.is_empty() {
        variables.retain(|name, _| any_matches(&policy.include_only, name));
    }
    variables
}

fn looks_secret(name: &OsStr) -> bool {
    SECRET.iter().any(|pattern| matches(pattern, name))
}

fn any_matches(patterns: &[String], name: &OsStr) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

/// `*` and `?` over the whole name, without regard to case.
fn matches(pattern: &str, name: &OsStr) -> bool {
    let fold = |text: &str| {
        text.chars()
            .flat_map(char::to_lowercase)
            .collect::<Vec<_>>()
    };
    glob(&fold(pattern), &fold(&name.to_string_lossy()))
}

/// Goes back to the last star only, so the time is bounded by the product of the lengths.
fn glob(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> BaseEnv {
        let variables = [
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/home/user"),
            ("EDITOR", "vi"),
            ("api_key", "k"),
            ("GITHUB_TOKEN", "t"),
            ("FARSTEP_TOKEN", "never"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "never"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "never"),
            ("FARSTEP_HOME", "/etc/farstep"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        BaseEnv::new(variables, Vec::new())
    }

    fn policy(inherit: Inherit) -> EnvPolicy {
        EnvPolicy {
            inherit,
            ignore_default_excludes: true,
            exclude: vec![],
            set: vec![],
            include_only: vec![],
        }
    }

    fn with(policy: &EnvPolicy, requested: &[(&str, &str)]) -> Vec<(String, String)> {
        got(environment(&base(), Some(policy), owned(requested)))
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn got(variables: Vec<(OsString, OsString)>) -> Vec<(String, String)> {
        let text = |it: OsString| it.into_string().unwrap();
        let pair = |(name, value)| (text(name), text(value));
        variables.into_iter().map(pair).collect()
    }

    #[test]
    fn without_a_policy_the_environment_is_exactly_what_was_asked_for() {
        assert_eq!(got(environment(&base(), None, owned(&[]))), []);
        let wanted = owned(&[("A", "1"), ("C", ""), ("D", "x=y")]);
        assert_eq!(got(environment(&base(), None, wanted.clone())), wanted);
    }

    #[test]
    fn all_core_and_none_differ_in_what_is_inherited() {
        let names = |inherit| {
            let variables = with(&policy(inherit), &[]);
            variables
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        let all = [
            "EDITOR",
            "FARSTEP_HOME",
            "GITHUB_TOKEN",
            "HOME",
            "PATH",
            "api_key",
        ];
        assert_eq!(names(Inherit::All), all);
        assert_eq!(names(Inherit::Core), ["HOME", "PATH"]);
        assert_eq!(names(Inherit::None), Vec::<String>::new());
    }

    #[test]
    fn names_that_look_like_secrets_are_left_out_unless_they_are_wanted() {
        let mut policy = policy(Inherit::All);
        policy.ignore_default_excludes = false;
        policy.set = owned(&[("MY_SECRET", "set on purpose")]);
        assert_eq!(
            with(&policy, &[("A_TOKEN", "asked for")]),
            owned(&[
                ("A_TOKEN", "asked for"),
                ("EDITOR", "vi"),
                ("FARSTEP_HOME", "/etc/farstep"),
                ("HOME", "/home/user"),
                ("MY_SECRET", "set on purpose"),
                ("PATH", "/usr/bin:/bin"),
            ])
        );
    }

    #[test]
    fn the_steps_happen_in_their_order() {
        let mut policy = policy(Inherit::All);
        policy.exclude = vec!["HOME".into(), "pat?".into()];
        policy.set = owned(&[("HOME", "/set"), ("OTHER", "set and dropped")]);
        policy.include_only = vec!["h*".into(), "p*".into()];
        assert_eq!(
            with(&policy, &[("HOME", "/asked"), ("Z", "kept")]),
            owned(&[("HOME", "/asked"), ("Z", "kept")])
        );
        assert_eq!(with(&policy, &[]), owned(&[("HOME", "/set")]));
    }

    #[test]
    fn folders_of_the_executor_come_first_in_an_inherited_path() {
        let path = |inherit, variables: &[(&str, &str)]| {
            let variables = variables
                .iter()
                .map(|(name, value)| (name.into(), value.into()));
            let base = BaseEnv::new(variables, vec!["/opt/one".into(), "/opt/two".into()]);
            got(environment(&base, Some(&policy(inherit)), []))
        };
        let inherited = [("PATH", "/bin")];
        let expected = owned(&[("PATH", "/opt/one:/opt/two:/bin")]);
        assert_eq!(path(Inherit::All, &inherited), expected);
        assert_eq!(path(Inherit::Core, &inherited), expected);
        assert_eq!(path(Inherit::None, &inherited), []);
        assert_eq!(
            path(Inherit::All, &[]),
            owned(&[("PATH", "/opt/one:/opt/two")])
        );
    }

    #[test]
    fn patterns_cover_the_whole_name() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("?", "", false),
            ("a*b", "AxxB", true),
            ("a*b", "abc", false),
            ("*key*", "MONKEYS", true),
            ("a**?c", "abc", true),
            ("a**?c", "ac", false),
            ("", "", true),
            ("PATH", "path", true),
            ("PATH", "PATHS", false),
            (
                "*a*a*a*b",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                false,
            ),
        ] {
            assert_eq!(
                matches(pattern, OsStr::new(name)),
                expected,
                "{pattern} on {name}"
            );
        }
    }
}
