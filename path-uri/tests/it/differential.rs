//! Our parser against a general URL parser, over the same hostile text.
//!
//! The two have to agree on every input, apart from the differences that are written down here,
//! each as a rule that says what ours does instead.

use farstep_path_uri::{PathUri, PathUriErrorKind};
use proptest::prelude::*;
use url::Url;

use crate::strategies::{config, uri_text};

/// The text up to the path, with the drive spellings that only URL rules know.
fn has_bar_drive(text: &str) -> bool {
    text.as_bytes()
        .windows(2)
        .any(|pair| pair[0].is_ascii_alphabetic() && pair[1] == b'|')
}

/// The general parser never removes a drive-shaped segment, wherever it stands. For us, only the
/// first one is a drive: `/x/C:/../y` is `/x/y`, as on any POSIX machine.
fn may_pop_a_drive(text: &str) -> bool {
    let lower = text.to_ascii_lowercase().replace("%2e", ".");
    let drives = lower
        .as_bytes()
        .windows(2)
        .filter(|pair| pair[0].is_ascii_alphabetic() && pair[1] == b':')
        .count();
    lower.contains("..") && drives > usize::from(lower.contains("file:"))
}

/// The general parser looks for a drive before it drops tabs and line breaks.
fn splits_a_drive(text: &str) -> bool {
    let ignored = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r');
    text.as_bytes().windows(2).any(|pair| {
        matches!(pair[0], b':' | b'|') && ignored(pair[1]) || pair[1] == b':' && ignored(pair[0])
    })
}

/// What our canonical form adds to the general one.
fn finish(url: &Url) -> String {
    let mut text = String::new();
    let mut rest = url.as_str();
    // A broken escape is written as the percent sign it looks like.
    while let Some(at) = rest.find('%') {
        let (head, tail) = rest.split_at(at);
        let hex = tail
            .as_bytes()
            .get(1..3)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        text += head;
        text += if hex { "%" } else { "%25" };
        rest = &tail[1..];
    }
    text += rest;
    // A drive has an upper-case letter, and its root a slash.
    let Some(path) = text.strip_prefix("file:///") else {
        return text;
    };
    let first = path.split('/').next().unwrap();
    let drive = matches!(first.as_bytes(), [letter, b':'] | [letter, b'%', b'3', b'A' | b'a'] if letter.is_ascii_alphabetic());
    if !drive {
        return text;
    }
    let slash = if path == first { "/" } else { "" };
    format!(
        "file:///{}{}{slash}",
        path[..1].to_ascii_uppercase(),
        &path[1..]
    )
}

/// Whether the server is one that the general parser rewrote or read in a way we do not accept.
fn has_special_server(text: &str, url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(&byte));
    !plain || host.split('.').any(str::is_empty) || !text.to_ascii_lowercase().contains(host)
}

/// A server in front of a drive, which is refused here. There it is dropped, at once or when the
/// result is read again.
fn drops_a_server(text: &str, url: &Url) -> bool {
    let again = Url::parse(url.as_str()).unwrap();
    text.contains(':') && again.host().is_none()
}

fn compare(text: &str) -> Result<(), TestCaseError> {
    let ours = PathUri::parse(text);
    let theirs = Url::parse(text);
    let cleaned = text.replace(['\t', '\n', '\r'], "");
    if has_bar_drive(&cleaned) || may_pop_a_drive(text) || splits_a_drive(text) {
        return Ok(());
    }
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours.as_str(), finish(&theirs), "{:?}", text),
        (Ok(ours), Err(error)) => prop_assert!(false, "only we accept {text:?} as {ours}: {error}"),
        (Err(_), Err(_)) => {}
        (Err(ours), Ok(theirs)) => {
            let agreed = match ours.kind {
                PathUriErrorKind::UnsupportedScheme => theirs.scheme() != "file",
                PathUriErrorKind::QueryNotAllowed => theirs.query().is_some(),
                PathUriErrorKind::FragmentNotAllowed => theirs.fragment().is_some(),
                PathUriErrorKind::InvalidFileUriPath => theirs.path().contains("%00"),
                // A server in front of a drive is dropped there and refused here.
                PathUriErrorKind::InvalidUri => {
                    has_special_server(text, &theirs) || drops_a_server(text, &theirs)
                }
                _ => false,
            };
            prop_assert!(agreed, "only we refuse {text:?}, which is {theirs}: {ours}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(20_000))]

    #[test]
    fn a_url_parser_agrees_on_structured_text(text in uri_text()) {
        compare(&text)?;
    }

    #[test]
    fn a_url_parser_agrees_on_any_file_text(tail in "[ -~é\\t\\n]{0,24}") {
        compare(&format!("file:{tail}"))?;
    }

    #[test]
    fn a_url_parser_agrees_on_paths(tail in "[a-cC:%2eEfF./\\\\é \"<>`{}^|~]{0,24}") {
        compare(&format!("file:///{tail}"))?;
    }

    #[test]
    fn a_url_parser_agrees_on_servers(host in "[a-zA-Z0-9.~_$!&'()+,;=-]{1,16}", tail in "[a-c/.%2]{0,8}") {
        prop_assume!(!host.to_ascii_lowercase().contains("xn--"));
        compare(&format!("file://{host}/{tail}"))?;
    }
}

#[test]
fn the_written_differences_are_real() {
    let pairs = [
        ("file:///x/C:/../y", "file:///x/y", "file:///x/C:/y"),
        ("file:/C|/x", "file:///C|/x", "file:///C:/x"),
        ("file:///C:", "file:///C:/", "file:///C:"),
        ("file:///%zz", "file:///%25zz", "file:///%zz"),
    ];
    for (text, ours, theirs) in pairs {
        assert_eq!(PathUri::parse(text).unwrap().as_str(), ours);
        assert_eq!(Url::parse(text).unwrap().as_str(), theirs);
    }
}
