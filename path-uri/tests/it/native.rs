//! Native text and host paths: what survives, what is shown, what becomes opaque.

use std::path::Path;

use farstep_path_uri::{Convention, PathUri, PathUriErrorKind as Kind, Posix, Typed, Windows};

use crate::{refusal, uri, wide};

const POSIX: Convention = Convention::Posix;
const WINDOWS: Convention = Convention::Windows;

fn native(text: &str, convention: Convention) -> PathUri {
    PathUri::from_native(text, convention).unwrap()
}

#[test]
fn windows_paths_without_a_uri_become_opaque_and_come_back() {
    let opaque = [
        r"\\.\COM1",
        r"\\?\Volume{0}\x",
        r"\\?\GLOBALROOT\Device\x",
        r"\\.\pipe\x",
        r"\\.\C:",
        r"\\0x7f000001\share",
        r"\\bücher\share",
        r"\\localhost\c$",
        r"\\xn--a\share",
        r"\\srv\C:\x",
        r"\\srv\C|\x",
        r"\\[::1]\share",
        "C:\\a\0b",
    ];
    for text in opaque {
        let uri = native(text, WINDOWS);
        assert!(uri.is_opaque(), "{text} {uri}");
        assert_eq!(uri.convention(), Some(WINDOWS), "{text}");
        assert_eq!(uri.to_native(WINDOWS).unwrap(), text);
        assert_eq!(PathUri::parse(uri.as_str()).unwrap(), uri);
    }
}

#[test]
fn an_unpaired_surrogate_survives() {
    let units = [wide(r"C:\a"), vec![0xd800], wide(r"\b")].concat();
    let uri = PathUri::from_windows_wide(&units).unwrap();
    assert!(uri.is_opaque());
    assert_eq!(uri.to_windows_wide().unwrap(), units);
    let relative = [wide("a"), vec![0xd800]].concat();
    assert_eq!(
        refusal(PathUri::from_windows_wide(&relative)),
        Kind::NotAbsolute
    );
}

#[test]
fn an_opaque_path_is_an_atom() {
    let atom = native("/C:/x", POSIX);
    assert_eq!(
        (atom.parent(), atom.file_name(), atom.depth()),
        (None, None, None)
    );
    assert_eq!(atom.segments().count(), 0);
    assert!(atom.contains(&atom) && !uri("file:///").contains(&atom));
    assert_eq!(refusal(atom.join("y")), Kind::InvalidFileUriPath);
    assert_eq!(atom.join("/y").unwrap(), uri("file:///y"));
}

#[test]
fn what_is_shown_reads_back_or_is_the_uri() {
    let shown = [
        ("file:///srv/a%20b", "/srv/a b"),
        ("file:///srv/%E2%98%83", "/srv/☃"),
        ("file:///srv/a%0Ab", "file:///srv/a%0Ab"),
        ("file:///srv/%1B[2J", "file:///srv/%1B[2J"),
        (
            "file:///srv/%E2%80%AEgpj.exe",
            "file:///srv/%E2%80%AEgpj.exe",
        ),
        ("file:///srv/%C2%85", "file:///srv/%C2%85"),
        ("file:///srv/%FF", "file:///srv/%FF"),
        ("file:///srv/..%2F..%2Fetc", "file:///srv/..%2F..%2Fetc"),
        ("file:///a/%62", "file:///a/%62"),
        ("file:///a//b", "file:///a//b"),
        ("file:///C:/a%2Fb", "file:///C:/a%2Fb"),
        ("file://[::1]/s/x", "file://[::1]/s/x"),
        ("file:///C:/%41", r"C:\A"),
    ];
    for (text, wanted) in shown {
        assert_eq!(uri(text).display_native(), wanted, "{text}");
    }
    assert_eq!(native("/C:/x", POSIX).display_native(), "/C:/x");
    assert!(
        native("/n\0x", POSIX)
            .display_native()
            .starts_with("file:///%00/")
    );
}

#[test]
fn a_name_is_real_and_its_display_is_safe() {
    let names = [
        ("file:///d/a%0Ab", Some("a\nb"), Some("a%0Ab")),
        (
            "file:///d/%E2%80%AEx",
            Some("\u{202e}x"),
            Some("%E2%80%AEx"),
        ),
        ("file:///d/a%2Fb", Some("a%2Fb"), Some("a%2Fb")),
        ("file:///d/a%5Cb", Some("a\\b"), Some("a\\b")),
        ("file:///C:/a%5Cb", Some("a%5Cb"), Some("a%5Cb")),
        ("file:///d/%FF", Some("%FF"), Some("%FF")),
        ("file:///C:/", None, None),
        ("file://srv/share", None, None),
    ];
    for (text, name, shown) in names {
        let uri = uri(text);
        assert_eq!(
            (uri.file_name().as_deref(), uri.display_name().as_deref()),
            (name, shown),
            "{text}"
        );
    }
}

