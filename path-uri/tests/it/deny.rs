//! Deny rules: no respelling slips by, and honest neighbours stay open.

use farstep_path_uri::{Convention, DenyRule, PathUri, PathUriErrorKind as Kind};

use crate::{refusal, uri};

fn rule(text: &str) -> DenyRule {
    DenyRule::new(uri(text)).unwrap()
}

fn denied<'a>(rule: &DenyRule, paths: &[&'a str]) -> Vec<&'a str> {
    paths
        .iter()
        .copied()
        .filter(|path| rule.denies(&uri(path)))
        .collect()
}

#[test]
fn posix_names_match_by_their_bytes() {
    let rule = rule("file:///srv/secret");
    let closed = [
        "file:///srv/secret",
        "file:///srv/secret/",
        "file:///srv//secret/key",
        "file:///srv/%73ecret/x",
    ];
    assert_eq!(denied(&rule, &closed), closed);
    let open = [
        "file:///srv",
        "file:///srv/secrets",
        "file:///srv/SECRET",
        "file:///srv/secret%20",
        "file:///C:/srv/secret",
    ];
    assert_eq!(denied(&rule, &open), [""; 0]);
}

#[test]
fn posix_without_case_is_as_careful_as_the_file_system_might_be() {
    let rule = rule("file:///Users/u/.ssh").ignoring_case();
    let closed = [
        "file:///users/U/.SSH/id",
        "file:///Users/u/.s\u{200c}sh",
        "file:///Users/u/.\u{17f}sh",
    ];
    assert_eq!(denied(&rule, &closed), closed);
    assert_eq!(
        denied(&rule, &["file:///Users/u/.sshd", "file:///Users/u/é"]),
        [""; 0]
    );
    let composed = self::rule("file:///Users/u/caf\u{e9}").ignoring_case();
    assert_eq!(
        denied(&composed, &["file:///Users/u/cafe\u{301}"]),
        ["file:///Users/u/cafe\u{301}"]
    );
}

#[test]
fn windows_respellings_are_all_denied() {
    let rule = rule("file:///C:/Data/Über Straße");
    let closed = [
        "file:///c:/data/üBER sTRASSE".replace("SS", "ß"),
        "file:///C:/DATA/%C3%9Cber Stra\u{1e9e}e".to_owned(),
        "file:///C:/data./über straße".to_owned(),
        "file:///C:/data%20/über straße. . /x".to_owned(),
        "file:///C:/data/über straße::$DATA".to_owned(),
        "file:///C:/data:$I30:$INDEX_ALLOCATION/über straße".to_owned(),
        "file:///C:/DATA~1/über straße".to_owned(),
        "file:///C:/data/BERSTR~1".to_owned(),
        "file:///C:/data/BER~12.TXT/x".to_owned(),
        "file:///C:/data/x%5C..%5Cy".to_owned(),
        "file:///C%3A/data/über straße".to_owned(),
        "file://localhost/C:/data/über straße".to_owned(),
        "file://127.0.0.1/c$/data/über straße".to_owned(),
        "file://other/C$/data/über straße".to_owned(),
        "file://127.0.0.1/anything/at/all".to_owned(),
    ];
    let closed: Vec<&str> = closed.iter().map(String::as_str).collect();
    assert_eq!(denied(&rule, &closed), closed);
    let open = [
        "file:///C:/data",
        "file:///C:/data/über",
        "file:///D:/data/über straße",
        "file:///C:/data/über straße2",
        "file://srv/share/data",
        "file://srv/D$/data/über straße",
    ];
    assert_eq!(denied(&rule, &open), [""; 0]);
}

