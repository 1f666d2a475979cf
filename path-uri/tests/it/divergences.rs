//! Where we part from the peer on purpose: the decisions D1 to D19 of the specification.

use farstep_path_uri::{Convention, DenyRule, LegacyPath, PathUri, PathUriErrorKind as Kind};

use crate::{refusal, uri, wide};

const POSIX: Convention = Convention::Posix;
const WINDOWS: Convention = Convention::Windows;

#[test]
fn d1_an_encoded_slash_is_never_decoded_into_a_path() {
    let path = uri("file:///srv/pub/..%2F..%2Fetc%2Fpasswd");
    assert_eq!(refusal(path.to_posix_bytes()), Kind::NotHostNative);
    assert_eq!(refusal(path.to_windows_wide()), Kind::NotHostNative);
}

#[test]
fn d2_a_drive_below_the_root_never_replaces_the_path() {
    for text in [
        "file:///C:/windows/z:escape.txt",
        "file:///C:/windows/z%3Aescape.txt",
        "file:///C:/windows/z:",
    ] {
        assert!(uri("file:///C:/windows").contains(&uri(text)));
        assert_eq!(
            refusal(uri(text).to_windows_wide()),
            Kind::NotHostNative,
            "{text}"
        );
    }
}

#[test]
fn d3_tab_and_line_breaks_in_native_text_are_kept() {
    let base = uri("file:///d");
    assert_eq!(base.join("a\nb").unwrap().as_str(), "file:///d/a%0Ab");
    assert_eq!(base.join("\ta\r").unwrap().as_str(), "file:///d/%09a%0D");
    assert_eq!(
        PathUri::from_native("/a\tb", POSIX).unwrap().as_str(),
        "file:///a%09b"
    );
    assert_eq!(
        PathUri::from_native("C:\\a\nb", WINDOWS).unwrap().as_str(),
        "file:///C:/a%0Ab"
    );
}

#[test]
fn d4_a_server_in_front_of_a_drive_is_refused() {
    for text in [
        "file://server/C:/x",
        "file://server/c:",
        "file://server/C|/x",
        "file://server//C:/x",
        "file://server/a/../C:/x",
    ] {
        assert_eq!(refusal(PathUri::parse(text)), Kind::InvalidUri, "{text}");
    }
}

#[test]
fn d5_a_drive_shaped_name_at_the_posix_root_stays_posix() {
    for (base, text, bytes) in [
        ("file:///", "C:", "/C:"),
        ("file:///", "c:/x", "/c:/x"),
        ("file:///a/b", "../../Z:", "/Z:"),
    ] {
        let path = uri(base).join(text).unwrap();
        assert!(path.is_opaque());
        assert_eq!(
            (path.convention(), path.to_posix_bytes().unwrap().as_slice()),
            (Some(POSIX), bytes.as_bytes())
        );
        assert_eq!(path, PathUri::from_native(bytes, POSIX).unwrap());
    }
}

#[test]
fn d6_a_device_path_with_slashes_is_windows() {
    assert_eq!(
        PathUri::from_native("//?/C:/x", WINDOWS).unwrap(),
        uri("file:///C:/x")
    );
    assert_eq!(
        uri("file:///C:/w").join("//?/UNC/s/h/x").unwrap(),
        uri("file://s/h/x")
    );
    let device = PathUri::from_native("//./COM1", WINDOWS).unwrap();
    assert_eq!(device.convention(), Some(WINDOWS));
    assert_eq!(device, PathUri::from_native(r"\\.\COM1", WINDOWS).unwrap());
}