#[test]
fn an_ordinary_path_in_an_opaque_wrapper_is_refused() {
    use base64_simd::URL_SAFE_NO_PAD as BASE64;
    let wrap = |bytes: &[u8]| {
        uri(&format!(
            "file:///%00/bad/path/{}",
            BASE64.encode_to_string(bytes)
        ))
    };
    let wrap_wide = |text: &str| {
        wrap(
            &text
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<_>>(),
        )
    };
    for payload in ["/var", "/C:/../etc", "/a/../n\0", "/", "var", "/x/\0/"] {
        let wrapped = wrap(payload.as_bytes());
        assert_eq!(
            refusal(wrapped.to_posix_openable()),
            Kind::NotHostNative,
            "{payload:?}"
        );
        assert_eq!(
            refusal(wrapped.to_windows_wide()),
            Kind::NotHostNative,
            "{payload:?}"
        );
    }
    for payload in [
        r"C:\x",
        r"\\.\C:\x",
        r"\\?\C:\x",
        r"\\srv\share\x",
        r"\\.\UNC\s\h\x",
        "//./COM1",
        "C:x",
        r"\\srv",
    ] {
        let wrapped = wrap_wide(payload);
        assert_eq!(
            refusal(wrapped.to_windows_wide()),
            Kind::NotHostNative,
            "{payload:?}"
        );
        assert_eq!(
            refusal(wrapped.to_posix_openable()),
            Kind::NotHostNative,
            "{payload:?}"
        );
    }
}

#[test]
fn a_foreign_path_is_refused_in_the_words_of_the_wire() {
    let os = if cfg!(unix) {
        std::env::consts::OS
    } else {
        "posix"
    };
    assert_eq!(
        uri("file:///C:/x")
            .to_posix_bytes()
            .unwrap_err()
            .to_string(),
        format!("'file:///C:/x' is invalid on '{os}'")
    );
    assert_eq!(
        uri("file:///x").to_windows_wide().unwrap_err().to_string(),
        "'file:///x' is invalid on 'windows'"
    );
    assert_eq!(
        uri("file:///a%2Fb")
            .to_posix_bytes()
            .unwrap_err()
            .to_string(),
        format!("'file:///a%2Fb' is invalid on '{os}': a name contains an encoded separator")
    );
}

#[cfg(unix)]
#[test]
fn the_host_path_of_a_posix_machine_keeps_every_byte() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let path = Path::new(OsStr::from_bytes(b"/srv/\xff/a\nb\t"));
    let uri = PathUri::from_host(path).unwrap();
    assert_eq!(uri.as_str(), "file:///srv/%FF/a%0Ab%09");
    assert_eq!(uri.to_host().unwrap(), path);
    assert_eq!(
        refusal(PathUri::from_host(Path::new("srv/x"))),
        Kind::NotAbsolute
    );
    assert_eq!(
        refusal(crate::uri("file:///C:/x").to_host()),
        Kind::NotHostNative
    );
}

#[cfg(windows)]
#[test]
fn the_host_path_of_a_windows_machine_keeps_every_unit() {
    let path = Path::new(r"C:\srv\a b");
    let uri = PathUri::from_host(path).unwrap();
    assert_eq!(uri.as_str(), "file:///C:/srv/a%20b");
    assert_eq!(uri.to_host().unwrap(), path);
    assert_eq!(
        refusal(PathUri::from_host(Path::new(r"srv\x"))),
        Kind::NotAbsolute
    );
    assert_eq!(
        refusal(crate::uri("file:///srv").to_host()),
        Kind::NotHostNative
    );
}

#[test]
fn a_host_path_loses_the_slash_that_would_follow_a_link() {
    assert_eq!(
        uri("file:///srv/link/").to_posix_bytes().unwrap(),
        b"/srv/link"
    );
    assert_eq!(
        uri("file:///srv//a///").to_posix_bytes().unwrap(),
        b"/srv/a"
    );
    assert_eq!(
        uri("file:///C:/w//a/").to_windows_wide().unwrap(),
        wide(r"C:\w\a")
    );
    assert_eq!(
        uri("file://srv/share/").to_windows_wide().unwrap(),
        wide(r"\\srv\share")
    );
}

#[test]
fn a_narrowed_path_keeps_its_proof() {
    let posix = Typed::<Posix>::try_from(uri("file:///srv")).unwrap();
    assert_eq!(posix.to_native().unwrap(), "/srv");
    assert_eq!(posix.as_uri(), &posix.clone().into_uri());
    assert_eq!(
        refusal(Typed::<Windows>::try_from(uri("file:///srv"))),
        Kind::IncompatibleConvention
    );
    assert_eq!(
        Typed::<Windows>::try_from(uri("file://s/h"))
            .unwrap()
            .to_native()
            .unwrap(),
        r"\\s\h"
    );
    assert_eq!(
        refusal(Typed::<Posix>::try_from(uri("file:///%00/bad/path/YQ"))),
        Kind::IncompatibleConvention
    );
}
