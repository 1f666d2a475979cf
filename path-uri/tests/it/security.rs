//! The security properties S1 to S9 of the specification, one test or more for each.

use farstep_path_uri::{Convention, DenyRule, Devices, PathUri, PathUriErrorKind as Kind};
use proptest::prelude::*;

use crate::strategies::{any_uri, config, native_text, uri_text};
use crate::{refusal, uri, wide};

/// Whether the second host path is the first or lies below it, name by name.
fn below<T: PartialEq>(base: &[T], path: &[T], separator: &T) -> bool {
    let names = |path| <[T]>::split(path, |unit| unit == separator).filter(|name| !name.is_empty());
    let mut path = names(path);
    names(base).all(|name| path.next() == Some(name))
}

fn posix_below(base: &PathUri, path: &PathUri) -> bool {
    match (base.to_posix_bytes(), path.to_posix_bytes()) {
        (Ok(base), Ok(path)) => below(&base, &path, &b'/'),
        _ => true,
    }
}

fn windows_below(base: &PathUri, path: &PathUri) -> bool {
    let folded = |units: Vec<u16>| -> Vec<u16> {
        String::from_utf16_lossy(&units)
            .to_ascii_lowercase()
            .encode_utf16()
            .collect()
    };
    match (base.to_windows_wide(), path.to_windows_wide()) {
        (Ok(base), Ok(path)) => below(&folded(base), &folded(path), &u16::from(b'\\')),
        _ => true,
    }
}

proptest! {
    #![proptest_config(config(4_000))]

    #[test]
    fn s1_what_is_contained_is_opened_below_its_base(base in any_uri(), other in any_uri(), text in native_text()) {
        let joined = base.join(&text).ok();
        for path in [Some(other), joined].into_iter().flatten() {
            if base.contains(&path) {
                prop_assert!(posix_below(&base, &path) && windows_below(&base, &path), "{} {}", base, path);
            }
        }
    }

    #[test]
    fn s2_no_spelling_of_the_tail_leaves_its_base(tail in uri_text(), base in prop::sample::select(&["file:///srv/pub", "file:///C:/pub", "file://srv/share/pub"][..])) {
        let tail = tail.trim_start_matches(|c| c != '/');
        let base = uri(base);
        if let Ok(path) = PathUri::parse(&format!("{base}{tail}")) && base.contains(&path) {
            prop_assert!(posix_below(&base, &path) && windows_below(&base, &path), "{} {}", base, path);
        }
    }

    #[test]
    fn s3_no_host_path_has_a_name_that_moves(path in any_uri()) {
        let ordinary = |name: &[u8]| !matches!(name, b"." | b"..") && !name.contains(&0);
        if let Ok(bytes) = path.to_posix_openable() {
            prop_assert!(bytes.split(|&byte| byte == b'/').all(ordinary));
            prop_assert!(path.is_opaque() || bytes.iter().filter(|&&byte| byte == b'/').count() == path.segments().count().max(1));
        }
        if let Ok(units) = path.to_windows_openable(&Devices::NONE) {
            let text = String::from_utf16_lossy(&units);
            prop_assert!(text.split('\\').all(|name| ordinary(name.as_bytes())) && !text.contains('/'));
        }
    }

    #[test]
    fn s6_the_server_is_neither_dropped_nor_added_nor_changed(text in uri_text()) {
        if let Ok(path) = PathUri::parse(&text) {
            let text = text.trim_matches(|c| c <= ' ').replace('\\', "/").to_ascii_lowercase();
            let written = text.strip_prefix("file://").map(|rest| rest.split('/').next().unwrap_or_default());
            // `file://C:/x` has a drive there and no server.
            let server = written.filter(|server| !matches!(*server, "" | "localhost" | "c:"));
            prop_assert_eq!(path.host(), server);
        }
    }

    #[test]
    fn s7_a_deny_rule_closes_all_that_an_allow_rule_would_open(base in any_uri(), other in any_uri(), text in native_text()) {
        let Ok(rule) = DenyRule::new(base.clone()) else { return Ok(()) };
        let joined = base.join(&text).ok();
        for path in [Some(other), joined].into_iter().flatten() {
            prop_assert!(!base.contains(&path) || rule.denies(&path), "{} {}", base, path);
            prop_assert!(!rule.denies(&path) || rule.is_reached_from(&path));
        }
    }

    #[test]
    fn s8_what_the_model_sees_leads_back(path in any_uri()) {
        let shown = path.display_native();
        let back = path.convention().and_then(|convention| PathUri::from_native(&shown, convention).ok());
        prop_assert!(shown == path.as_str() || back.is_some_and(|back| back == path), "{} {}", path, shown);
        prop_assert!(!shown.contains(|c: char| c.is_control()));
    }
}

