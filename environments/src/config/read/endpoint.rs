//! What the URL of an executor must be before anybody dials it.
//!
//! Checked with the parser the dialer uses, and no further: a port nobody can have is a warning,
//! because such a file loads elsewhere and only its connection fails.

use std::net::Ipv4Addr;

use http::Uri;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) secure: bool,
    pub(super) loopback: bool,
    /// False for a port that is written down but no port.
    pub(super) port_possible: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlProblem {
    Scheme,
    Invalid(String),
}

impl Endpoint {
    pub(super) fn parse(url: &str) -> Result<Endpoint, UrlProblem> {
        if !url.starts_with("ws://") && !url.starts_with("wss://") {
            return Err(UrlProblem::Scheme);
        }
        let uri: Uri = url
            .parse()
            .map_err(|cause: http::uri::InvalidUri| UrlProblem::Invalid(cause.to_string()))?;
        let host = uri.host().unwrap_or("");
        if host.is_empty() {
            return Err(UrlProblem::Invalid("it has no host".to_owned()));
        }
        // The authority ends with the host and, perhaps, a colon and a port.
        let written = uri
            .authority()
            .and_then(|authority| authority.as_str().rsplit_once(host))
            .is_some_and(|(_, port)| !port.is_empty());
        Ok(Endpoint {
            secure: uri.scheme_str() == Some("wss"),
            loopback: is_loopback(host),
            port_possible: !written || uri.port_u16().is_some_and(|port| port > 0),
        })
    }

    /// Whether a credential may travel there.
    pub(super) fn private(&self) -> bool {
        self.secure || self.loopback
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, UrlProblem};

    fn parsed(secure: bool, loopback: bool, port_possible: bool) -> Result<Endpoint, UrlProblem> {
        Ok(Endpoint {
            secure,
            loopback,
            port_possible,
        })
    }

    #[test]
    fn loopback_is_a_name_a_block_and_one_address() {
        for host in ["localhost", "127.0.0.1", "127.255.3.4", "[::1]"] {
            let url = format!("ws://{host}:4512/exec");
            assert_eq!(Endpoint::parse(&url), parsed(false, true, true), "{host}");
        }
        for host in [
            "devbox.example",
            "128.0.0.1",
            "127.1",
            "localhost.example",
            "[::2]",
        ] {
            let url = format!("ws://{host}");
            assert_eq!(Endpoint::parse(&url), parsed(false, false, true), "{host}");
        }
    }

    #[test]
    fn a_user_name_cannot_pass_for_a_host() {
        assert_eq!(
            Endpoint::parse("ws://localhost@devbox.example"),
            parsed(false, false, true)
        );
        assert_eq!(
            Endpoint::parse("ws://127.0.0.1:80@devbox.example:80/"),
            parsed(false, false, true)
        );
    }

    #[test]
    fn a_port_nobody_can_have_is_seen() {
        for port in ["99999", "0", "65536"] {
            let url = format!("wss://devbox.example:{port}/x?y#z");
            assert_eq!(Endpoint::parse(&url), parsed(true, false, false), "{port}");
        }
        assert_eq!(
            Endpoint::parse("wss://user:pass@devbox.example:65535"),
            parsed(true, false, true)
        );
    }

    #[test]
    fn only_the_two_lower_case_schemes_are_known() {
        for url in [
            "http://devbox",
            "WS://devbox",
            "ws:/devbox",
            "devbox",
            "wss:",
        ] {
            assert_eq!(Endpoint::parse(url), Err(UrlProblem::Scheme), "{url}");
        }
    }

    #[test]
    fn a_url_without_a_host_is_refused() {
        for url in [
            "ws://",
            "wss:///path",
            "ws://user@",
            "ws://?x",
            "ws://a b",
            "ws://[::1",
        ] {
            let outcome = Endpoint::parse(url);
            assert!(
                matches!(outcome, Err(UrlProblem::Invalid(_))),
                "{url} {outcome:?}"
            );
        }
    }
}
