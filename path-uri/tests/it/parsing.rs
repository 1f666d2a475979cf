//! What parsing refuses, what it says then, and where the two modes part.

use farstep_path_uri::{MAX_SEGMENTS, MAX_URI_BYTES, PathUri, PathUriErrorKind as Kind};

use crate::{refusal, uri};

fn message(text: &str) -> String {
    PathUri::parse(text).unwrap_err().to_string()
}

#[test]
fn an_error_names_the_place_and_the_way_out() {
    let said = [
        (
            "/srv/app",
            "relative URL without a base at byte 0; this looks like a native path; did you mean file:///srv/app?",
        ),
        (
            "C:\\x y",
            "the scheme `c` is not `file` at byte 0; this looks like a native path; did you mean file:///C:/x%20y?",
        ),
        (
            "\\\\srv\\share",
            "relative URL without a base at byte 0; this looks like a native path; did you mean file://srv/share?",
        ),
        (
            "src/x",
            "relative URL without a base at byte 0; a path is written as an absolute URI, such as file:///srv/app",
        ),
        (
            "file:///a?b",
            "a file URI has no query at byte 9; write %3F for a question mark in a name",
        ),
        (
            "file:///a#",
            "a file URI has no fragment at byte 9; write %23 for a # in a name",
        ),
        ("file://me@srv/x", "a file URI carries no user at byte 9"),
        ("file://srv:445/x", "a file URI has no port at byte 10"),
        (
            "file://s%72v/x",
            "the server name is not a plain host name at byte 7",
        ),
        ("file:///a/%00", "the path contains a NUL byte at byte 10"),
    ];
    for (text, wanted) in said {
        assert_eq!(message(text), wanted, "{text}");
    }
}

#[test]
fn an_offset_counts_in_the_text_that_was_given() {
    let offset = |text| PathUri::parse(text).unwrap_err().offset;
    assert_eq!(offset("  fi\tle:///a?"), Some(12));
    assert_eq!(offset("\n\nfile:///é\té#"), Some(15));
    assert_eq!(offset("file://a b/x"), Some(7));
}

#[test]
fn an_unknown_scheme_is_named_in_lower_case() {
    let error = PathUri::parse("HTTPS://example.com/x").unwrap_err();
    assert_eq!(
        (error.kind, error.scheme.as_deref()),
        (Kind::UnsupportedScheme, Some("https"))
    );
}

#[test]
fn a_hint_never_repeats_raw_control_characters() {
    for text in ["/a\u{1b}[2J", "/a\u{202e}b", "C:\\\u{7}"] {
        let said = message(text);
        assert!(
            !said.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{said:?}"
        );
    }
}

#[test]
fn lenient_accepts_what_peers_accept_and_strict_does_not() {
    let canonical = [
        ("file:srv/app", "file:///srv/app", Kind::InvalidUri),
        (" file:///a ", "file:///a", Kind::InvalidUri),
        ("file:///a\tb", "file:///ab", Kind::InvalidUri),
        ("file:///a\r\n", "file:///a", Kind::InvalidUri),
        ("file:///a\\b", "file:///a/b", Kind::InvalidUri),
        ("file:///%zz", "file:///%25zz", Kind::InvalidUri),
        ("file:///a%4", "file:///a%254", Kind::InvalidUri),
        ("file://C:/x", "file:///C:/x", Kind::InvalidUri),
        ("file:///a%2Fb", "file:///a%2Fb", Kind::InvalidFileUriPath),
        (
            "file:///C:/a%5Cb",
            "file:///C:/a%5Cb",
            Kind::InvalidFileUriPath,
        ),
        (
            "file://srv/share/C:/x",
            "file://srv/share/C:/x",
            Kind::InvalidFileUriPath,
        ),
        (
            "file://srv/C%3A/x",
            "file://srv/C%3A/x",
            Kind::InvalidFileUriPath,
        ),
        (
            "file:///%00/bad/path/YQ",
            "file:///%00/bad/path/YQ",
            Kind::InvalidFileUriPath,
        ),
    ];
    for (text, wanted, kind) in canonical {
        assert_eq!(uri(text).as_str(), wanted, "{text:?}");
        assert_eq!(refusal(PathUri::parse_strict(text)), kind, "{text:?}");
    }
}

#[test]
fn strict_accepts_what_a_person_would_write() {
    let fine = [
        ("file:///srv/a b", "file:///srv/a%20b"),
        ("file:/srv", "file:///srv"),
        ("file:///é", "file:///%C3%A9"),
        ("file:///a/../b/", "file:///b/"),
        ("file:///c:", "file:///C:/"),
        ("file://Server/Share", "file://server/Share"),
        ("file:///a%5Cb", "file:///a%5Cb"),
    ];
    for (text, wanted) in fine {
        assert_eq!(
            PathUri::parse_strict(text).unwrap().as_str(),
            wanted,
            "{text:?}"
        );
    }
}

#[test]
fn strict_says_what_a_drive_in_the_wrong_place_should_be() {
    let error = PathUri::parse_strict("file://c:/x y").unwrap_err();
    assert_eq!(
        error.to_string(),
        "a drive where a server belongs at byte 7; did you mean file:///C:/x%20y?"
    );
}

