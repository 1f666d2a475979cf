//! What must hold for every path, whatever the fuzzer makes of it.
//!
//! The oracles are written from the specification (`path-uri` sections 4 to 6) and not from the
//! parser: host paths are compared as lists of names, containment by decoding every name anew.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use farstep_path_uri::{
    Convention, DenyRule, Devices, MAX_SEGMENTS, MAX_URI_BYTES, PathUri, PathUriError,
};

/// Splits an input at bytes that no text contains, so that a corpus file stays readable.
pub fn fields<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let mut fields = data.splitn(N, |&byte| byte == 0xff);
    let mut out = [""; N];
    for field in &mut out {
        *field = std::str::from_utf8(fields.next()?).ok()?;
    }
    Some(out)
}

/// A place in `text` that a caller may slice at, and a message that can be printed anywhere.
pub fn check_error(error: &PathUriError, text: &str) {
    if let Some(offset) = error.offset {
        assert!(
            text.is_char_boundary(offset),
            "{offset} is inside a character of {text:?}"
        );
    }
    assert!(!error.to_string().is_empty());
}

/// Every promise about a single value.
pub fn check_value(uri: &PathUri) {
    check_spelling(uri);
    check_levels(uri);
    check_hosts(uri);
    check_display(uri);
}

fn check_spelling(uri: &PathUri) {
    let text = uri.as_str();
    assert!(text.len() <= MAX_URI_BYTES);
    assert!(text.is_ascii() && text.starts_with("file://"));
    assert!(uri.encoded_path().starts_with('/'));
    assert!(uri.segments().count() <= MAX_SEGMENTS);
    for segment in uri.segments() {
        let name = segment.decoded();
        assert!(!matches!(&*name, b"" | b"." | b".."), "{uri}");
        assert!(!name.contains(&0), "{uri}");
    }
    let again = PathUri::parse(text).expect("canonical text is accepted");
    assert_eq!(again.as_str(), text);
    assert_eq!(&again, uri);
    assert_eq!(hash(&again), hash(uri));
    assert_eq!(again.cmp(uri), std::cmp::Ordering::Equal);
    assert_eq!(again.convention(), uri.convention());
    assert_eq!(again.is_opaque(), uri.is_opaque());
}

fn check_levels(uri: &PathUri) {
    assert!(uri.contains(uri) && uri.overlaps(uri) == Some(true) && uri.same_location(uri));
    assert_eq!(uri.join("").expect("nothing joins").as_str(), uri.as_str());
    let mut below = uri.clone();
    // Each step is one name up, so the bound on names bounds the walk.
    for _ in 0..=MAX_SEGMENTS {
        let Some(parent) = below.parent() else {
            assert!(uri.is_opaque() || below.file_name().is_none());
            return;
        };
        assert_eq!(parent.convention(), uri.convention());
        if let Some(depth) = below.depth() {
            assert_eq!(parent.depth(), Some(depth - 1), "{below}");
            assert!(
                parent.contains(&below) && !below.contains(&parent),
                "{below}"
            );
        }
        below = parent;
    }
    panic!("{uri} has no top");
}

fn check_hosts(uri: &PathUri) {
    if let Ok(bytes) = uri.to_posix_bytes() {
        assert_eq!(uri.convention(), Some(Convention::Posix));
        let back = PathUri::from_posix_bytes(&bytes).expect("a host path reads back");
        assert_eq!(back.to_posix_bytes().expect("and again"), bytes);
        // `/C:` has a spelling of its own, which `%43:` is not; a rule on one closes the other.
        let closes =
            |rule: &PathUri, path| DenyRule::new(rule.clone()).is_ok_and(|rule| rule.denies(path));
        assert!(
            closes(uri, &back) && closes(&back, uri),
            "{back} is not {uri}"
        );
        assert!(
            back.is_opaque() || back.same_location(uri),
            "{back} is not {uri}"
        );
    }
    if let Ok(bytes) = uri.to_posix_openable() {
        assert!(bytes.starts_with(b"/") && !bytes.contains(&0));
        for name in bytes.split(|&byte| byte == b'/') {
            assert!(!matches!(name, b"." | b".."), "{uri}");
        }
    }
    if let Ok(units) = uri.to_windows_wide() {
        assert_eq!(uri.convention(), Some(Convention::Windows));
        let back = PathUri::from_windows_wide(&units).expect("a host path reads back");
        let again = back.to_windows_wide().expect("and again");
        // The system ends a bare device with a separator, which people leave out.
        let bare = uri.is_opaque() && again.strip_suffix(&[u16::from(b'\\')]) == Some(&units);
        assert!(again == units || bare, "{uri}");
    }
    if let Ok(units) = uri.to_windows_openable(&Devices::NONE) {
        let text = String::from_utf16_lossy(&units);
        let below = text
            .strip_prefix(r"\\")
            .unwrap_or_else(|| text.get(2..).unwrap_or_default());
        assert!(
            !below.contains(['/', '\0', ':', '*', '?', '"', '<', '>', '|']),
            "{uri}"
        );
        for name in below.split('\\') {
            assert!(!name.ends_with(['.', ' ']) || name.is_empty(), "{uri}");
        }
    }
}

