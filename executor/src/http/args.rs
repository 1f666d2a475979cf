//! The flags of requests made from here.

use clap::Args;

use super::rules::{Net, NetError};

/// Where requests may go and what of our environment they may carry.
#[derive(Debug, Args)]
pub struct HttpArgs {
    /// Addresses http/request may reach although they are refused by default (link-local, cloud
    /// metadata, and loopback when listening beyond it), as ADDRESS or ADDRESS/BITS; repeatable
    #[arg(long = "http-allow", value_name = "NET")]
    allow: Vec<String>,

    /// Addresses http/request may not reach, e.g. 127.0.0.0/8; repeatable, outranks --http-allow
    #[arg(long = "http-deny", value_name = "NET")]
    deny: Vec<String>,

    /// Variables of our environment whose values a header may carry; repeatable. Without any: all
    /// but those known to hold credentials of providers and clouds, and none when listening beyond
    /// loopback
    #[arg(long = "http-header-env", value_name = "NAME")]
    header_env: Vec<String>,
}

/// The same, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub allow: Vec<Net>,
    pub deny: Vec<Net>,
    /// The operator's list, if there is one.
    pub header_env: Option<Vec<String>>,
    /// Whether others than this machine can call. Then what is only theirs to use who are here
    /// already, loopback and variables, takes the operator's word.
    pub is_exposed: bool,
}

/// A flag that says nothing we understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{flag} {text:?}: {source}")]
    Net {
        flag: &'static str,
        text: String,
        source: NetError,
    },
}

impl TryFrom<HttpArgs> for Settings {
    type Error = Refused;

    fn try_from(args: HttpArgs) -> Result<Settings, Refused> {
        let nets = |flag, texts: Vec<String>| {
            let parse = |text: String| {
                let parsed = text.parse();
                parsed.map_err(|source| Refused::Net { flag, text, source })
            };
            texts
                .into_iter()
                .map(parse)
                .collect::<Result<Vec<Net>, _>>()
        };
        Ok(Settings {
            allow: nets("--http-allow", args.allow)?,
            deny: nets("--http-deny", args.deny)?,
            header_env: (!args.header_env.is_empty()).then_some(args.header_env),
            is_exposed: false,
        })
    }
}

impl Settings {
    /// Whether a header may carry the value of this variable (`security` SR-57).
    pub(crate) fn may_carry(&self, variable: &str) -> bool {
        match &self.header_env {
            Some(listed) => listed.iter().any(|name| name == variable),
            None => !self.is_exposed && !is_credential(variable),
        }
    }
}

/// Whether a variable is known to hold what opens a provider's or a cloud's door. A header to
/// anywhere must not carry it just because somebody asked.
fn is_credential(variable: &str) -> bool {
    const NAMES: [&str; 9] = [
        "ANTHROPIC_API_KEY",
        "CODEX_API_KEY",
        "FARSTEP_API_KEY",
        "GEMINI_API_KEY",
        "GH_TOKEN",
        "GITHUB_TOKEN",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "KUBECONFIG",
        "OPENAI_API_KEY",
    ];
    const PREFIXES: [&str; 5] = ["AWS_", "AZURE_", "CODEX_", "FARSTEP_", "GOOGLE_"];
    let upper = variable.to_ascii_uppercase();
    NAMES.contains(&&*upper) || PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_list_is_all_there_is_and_without_one_credentials_stay_here() {
        let open = Settings::default();
        for (variable, may) in [
            ("CONF_TOKEN", true),
            ("PATH", true),
            ("OPENAI_API_KEY", false),
            ("openai_api_key", false),
            ("AWS_SECRET_ACCESS_KEY", false),
            ("CODEX_EXEC_SERVER_NOISE_AUTH_TOKEN", false),
        ] {
            assert_eq!(open.may_carry(variable), may, "{variable}");
        }
        let listed = Settings {
            header_env: Some(vec!["OPENAI_API_KEY".to_owned()]),
            ..Settings::default()
        };
        assert!(listed.may_carry("OPENAI_API_KEY") && !listed.may_carry("PATH"));
        let exposed = Settings {
            is_exposed: true,
            ..Settings::default()
        };
        assert!(!exposed.may_carry("CONF_TOKEN"));
    }
}
