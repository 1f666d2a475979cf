//! Which `Host` headers are ours.
//!
//! A page that makes its own name point at our address (DNS rebinding) sends that name. Such a
//! name has a dot, because nobody can register one without; an address or a name without a dot is
//! therefore safe, whatever lies between the peer and us. Other names have to be configured
//! (`security` SR-3).

use std::net::IpAddr;

/// The names a listener is reached by.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Those in `configured`, in lower case, beside the ones nobody can rebind.
    pub fn new(configured: Vec<String>) -> Hosts {
        Hosts(configured)
    }

    /// Judges the value of a `Host` header, port included.
    pub fn allow(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else {
            return false;
        };
        let name = without_port(host);
        if name.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_plain = !name.is_empty() && !name.contains(['.', '[', ']', ':']);
        is_plain || self.0.contains(&name)
    }
}

fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    bare.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_rebound_or_are_configured_are_ours() {
        let hosts = Hosts::new(vec!["box.example.com".to_owned()]);
        for ours in [
            "127.0.0.1:4500",
            "127.0.0.1",
            "[::1]:4500",
            "[2001:db8::1]",
            "192.0.2.7:80",
            "localhost:4500",
            "LOCALHOST",
            "executor",
            "Box.Example.Com:443",
            "box.example.com.",
        ] {
            assert!(hosts.allow(ours.as_bytes()), "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:4500",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "box.example.com.evil.example",
            "1.2.3.4.5",
            "",
            ":80",
            "[::1].evil.example",
            "a]b",
        ] {
            assert!(!hosts.allow(foreign.as_bytes()), "{foreign}");
        }
        assert!(!hosts.allow(b"\xff"));
    }
}