fn check_display(uri: &PathUri) {
    let shown = uri.display_native();
    assert!(!shown.contains(|c: char| c.is_control()));
    let back = uri
        .convention()
        .and_then(|convention| PathUri::from_native(&shown, convention).ok());
    assert!(
        shown == uri.as_str() || back.as_ref() == Some(uri),
        "{uri} is shown as {shown}"
    );
    let _ = (uri.display_name(), uri.stem(), uri.extension());
}

/// Every promise about two values.
pub fn check_pair(a: &PathUri, b: &PathUri) {
    assert_eq!(a == b, a.cmp(b).is_eq(), "{a} {b}");
    assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a} {b}");
    if a == b {
        assert_eq!(hash(a), hash(b), "{a} {b}");
    }
    assert_eq!(a.contains(b), a == b || model_contains(a, b), "{a} {b}");
    assert_eq!(a.overlaps(b), b.overlaps(a), "{a} {b}");
    if let Some(overlap) = a.overlaps(b) {
        assert_eq!(overlap, a.contains(b) || b.contains(a), "{a} {b}");
    }
    assert_eq!(
        a.same_location(b),
        a.contains(b) && b.contains(a),
        "{a} {b}"
    );
    let relative = b.relative_to(a).is_some();
    assert!(a.contains(b) || !relative, "{a} {b}");
    // On Windows not every way has a text: colons, servers without a share.
    let text = a.convention() == Some(Convention::Posix);
    assert!(!text || relative == a.contains(b), "{a} {b}");
    if a.contains(b) {
        assert!(is_opened_below(a, b), "{a} {b}");
    }
    if let Ok(rule) = DenyRule::new(a.clone()) {
        assert!(!a.contains(b) || rule.denies(b), "{a} {b}");
        assert!(!rule.denies(b) || rule.is_reached_from(b), "{a} {b}");
        assert!(!rule.denies(b) || rule.ignoring_case().denies(b), "{a} {b}");
    }
}

/// Section 5, from its text.
fn model_contains(base: &PathUri, path: &PathUri) -> bool {
    let separators: &[u8] = match (base.convention(), path.convention()) {
        (Some(Convention::Posix), Some(Convention::Posix)) => b"/",
        (Some(Convention::Windows), Some(Convention::Windows)) => b"/\\",
        _ => return false,
    };
    if base.is_opaque() || path.is_opaque() || base.host() != path.host() {
        return false;
    }
    let names = |uri: &PathUri| -> Option<Vec<Vec<u8>>> {
        uri.segments()
            .map(|segment| {
                let mut name = segment.decoded().into_owned();
                if separators.len() > 1 {
                    name.make_ascii_lowercase();
                }
                let hides = name.iter().any(|byte| separators.contains(byte));
                (!hides).then_some(name)
            })
            .collect()
    };
    match (names(base), names(path)) {
        (Some(base), Some(path)) => path.starts_with(&base),
        _ => false,
    }
}

/// Whether system calls given the two would see the second inside the first.
fn is_opened_below(base: &PathUri, path: &PathUri) -> bool {
    let posix = match (base.to_posix_bytes(), path.to_posix_bytes()) {
        (Ok(base), Ok(path)) => is_below(&base, &path, &b'/'),
        _ => true,
    };
    let folded = |units: Vec<u16>| -> Vec<u16> {
        let ascii =
            |unit: u16| u8::try_from(unit).map_or(unit, |byte| byte.to_ascii_lowercase().into());
        units.into_iter().map(ascii).collect()
    };
    let windows = match (base.to_windows_wide(), path.to_windows_wide()) {
        (Ok(base), Ok(path)) => is_below(&folded(base), &folded(path), &u16::from(b'\\')),
        _ => true,
    };
    posix && windows
}

fn is_below<T: PartialEq>(base: &[T], path: &[T], separator: &T) -> bool {
    let names = |path| <[T]>::split(path, |unit| unit == separator).filter(|name| !name.is_empty());
    let mut path = names(path);
    names(base).all(|name| path.next() == Some(name))
}

fn hash(uri: &PathUri) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(uri)
}
