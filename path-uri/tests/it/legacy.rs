//! Native strings of the older client API.

use farstep_path_uri::{Convention, LegacyPath, PathUri, PathUriErrorKind as Kind};

use crate::{refusal, uri};

fn resolve(
    text: &str,
    cwd: &str,
    home: Option<&str>,
) -> Result<PathUri, farstep_path_uri::PathUriError> {
    LegacyPath::new(text).resolve(&uri(cwd), home.map(uri).as_ref())
}

#[test]
fn a_working_directory_shows_its_convention_or_is_refused() {
    let conventions = [
        ("/w", Some(Convention::Posix)),
        (r"C:\w", Some(Convention::Windows)),
        (r"\\srv\s", Some(Convention::Windows)),
        ("rel", None),
        ("", None),
        ("file:///x", None),
        ("C:x", None),
    ];
    for (text, convention) in conventions {
        assert_eq!(LegacyPath::new(text).convention(), convention, "{text}");
    }
}

#[test]
fn a_tilde_stays_within_its_convention() {
    assert_eq!(
        refusal(resolve("~/n", "file:///w", Some("file:///C:/u"))),
        Kind::MismatchedConvention
    );
    assert_eq!(
        refusal(resolve("~/n", "file:///C:/w", Some("file:///home/u"))),
        Kind::MismatchedConvention
    );
}

#[test]
fn text_behind_a_tilde_is_relative_however_it_starts() {
    assert_eq!(
        resolve("~//etc", "file:///w", Some("file:///home/u")).unwrap(),
        uri("file:///home/u/etc")
    );
    assert_eq!(
        resolve(r"~\\srv\x", "file:///C:/w", Some("file:///C:/u")).unwrap(),
        uri("file:///C:/u/srv/x")
    );
    assert_eq!(
        refusal(resolve(r"~\D:\x", "file:///C:/w", Some("file:///C:/u"))),
        Kind::InvalidNativePath
    );
    assert_eq!(
        refusal(resolve(r"~/D:x", "file:///C:/w", Some("file:///C:/u"))),
        Kind::InvalidNativePath
    );
}

#[test]
fn network_text_has_to_be_complete() {
    for text in [r"\\srv", "//srv", r"\\srv\", r"\\\x", r"\\.\", r"\\?"] {
        assert_eq!(
            refusal(resolve(text, "file:///C:/w", None)),
            Kind::InvalidNativePath,
            "{text}"
        );
    }
}

#[test]
fn a_string_is_shown_without_what_would_deceive() {
    assert_eq!(
        LegacyPath::new("re\u{202e}l\n").render_for_ui(),
        "re\\u{202e}l\\u{a}"
    );
    assert_eq!(
        LegacyPath::new("/a\u{202e}b").render_for_ui(),
        "file:///a%E2%80%AEb"
    );
}

#[test]
fn a_string_travels_as_it_is() {
    let json = r#""~\\x\u0000""#;
    let path: LegacyPath = serde_json::from_str(json).unwrap();
    assert_eq!(path.as_str(), "~\\x\0");
    assert_eq!(serde_json::to_string(&path).unwrap(), json);
}

#[test]
fn a_deny_path_is_refused_when_it_could_mean_two_things() {
    let windows = uri("file:///C:/w");
    let home = uri("file:///C:/Users/u");
    let deny = |text: &str| LegacyPath::new(text).resolve_for_deny(&windows, Some(&home));
    for text in [
        r"~/\x",
        "~\\/x",
        "C:",
        "C:x",
        r"a:b\c",
        r"C:\a\b:s",
        r"\\.\COM1",
        r"\\localhost\c$\x",
    ] {
        assert_eq!(refusal(deny(text)), Kind::InvalidNativePath, "{text}");
    }
    assert_eq!(deny(r"~\secret").unwrap(), uri("file:///C:/Users/u/secret"));
    assert_eq!(deny(r"C:\secret").unwrap(), uri("file:///C:/secret"));

    let posix = uri("file:///w");
    assert_eq!(
        refusal(LegacyPath::new("/C:/x").resolve_for_deny(&posix, None)),
        Kind::InvalidNativePath
    );
    assert_eq!(
        LegacyPath::new("a:b")
            .resolve_for_deny(&posix, None)
            .unwrap(),
        uri("file:///w/a:b")
    );
}
