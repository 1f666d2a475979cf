//! Which server names we carry: those that every URL parser leaves alone.
//!
//! A name that one side rewrites (`0x7f000001`, `bücher`, `%41bc`) makes two identities of one
//! server, so it is refused in URIs and opaque from native text. Only letter case is folded.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::{PathUriError, PathUriErrorKind};

/// DNS allows 253 bytes; a little more is harmless, without bound is not.
const MAX_HOST_BYTES: usize = 255;

/// Reads the authority of a URI: empty for none and for `localhost`, else the lower-case name.
pub(crate) fn parse(text: &str) -> Result<String, PathUriError> {
    use PathUriErrorKind::{CredentialsNotAllowed, InvalidUri, PortNotAllowed};

    if let Some(at) = text.rfind('@') {
        return Err(PathUriError::new(CredentialsNotAllowed, "a file URI carries no user").at(at));
    }
    let port = || PathUriError::new(PortNotAllowed, "a file URI has no port");
    let name = text.to_ascii_lowercase();
    if let Some(rest) = name.strip_prefix('[') {
        let (literal, after) = rest.split_once(']').unwrap_or((rest, ""));
        if after.starts_with(':') {
            return Err(port().at(text.len() - after.len()));
        }
        if after.is_empty() && name.ends_with(']') && is_canonical_v6(literal) {
            return Ok(name);
        }
        return Err(PathUriError::new(
            InvalidUri,
            "the server is not a canonical IPv6 address",
        ));
    }
    if let Some(at) = name.find(':') {
        return Err(port().at(at));
    }
    if name.is_empty() || name == "localhost" {
        return Ok(String::new());
    }
    if is_plain(&name) {
        Ok(name)
    } else {
        Err(PathUriError::new(
            InvalidUri,
            "the server name is not a plain host name",
        ))
    }
}

/// The host for a server in native text; none when only the opaque form carries it unchanged.
pub(crate) fn from_native(server: &str) -> Option<String> {
    let name = server.to_ascii_lowercase();
    // A punycode label that does not decode is refused by URL parsers; we cannot tell which do.
    let punycode = name.split('.').any(|label| label.starts_with("xn--"));
    (is_plain(&name) && name != "localhost" && !punycode).then_some(name)
}

/// Whether a lower-case name is a host that parsers keep as it is.
fn is_plain(name: &str) -> bool {
    let labels_hold = name.split('.').all(|label| !label.is_empty());
    let bytes_hold = name.bytes().all(|byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.~!$&'()+,;=".contains(&byte)
    });
    name.len() <= MAX_HOST_BYTES
        && labels_hold
        && bytes_hold
        && (!is_numeric(name) || name.parse::<Ipv4Addr>().is_ok())
}

/// Whether URL rules would read the name as an IPv4 address, because its last label is a number.
fn is_numeric(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_canonical_v6(literal: &str) -> bool {
    literal
        .parse::<Ipv6Addr>()
        .is_ok_and(|address| write_v6(address) == literal)
}

/// The spelling of URLs: lower-case hex, the first longest run of zeros cut, never a dotted tail.
fn write_v6(address: Ipv6Addr) -> String {
    let pieces = address.segments();
    let (start, len) = longest_zero_run(&pieces);
    let hex = |pieces: &[u16]| {
        pieces
            .iter()
            .map(|piece| format!("{piece:x}"))
            .collect::<Vec<_>>()
            .join(":")
    };
    if len < 2 {
        return hex(&pieces);
    }
    let (head, rest) = pieces.split_at(start);
    let tail = rest.get(len..).unwrap_or_default();
    format!("{}::{}", hex(head), hex(tail))
}

fn longest_zero_run(pieces: &[u16]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut run = (0, 0);
    for (at, &piece) in pieces.iter().enumerate() {
        run = if piece != 0 {
            (at + 1, 0)
        } else {
            (run.0, run.1 + 1)
        };
        if run.1 > best.1 {
            best = run;
        }
    }
    best
}