#[test]
fn a_volume_is_not_its_root_folder_from_either_side() {
    let volume = PathUri::from_native(r"\\.\w:", WINDOWS).unwrap();
    assert_eq!(
        PathUri::from_windows_wide(&wide(r"\\.\w:")).unwrap(),
        volume
    );
    assert_eq!(volume.to_windows_wide().unwrap(), wide(r"\\.\w:"));
    assert_eq!(
        PathUri::from_windows_wide(&wide(r"\\.\w:\")).unwrap(),
        uri("file:///W:/")
    );
    // Nor is the namespace of shares one of them.
    let namespace = PathUri::from_windows_wide(&wide(r"\\?\UNC")).unwrap();
    assert_eq!(namespace.to_windows_wide().unwrap(), wide(r"\\?\UNC"));
}

#[test]
fn d7_empty_segments_are_no_level() {
    assert_eq!(uri("file:///a//").parent(), Some(uri("file:///")));
    assert_eq!(uri("file:///a//b").parent(), Some(uri("file:///a")));
    assert_eq!(uri("file:///C:/a///").parent(), Some(uri("file:///C:/")));
    assert_eq!(uri("file://s/h//").parent(), None);
}

#[test]
fn d8_a_drive_root_ends_with_a_slash_wherever_it_comes_from() {
    let root = uri("file:///C:/");
    let made = [
        uri("file:///C:"),
        uri("file:///c:"),
        uri("file:///C:/x").parent().unwrap(),
        uri("file:///C:/x/y").join(r"..\..").unwrap(),
        uri("file:///C:/x").join(r"\").unwrap(),
        PathUri::from_native(r"C:\x\..", WINDOWS).unwrap(),
        PathUri::from_windows_wide(&wide("C:/")).unwrap(),
    ];
    for path in made {
        assert_eq!(path.as_str(), root.as_str());
        assert_eq!(path.to_windows_wide().unwrap(), wide(r"C:\"));
    }
    assert_eq!(uri("file:///C%3a").as_str(), "file:///C%3a/");
}

#[test]
fn d9_incomplete_network_and_kernel_paths_are_refused() {
    for text in [
        r"\\srv",
        r"\\srv\",
        "//srv",
        r"\\",
        r"\\\srv\share",
        r"\\srv\..\x",
        r"\\?\UNC\srv",
        r"\\?\",
        r"\??\C:\x",
        "/??/C:/x",
    ] {
        assert_eq!(
            refusal(uri("file:///C:/w").join(text)),
            Kind::InvalidNativePath,
            "{text}"
        );
        assert_eq!(
            refusal(PathUri::from_native(text, WINDOWS)),
            Kind::InvalidNativePath,
            "{text}"
        );
    }
}

#[test]
fn d10_a_trailing_dot_or_blank_is_refused_and_denied() {
    let rule = DenyRule::new(uri("file:///C:/windows")).unwrap();
    for text in [
        "file:///C:/windows.",
        "file:///C:/windows%20",
        "file:///C:/windows./x",
        "file:///C:/windows%20./x",
    ] {
        assert_eq!(
            refusal(uri(text).to_windows_wide()),
            Kind::NotHostNative,
            "{text}"
        );
        assert!(rule.denies(&uri(text)), "{text}");
    }
    assert_eq!(
        refusal(uri("file:///C:/nul").to_windows_wide()),
        Kind::NotHostNative
    );
}

#[test]
fn d11_a_misleading_name_keeps_its_uri_spelling() {
    assert_eq!(uri("file:///a/x%2Fy").file_name().as_deref(), Some("x%2Fy"));
    assert_eq!(
        uri("file:///C:/x%5Cy").file_name().as_deref(),
        Some("x%5Cy")
    );
    assert_eq!(uri("file:///a/%FFx").to_native(POSIX).unwrap(), "/a/%FFx");
    assert_eq!(uri("file:///a/x%2Fy").to_native(POSIX).unwrap(), "/a/x%2Fy");
    assert_eq!(uri("file:///a/%0A").display_name().as_deref(), Some("%0A"));
    assert_eq!(uri("file:///a/%0A").display_native(), "file:///a/%0A");
}

#[test]
fn d12_a_broken_escape_has_one_spelling() {
    for text in ["file:///%zz", "file:///%25zz"] {
        assert_eq!(uri(text).as_str(), "file:///%25zz");
    }
    assert_eq!(uri("file:///a%4").as_str(), "file:///a%254");
    assert_eq!(uri("file:///%%41").as_str(), "file:///%25%41");
    assert_eq!(
        refusal(PathUri::parse_strict("file:///%zz")),
        Kind::InvalidUri
    );
}

#[test]
fn d13_raw_backslashes_and_blanks_are_for_the_wire_only() {
    for text in [
        "file:///a\\b",
        " file:///a/b",
        "file:///a/\tb",
        "file:///a/b\n",
    ] {
        assert_eq!(uri(text).as_str(), "file:///a/b");
        assert_eq!(
            refusal(PathUri::parse_strict(text)),
            Kind::InvalidUri,
            "{text:?}"
        );
    }
}

#[test]
fn d14_a_server_that_would_be_rewritten_is_refused() {
    for host in ["2130706433", "bücher", "%41bc", "0x7f.1", "１"] {
        assert_eq!(
            refusal(PathUri::parse(&format!("file://{host}/s"))),
            Kind::InvalidUri,
            "{host}"
        );
    }
    for server in ["2130706433", "bücher", "0x7f.1"] {
        assert!(
            PathUri::from_native(&format!(r"\\{server}\s"), WINDOWS)
                .unwrap()
                .is_opaque(),
            "{server}"
        );
    }
}

#[test]
fn d15_an_ipv6_server_has_no_windows_path() {
    let path = uri("file://[::1]/share/x");
    assert_eq!(
        refusal(path.to_native(WINDOWS)),
        Kind::IncompatibleConvention
    );
    assert_eq!(refusal(path.to_windows_wide()), Kind::NotHostNative);
    assert_eq!(path.display_native(), path.as_str());
}

#[test]
fn d16_equality_is_the_wire_and_same_location_is_the_place() {
    for (a, b) in [
        ("file:///a/%62", "file:///a/b"),
        ("file:///a/", "file:///a"),
        ("file:///a//b", "file:///a/b"),
        ("file:///%ff", "file:///%FF"),
    ] {
        assert_ne!(uri(a), uri(b));
        assert!(uri(a).same_location(&uri(b)), "{a} {b}");
    }
    assert!(uri("file:///C:/A/").same_location(&uri("file:///c%3A/a")));
    assert!(!uri("file:///a%2Fb").same_location(&uri("file:///a/b")));
    assert!(!uri("file:///a").same_location(&uri("file:///A")));
}

#[test]
fn d17_allow_rules_fold_ascii_and_deny_rules_fold_everything() {
    let (upper, lower) = (uri("file:///C:/Ä"), uri("file:///C:/ä"));
    assert_ne!(upper, lower);
    assert!(!upper.contains(&lower));
    assert!(DenyRule::new(upper).unwrap().denies(&lower));
}

#[test]
fn d18_a_listed_name_that_is_not_text_has_a_uri_to_open_it() {
    let child = PathUri::from_posix_bytes(b"/srv/\xff\xfe").unwrap();
    assert_eq!(child.as_str(), "file:///srv/%FF%FE");
    assert_eq!(child.to_posix_bytes().unwrap(), b"/srv/\xff\xfe");
    assert_eq!(child.file_name().as_deref(), Some("%FF%FE"));
}

#[test]
fn d19_a_home_of_the_other_convention_is_refused() {
    let resolve = |cwd, home| LegacyPath::new("~/x").resolve(&uri(cwd), Some(&uri(home)));
    assert_eq!(
        refusal(resolve("file:///w", "file:///C:/u")),
        Kind::MismatchedConvention
    );
    assert_eq!(
        refusal(resolve("file:///C:/w", "file:///u")),
        Kind::MismatchedConvention
    );
}