#[test]
fn s2_encoded_dots_separators_and_slashes_change_no_answer() {
    let base = uri("file:///srv/pub");
    let outside = [
        "file:///srv/pub/..%2F..%2Fetc",
        "file:///srv/pub/%2e%2e/etc",
        "file:///srv/pub/.%2E/etc",
        "file:///srv/pub\\..\\etc",
        "file:///srv/pub//../../etc",
        "file:///srv/pub/x/../../pub2",
        "file:///srv/pub%2F",
        "file:///srv%2Fpub/x",
        "file:///srv/PUB/x",
    ];
    for text in outside {
        assert!(!base.contains(&uri(text)), "{text}");
    }
    for text in [
        "file:///srv//pub/x",
        "file:///srv/./pub/x",
        "file:///srv/%70ub/x",
        "file:///etc/%2e./srv/pub\\x",
    ] {
        assert!(base.contains(&uri(text)), "{text}");
    }
    let base = uri("file:///C:/pub");
    for text in [
        "file:///C:/pub/..%5C..%5CWindows",
        "file:///C:/pub%5Cx",
        "file:///C:/pub/%2e%2e\\x",
        "file:///C:/pub./../x",
    ] {
        assert!(!base.contains(&uri(text)), "{text}");
    }
    assert!(base.contains(&uri("file:///c%3a/PUB\\x")));
}

#[test]
fn s3_names_that_hide_a_separator_or_nul_reach_no_host() {
    for text in [
        "file:///srv/pub/..%2F..%2Fetc%2Fpasswd",
        "file:///%2Fetc",
        "file:///a%2f",
    ] {
        assert_eq!(
            refusal(uri(text).to_posix_bytes()),
            Kind::NotHostNative,
            "{text}"
        );
    }
    for text in [
        "file:///C:/a%5C..%5Cb",
        "file:///C:/a%2Fb",
        "file://srv/share%5Cx/y",
        "file:///C:/%FF",
    ] {
        assert_eq!(
            refusal(uri(text).to_windows_wide()),
            Kind::NotHostNative,
            "{text}"
        );
    }
    let nul = PathUri::from_posix_bytes(b"/srv/n\0x").unwrap();
    assert_eq!(nul.to_posix_bytes().unwrap(), b"/srv/n\0x");
    assert_eq!(refusal(nul.to_posix_openable()), Kind::NotHostNative);
    assert_eq!(refusal(nul.to_host()), Kind::NotHostNative);
}

#[test]
fn s4_windows_never_gets_a_name_that_it_would_reinterpret() {
    let names = [
        "f.txt:s",
        "f.txt%3As",
        "z:name",
        "z%3Aname",
        "::$DATA",
        "a*b",
        "a%3Fb",
        "%22",
        "%3C",
        "%3E",
        "a|b",
        "a%0Ab",
        "%1F",
        "%7F",
        "a.",
        "a%20",
        "a.%20.",
        "...",
        "CON",
        "con.txt",
        "PRN",
        "AUX.a.b",
        "NUL",
        "nul%20.txt",
        "COM0",
        "com9.log",
        "LPT1",
        "lpt%C2%B9",
        "COM%C2%B2.x",
        "COM%C2%B3",
        "CONIN$",
        "conout$.txt",
    ];
    for name in names {
        for root in [
            "file:///C:/w",
            "file://srv/share",
            "file:///C:/w/x/..",
            "file://srv",
        ] {
            for text in [format!("{root}/{name}"), format!("{root}/{name}/x")] {
                if let Ok(path) = PathUri::parse(&text) {
                    assert_eq!(
                        refusal(path.to_windows_wide()),
                        Kind::NotHostNative,
                        "{text}"
                    );
                }
            }
        }
    }
    let kept = [
        "COM", "COM10", "COMX", "CONX", "xCON", "con-1", "a.b", ".a", " a", "nul_", "C$", "%C2%B9",
        "CONIN", "[x]", "~1",
    ];
    for name in kept {
        assert!(
            uri(&format!("file:///C:/w/{name}"))
                .to_windows_wide()
                .is_ok(),
            "{name}"
        );
    }
    let hidden = [wide(r"C:\w\a:b"), vec![0xd800]].concat();
    assert_eq!(
        refusal(
            PathUri::from_windows_wide(&hidden)
                .unwrap()
                .to_windows_wide()
        ),
        Kind::NotHostNative
    );
}