#[test]
fn a_share_is_denied_under_every_name_of_its_server() {
    let rule = rule("file://fileserver/Share/secret");
    let closed = [
        "file://fileserver/share/SECRET/x",
        "file://10.0.0.7/share/secret",
        "file://fileserver.example.com/Share/secret",
        "file://[2001:db8::1]/share/secret",
    ];
    assert_eq!(denied(&rule, &closed), closed);
    assert_eq!(
        denied(
            &rule,
            &[
                "file://fileserver/other/secret",
                "file://fileserver/share/open",
                "file:///C:/share/secret"
            ]
        ),
        [""; 0]
    );
    let admin = self::rule("file://pc/C$/secret");
    assert_eq!(
        denied(&admin, &["file:///C:/secret/x", "file:///C:/open"]),
        ["file:///C:/secret/x"]
    );
}

/// Found by the fuzzer: an administrative share was compared as the drive it is, and never as what
/// lies below its server.
#[test]
fn a_server_is_denied_with_the_shares_that_are_drives() {
    let server = rule("file://pc/");
    let closed = ["file://pc/c$", "file://pc/C$/x", "file://pc/share/x"];
    assert_eq!(denied(&server, &closed), closed);
    let share = rule("file://pc/C$/secret");
    assert!(share.is_reached_from(&uri("file://pc/")) && !share.denies(&uri("file://pc/")));
    assert_eq!(
        denied(&rule("file://pc/share"), &["file://pc/c$/x"]),
        [""; 0]
    );
}

#[test]
fn what_cannot_be_told_is_denied() {
    let posix = rule("file:///srv/secret");
    let windows = rule("file:///C:/secret");
    let unknown = "file:///%00/bad/path/YQ";
    assert!(posix.denies(&uri(unknown)) && windows.denies(&uri(unknown)));
    assert!(posix.denies(&uri("file:///open/a%2Fb")));
    let opaque = |text, convention| PathUri::from_native(text, convention).unwrap();
    assert!(posix.denies(&opaque("/srv/secret/n\0x", Convention::Posix)));
    assert!(!posix.denies(&opaque("/srv/open/n\0x", Convention::Posix)));
    assert!(windows.denies(&opaque(r"\\?\Volume{0}\x", Convention::Windows)));
    assert!(windows.denies(&opaque(r"\\.\C:", Convention::Windows)));
    let admin = |text| opaque(text, Convention::Windows);
    assert!(windows.denies(&admin(r"\\localhost\c$\secret")));
    assert!(!windows.denies(&admin(r"\\localhost\c$\open")));
    assert!(windows.denies(&admin(r"\\localhost\share\open")));
    assert!(windows.denies(&opaque("C:\\secret\\n\0x", Convention::Windows)));
    assert!(!windows.denies(&opaque("D:\\secret\\n\0x", Convention::Windows)));
}

#[test]
fn a_rule_on_an_opaque_posix_path_closes_it_and_no_other() {
    let drive = PathUri::from_native("/C:/x", Convention::Posix).unwrap();
    let rule = DenyRule::new(drive.clone()).unwrap();
    assert_eq!(rule.path(), &drive);
    assert!(rule.denies(&drive));
    assert!(rule.denies(&PathUri::from_native("/C:/x/y", Convention::Posix).unwrap()));
    assert!(!rule.denies(&uri("file:///x")));
}

#[test]
fn an_unclear_path_makes_no_rule() {
    for text in [
        "file:///a%2Fb",
        "file:///C:/a%5Cb",
        "file:///%00/bad/path/YQ",
    ] {
        assert_eq!(
            refusal(DenyRule::new(uri(text))),
            Kind::InvalidFileUriPath,
            "{text}"
        );
    }
    let device = PathUri::from_native(r"\\.\PhysicalDrive0", Convention::Windows).unwrap();
    assert_eq!(refusal(DenyRule::new(device)), Kind::InvalidFileUriPath);
}

#[test]
fn a_recursive_step_from_above_reaches_the_rule() {
    let rule = rule("file:///C:/w/secret");
    let reached = |path: &str| rule.is_reached_from(&uri(path));
    assert!(reached("file:///c:/W") && reached("file:///C:/") && reached("file:///C:/w./SECRET/x"));
    assert!(!reached("file:///C:/w/open") && !reached("file:///D:/"));
}
