//! Input that is likely to hurt: real shapes, put together from pieces with a history.

use farstep_path_uri::PathUri;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

/// The same cases every time, so that a failure is news about a change and not about luck.
/// `PROPTEST_RNG_SEED` and `PROPTEST_CASES` look elsewhere and longer.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(0);
    }
    config
}

const PIECES: &[&str] = &[
    "a",
    "B",
    "srv",
    "file.txt",
    ".hidden",
    "x.tar.gz",
    "...",
    "a b",
    " a",
    "a ",
    "a.",
    "~",
    "~1",
    "AB~1.TXT",
    "%41",
    "%ff",
    "%FF",
    "%2F",
    "%5c",
    "%5C..%5C",
    "%2e",
    "%2E%2e",
    ".%2e",
    ".",
    "..",
    "%25",
    "%",
    "%z",
    "%zz",
    "%0A",
    "%09",
    "%e2%80%ae",
    "C:",
    "c:",
    "C|",
    "C%3A",
    "c%3ax",
    "CC:",
    "x:y",
    "a:$DATA",
    "NUL",
    "com1.txt",
    "é",
    "☃",
    "日本",
    "a\u{301}",
    "\u{202e}x",
    "[x]",
    "{y}",
    "^|",
    "a+b&c=d;e,f",
    "`",
    "\"",
    "<",
    ">",
    "$",
    "%%",
    "con",
    "localhost",
];

const STARTS: &[&str] = &[
    "file:///",
    "file:///",
    "file:///",
    "file:///C:/",
    "file:///c:",
    "file:///d%3A/",
    "file://srv/share/",
    "file://SRV/",
    "file://srv",
    "file://192.168.0.1/s/",
    "file://[::1]/s/",
    "file:",
    "file:/",
    "FILE:///",
    "file://localhost/",
    "file:////",
    "file:\\\\srv\\s\\",
    "file:///%00/bad/path/",
    " file:///",
    "file://C:/",
];

const SEPARATORS: &[&str] = &["/", "/", "/", "/", "//", "\\", "/./", "/../"];

/// URI text: mostly valid, never polite.
pub(crate) fn uri_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![8 => select(PIECES).prop_map(str::to_owned), 1 => "\\PC{0,6}", 1 => "[a-z]{1,8}"];
    let tail = prop::collection::vec((piece, select(SEPARATORS)), 0..7);
    (select(STARTS), tail, any::<bool>()).prop_map(|(start, tail, open)| {
        let mut text = start.to_owned();
        for (piece, separator) in &tail {
            text.push_str(piece);
            text.push_str(separator);
        }
        if !open && let Some((_, separator)) = tail.last() {
            text.truncate(text.len() - separator.len());
        }
        text
    })
}

/// Any value there is, by any way of making one.
pub(crate) fn any_uri() -> impl Strategy<Value = PathUri> {
    let parsed = uri_text().prop_filter_map("not a URI", |text| PathUri::parse(&text).ok());
    let posix =
        posix_bytes().prop_filter_map("not a path", |bytes| PathUri::from_posix_bytes(&bytes).ok());
    let windows = windows_units().prop_filter_map("not a path", |units| {
        PathUri::from_windows_wide(&units).ok()
    });
    prop_oneof![6 => parsed, 1 => posix, 1 => windows]
}

/// Native text: relative, absolute and everything in between, of either convention.
pub(crate) fn native_text() -> impl Strategy<Value = String> {
    let start = select(
        &[
            "",
            "",
            "",
            "/",
            "\\",
            "//",
            "\\\\",
            "C:",
            "C:\\",
            "c:/",
            "D:\\",
            "\\\\srv\\share\\",
            "\\\\?\\C:\\",
            "\\\\.\\",
            "//?/UNC/s/h/",
            "\\??\\C:\\",
            "~/",
            "\\\\localhost\\c$\\",
        ][..],
    );
    let piece = prop_oneof![6 => select(PIECES).prop_map(str::to_owned), 1 => ".{0,6}", 1 => select(&["a\nb", "\t", "\r", "a\\b"][..]).prop_map(str::to_owned)];
    let tail = prop::collection::vec((piece, select(&["/", "\\", "//", "/../"][..])), 0..5);
    (start, tail).prop_map(|(start, tail)| {
        tail.iter()
            .fold(start.to_owned(), |text, (piece, separator)| {
                text + piece + separator
            })
    })
}

/// One name as a file system might hold it, without separators of either convention.
pub(crate) fn name() -> impl Strategy<Value = String> {
    let odd = select(
        &[
            "a\nb",
            "a\tb",
            "\r",
            "%2F",
            "%2e%2e",
            "a:b:c",
            "\u{202e}gpj",
            "...",
            "-",
            "a?b#c",
        ][..],
    )
    .prop_map(str::to_owned);
    prop_oneof![select(PIECES).prop_map(str::to_owned), odd, ".{1,12}"]
        .prop_filter("one name", |name| {
            !name.contains(['/', '\\', '\0']) && !matches!(name.as_str(), "" | "." | "..")
        })
}

pub(crate) fn posix_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => select(&b"/.:%Ca"[..]), 1 => any::<u8>()];
    prop::collection::vec(byte, 0..24).prop_map(|tail| [b"/", tail.as_slice()].concat())
}

pub(crate) fn windows_units() -> impl Strategy<Value = Vec<u16>> {
    let start = select(
        &[
            "C:\\",
            "d:/",
            "\\\\srv\\share\\",
            "\\\\?\\C:\\",
            "\\\\.\\",
            "\\\\?\\UNC\\s\\h\\",
            "//./",
            "\\\\b\u{fc}cher\\s\\",
        ][..],
    );
    let unit = prop_oneof![4 => select(&[0x5c_u16, 0x2f, 0x2e, 0x3a, 0x61, 0x41, 0x20][..]), 1 => any::<u16>(), 1 => select(&[0xd800_u16, 0xdfff, 0][..])];
    (start, prop::collection::vec(unit, 0..16))
        .prop_map(|(start, tail)| start.encode_utf16().chain(tail).collect())
}