#[test]
fn only_hosts_that_nobody_rewrites_are_carried() {
    let carried = [
        "srv",
        "srv.example.com",
        "10.0.0.7",
        "[::1]",
        "[2001:db8::1]",
        "[::ffff:102:304]",
        "wsl$",
        "a_b",
        "xn--bcher-kva",
        "under-score_",
    ];
    for host in carried {
        assert_eq!(
            uri(&format!("file://{host}/s/x")).host(),
            Some(host),
            "{host}"
        );
    }
    let refused = [
        "2130706433",
        "0x7f000001",
        "127.1",
        "010.0.0.1",
        "1.2.3.4.",
        "a.1",
        "bücher",
        "%41bc",
        "a..b",
        ".",
        "..",
        "a.",
        "a*b",
        "a b",
        "[::1",
        "[::FFFF:1.2.3.4]",
        "[0:0::1]",
        "[::1%eth0]",
        "[::1]x",
        "a|b",
    ];
    for host in refused {
        assert_eq!(
            refusal(PathUri::parse(&format!("file://{host}/s/x"))),
            Kind::InvalidUri,
            "{host}"
        );
    }
    assert_eq!(
        refusal(PathUri::parse(&format!("file://{}/s", "a".repeat(256)))),
        Kind::InvalidUri
    );
}

#[test]
fn an_ipv6_server_has_one_spelling() {
    for (text, canonical) in [
        ("[::]", true),
        ("[1:0:0:2::3]", false),
        ("[1::2:0:0:3]", false),
        ("[1:0:0:2:0:0:0:3]", false),
        ("[1:0:0:2::5]", false),
        ("[1:2:3:4:5:6:7:8]", true),
        ("[::2:3:4:5:6:7:8]", false),
        ("[0:2:3:4:5:6:7:8]", true),
        ("[::1:0:0:0]", false),
        ("[1:0:0:2::]", false),
    ] {
        let ours = PathUri::parse(&format!("file://{text}/s"));
        let theirs = url::Url::parse(&format!("file://{text}/s")).unwrap();
        assert_eq!(
            ours.is_ok(),
            theirs.host_str() == Some(text),
            "{text} {theirs}"
        );
        assert!(ours.is_ok() || !canonical, "{text}");
    }
}

#[test]
fn length_and_depth_are_bounded_everywhere() {
    let long = "a".repeat(MAX_URI_BYTES);
    let deep = "a/".repeat(MAX_SEGMENTS + 1);
    let base = uri("file:///w");
    assert_eq!(
        refusal(PathUri::parse(&format!("file:///{long}"))),
        Kind::TooLong
    );
    assert_eq!(
        refusal(PathUri::parse(&format!("file:///{deep}"))),
        Kind::TooLong
    );
    assert_eq!(refusal(base.join(&long)), Kind::TooLong);
    assert_eq!(refusal(base.join(&deep)), Kind::TooLong);
    assert_eq!(
        refusal(uri("file:///C:/w").join(&format!("\\\\?\\x\\{long}"))),
        Kind::TooLong
    );
    assert_eq!(
        refusal(PathUri::from_posix_bytes(format!("/{long}").as_bytes())),
        Kind::TooLong
    );
    assert_eq!(
        refusal(PathUri::from_windows_wide(&crate::wide(&format!(
            "C:\\{long}"
        )))),
        Kind::TooLong
    );
    // Escapes count as they are written.
    let third = "é".repeat(MAX_URI_BYTES / 6);
    assert_eq!(
        refusal(PathUri::parse(&format!("file:///{third}"))),
        Kind::TooLong
    );
    let opaque = format!("/\0{}", "a".repeat(MAX_URI_BYTES - 100));
    assert_eq!(
        refusal(PathUri::from_posix_bytes(opaque.as_bytes())),
        Kind::TooLong
    );
}

#[test]
fn the_largest_path_still_fits() {
    let full = format!("file:///{}", "a".repeat(MAX_URI_BYTES - 8));
    assert_eq!(uri(&full).as_str(), full);
    let deep = format!("file:///{}", vec!["a"; MAX_SEGMENTS].join("/"));
    assert_eq!(uri(&deep).depth(), Some(MAX_SEGMENTS));
    assert_eq!(refusal(uri(&deep).join("a")), Kind::TooLong);
}

#[test]
fn json_carries_a_string_and_native_paths_are_refused() {
    let read = |json: &str| serde_json::from_str::<PathUri>(json);
    assert_eq!(
        read(r#""file:\/\/\/srv\/a\u00e9""#).unwrap().as_str(),
        "file:///srv/a%C3%A9"
    );
    assert_eq!(
        serde_json::to_string(&uri("file:///C:")).unwrap(),
        r#""file:///C:/""#
    );
    for (json, wanted) in [
        (
            r#""/srv/app""#,
            "relative URL without a base at byte 0; this looks like a native path; did you mean file:///srv/app?",
        ),
        (
            r#""C:\\x""#,
            "the scheme `c` is not `file` at byte 0; this looks like a native path; did you mean file:///C:/x?",
        ),
        (
            "7",
            "invalid type: integer `7`, expected an absolute file: URI",
        ),
    ] {
        let said = read(json).unwrap_err().to_string();
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn reading_with_from_str_is_reading_from_the_wire() {
    assert_eq!(" file:///a ".parse::<PathUri>().unwrap(), uri("file:///a"));
    assert_eq!(PathUri::try_from("file:a").unwrap(), uri("file:///a"));
}
