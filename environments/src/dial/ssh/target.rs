//! Whom to log in as, and where.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// `[user@]host[:port]`. The host may be a name of the person's `ssh` configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshTarget {
    pub user: Option<String>,
    /// Without brackets.
    pub host: String,
    /// `None` leaves it to `ssh`.
    pub port: Option<u16>,
}

/// Why a text names no machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("`{0}` is not of the form ssh://[user@]host[:port]")]
    Form(String),
    #[error("`{0}` holds a password, which ssh takes from nobody; use a key")]
    Password(String),
    #[error("`{0}` names a folder; use --cwd for it")]
    Path(String),
}

impl SshTarget {
    /// What `ssh` calls it. Never looks like an option.
    pub fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }

    /// Reads what follows `farstep ssh`: with or without `ssh://`.
    pub fn parse(text: &str) -> Result<SshTarget, BadTarget> {
        if text.contains("://") {
            return text.parse();
        }
        format!("ssh://{text}")
            .parse()
            .map_err(|error| match error {
                BadTarget::Form(_) => BadTarget::Form(text.to_owned()),
                other => other,
            })
    }
}

impl FromStr for SshTarget {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<SshTarget, BadTarget> {
        let form = || BadTarget::Form(text.to_owned());
        let url = Url::parse(text).map_err(|_| form())?;
        if url.scheme() != "ssh" || url.query().is_some() || url.fragment().is_some() {
            return Err(form());
        }
        let host = match url.host().ok_or_else(form)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let without_password = |url: &Url| {
            let user = url.username();
            format!("ssh://{user}:***@{host}")
        };
        if url.password().is_some() {
            return Err(BadTarget::Password(without_password(&url)));
        }
        if !matches!(url.path(), "" | "/") {
            return Err(BadTarget::Path(text.to_owned()));
        }
        let user = Some(url.username()).filter(|user| !user.is_empty());
        // Whatever `ssh` or a shell could take for something else is no name.
        let plain = |word: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:+".contains(c);
            !word.starts_with('-') && word.chars().all(legal)
        };
        if !plain(&host) || !user.is_none_or(plain) {
            return Err(form());
        }
        Ok(SshTarget {
            user: user.map(str::to_owned),
            port: url.port(),
            host,
        })
    }
}

/// As it is typed.
impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}