#[test]
fn s5_devices_stay_closed_unless_named() {
    let native = |text: &str| PathUri::from_native(text, Convention::Windows).unwrap();
    let devices = [
        r"\\.\COM3",
        r"\\?\Volume{0}\x",
        r"\\.\pipe\x",
        r"\\?\GLOBALROOT\Device\x",
        "//./COM3",
        r"\\.\PhysicalDrive0",
        r"\\.\C:",
    ];
    for device in devices {
        assert_eq!(
            refusal(native(device).to_windows_openable(&Devices::NONE)),
            Kind::NotHostNative,
            "{device}"
        );
    }
    for share in [
        "file://srv/pipe/x",
        "file://127.0.0.1/PIPE/x",
        "file://srv/IPC$/x",
        "file://srv/mailslot/x",
    ] {
        assert_eq!(
            refusal(uri(share).to_windows_openable(&Devices::NONE)),
            Kind::NotHostNative,
            "{share}"
        );
    }
    // The kernel's own namespace is no path in any spelling.
    for text in [r"\??\C:\x", "/??/C:/x", r"\??\UNC\srv\share"] {
        assert_eq!(
            refusal(PathUri::from_native(text, Convention::Windows)),
            Kind::InvalidNativePath,
            "{text}"
        );
        assert_eq!(
            refusal(uri("file:///C:/w").join(text)),
            Kind::InvalidNativePath,
            "{text}"
        );
    }

    let some = Devices::default()
        .allow(r"\\.\com3")
        .allow(r"\\srv\pipe\build")
        .allow(r"\\.\")
        .allow(r"\\?")
        .allow(r"C:\");
    let open = |path: &PathUri| path.to_windows_openable(&some).is_ok();
    assert!(
        open(&native(r"\\.\COM3"))
            && open(&native(r"\\.\COM3\"))
            && open(&uri("file://srv/pipe/build"))
    );
    assert!(
        !open(&native(r"\\.\COM30"))
            && !open(&native(r"\\.\COM4"))
            && !open(&uri("file://srv/pipe/other"))
    );
    assert!(open(&uri("file:///C:/w")) && open(&uri("file://srv/share/pipe/x")));
}

#[test]
fn s7_respelled_windows_names_are_denied_and_not_allowed() {
    let base = uri("file:///C:/secret");
    let rule = DenyRule::new(base.clone()).unwrap();
    for text in [
        "file:///C:/secret./x",
        "file:///C:/secret%20",
        "file:///C:/SECRE~1/x",
        "file:///C:/\u{17f}ecret",
        "file:///C:/secret::$DATA",
    ] {
        assert!(rule.denies(&uri(text)), "{text}");
        assert!(!base.contains(&uri(text)), "{text}");
    }
    assert!(!rule.denies(&uri("file:///C:/public")));
}

/// The lexical half ends here. The link below leads out of its folder, and no text can show it:
/// the executor has to look again at what it opened, with `openat2` and `RESOLVE_BENEATH` or by
/// the final path of the Windows handle.
#[cfg(unix)]
#[test]
fn s9_a_lexical_yes_is_necessary_and_not_sufficient() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("inside")).unwrap();
    std::os::unix::fs::symlink("/", root.join("inside/link")).unwrap();

    let base = PathUri::from_host(&root.join("inside")).unwrap();
    let path = base.join_descendant("link").unwrap();
    assert!(base.contains(&path));
    let opened = PathUri::from_host(&path.to_host().unwrap().canonicalize().unwrap()).unwrap();
    assert!(!base.contains(&opened));

    // A lexical no needs no second look: nothing outside by its text is ever opened as inside.
    assert_eq!(
        refusal(base.join_descendant("../outside")),
        Kind::JoinPathMustBeDescendant
    );
}
