//! What holds for every path, not only for those somebody thought of.

use std::cmp::Ordering;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use farstep_path_uri::{Convention, PathUri};
use proptest::prelude::*;

use crate::strategies::{any_uri, config, name, native_text, posix_bytes, uri_text, windows_units};
use crate::uri;

fn hash(uri: &PathUri) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(uri)
}

/// Whether the URI has no slash more than it needs.
fn is_tidy(uri: &PathUri) -> bool {
    let path = uri.encoded_path();
    let rooted = uri.parent().is_none() && uri.host().is_none();
    !path.contains("//") && (rooted || !path.ends_with('/'))
}

/// Whether `name` is one relative component for `base`, with a URI of its own.
fn is_component(base: &PathUri, name: &str) -> bool {
    let drive_shaped =
        matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    !base.is_opaque() && (base.host().is_none() || base.depth() != Some(0)) && !drive_shaped
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn a_canonical_uri_reads_back_as_itself(uri in any_uri()) {
        let again = PathUri::parse(uri.as_str()).unwrap();
        prop_assert_eq!(again.as_str(), uri.as_str());
        prop_assert_eq!(again, uri);
    }

    #[test]
    fn a_canonical_uri_is_ascii_and_absolute(uri in any_uri()) {
        prop_assert!(uri.as_str().is_ascii() && uri.as_str().starts_with("file://"));
        prop_assert!(uri.encoded_path().starts_with('/'));
        prop_assert!(!uri.segments().any(|segment| matches!(&*segment.decoded(), b"." | b"..")));
    }

    #[test]
    fn strict_refuses_more_and_means_the_same(text in uri_text()) {
        if let Ok(strict) = PathUri::parse_strict(&text) {
            let lenient = PathUri::parse(&text).unwrap();
            prop_assert_eq!(strict.as_str(), lenient.as_str());
        }
    }

    #[test]
    fn serde_gives_the_same_value_back(uri in any_uri()) {
        let json = serde_json::to_string(&uri).unwrap();
        prop_assert_eq!(&json, &format!("\"{uri}\""));
        prop_assert_eq!(serde_json::from_str::<PathUri>(&json).unwrap(), uri);
    }

    #[test]
    fn joining_nothing_changes_nothing(uri in any_uri()) {
        let same = uri.join("").unwrap();
        prop_assert_eq!(same.as_str(), uri.as_str());
    }

    #[test]
    fn a_joined_name_is_below_its_base_and_keeps_its_name(base in any_uri(), name in name()) {
        prop_assume!(is_component(&base, &name));
        let child = base.join(&name).unwrap();
        let parent = child.parent().unwrap();
        prop_assert_eq!(child.file_name(), Some(name));
        if is_tidy(&base) {
            prop_assert_eq!(parent.as_str(), base.as_str());
        } else if base.depth().is_some() {
            prop_assert!(parent.same_location(&base));
        }
        prop_assert_eq!(base.contains(&child), base.depth().is_some());
    }

    #[test]
    fn each_parent_is_one_level_up(uri in any_uri()) {
        let depths: Vec<_> = uri.ancestors().map(|ancestor| ancestor.depth()).collect();
        for pair in depths.windows(2) {
            if let [Some(below), above] = pair {
                prop_assert_eq!(*above, Some(below - 1));
            }
        }
    }

    #[test]
    fn ancestors_contain_what_they_are_above(uri in any_uri()) {
        let clear = uri.is_opaque() || uri.depth().is_some();
        prop_assert!(!clear || uri.ancestors().all(|ancestor| ancestor.contains(&uri)));
    }

    #[test]
    fn containment_is_a_partial_order(uri in any_uri(), other in any_uri(), first in name(), second in name()) {
        prop_assert!(uri.contains(&uri));
        if uri.contains(&other) && other.contains(&uri) {
            prop_assert!(uri.same_location(&other));
        }
        if let Ok(below) = uri.join(&first) && let Ok(deep) = below.join(&second)
            && uri.contains(&below) && below.contains(&deep)
        {
            prop_assert!(uri.contains(&deep));
            prop_assert!(!deep.contains(&uri));
        }
    }

    #[test]
    fn relative_text_leads_back(base in any_uri(), text in native_text()) {
        if let Ok(joined) = base.join(&text) && let Some(relative) = joined.relative_to(&base) {
            let utf8 = joined.segments().all(|segment| segment.utf8().is_some());
            prop_assert!(base.contains(&joined));
            prop_assert!(!utf8 || base.join(&relative).unwrap().same_location(&joined), "{}", relative);
        }
    }

    #[test]
    fn overlap_is_symmetric_and_agrees_with_containment(a in any_uri(), b in any_uri()) {
        prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        if let Some(known) = a.overlaps(&b) {
            prop_assert_eq!(known, a.contains(&b) || b.contains(&a));
        }
    }

    #[test]
    fn equal_paths_hash_alike_and_order_agrees(a in any_uri(), b in any_uri(), c in any_uri()) {
        // Unrelated paths are hardly ever equal, so respellings join them.
        let respelled = a.as_str().replace("/a", "/%61").replace("/B", "/b");
        let respelled = PathUri::parse(&respelled).unwrap_or(a.clone());
        let mut all = [a, b, c, respelled];
        for x in &all {
            for y in &all {
                prop_assert_eq!(x == y, x.cmp(y) == Ordering::Equal);
                prop_assert_eq!(x.cmp(y), y.cmp(x).reverse());
                prop_assert!(x != y || hash(x) == hash(y));
            }
        }
        all.sort();
        prop_assert!(all.is_sorted());
        prop_assert!(all[0] <= all[2] && all[1] <= all[3] && all[0] <= all[3]);
    }

    #[test]
    fn what_lies_below_a_path_directly_follows_it(base in any_uri(), other in any_uri(), name in name()) {
        prop_assume!(is_component(&base, &name) && base.depth().is_some());
        let child = base.join(&name).unwrap();
        prop_assert!(base < child);
        if base < other && other < child && other.depth().is_some() {
            prop_assert!(base.contains(&other));
        }
    }

    #[test]
    fn joining_never_changes_the_convention(base in any_uri(), text in native_text()) {
        if let Ok(joined) = base.join(&text) {
            prop_assert_eq!(joined.convention(), base.convention());
        }
    }

    #[test]
    fn a_joined_descendant_is_inside(base in any_uri(), text in native_text()) {
        if let Ok(joined) = base.join_descendant(&text) {
            prop_assert!(base.contains(&joined));
        }
    }

    #[test]
    fn posix_bytes_survive(bytes in posix_bytes()) {
        let mut names: Vec<&[u8]> = Vec::new();
        for name in bytes.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => drop(names.pop()),
                name => names.push(name),
            }
        }
        let normal = [b"/", names.join(&b'/').as_slice()].concat();
        let uri = PathUri::from_posix_bytes(&bytes).unwrap();
        prop_assert_eq!(uri.convention(), Some(Convention::Posix));
        prop_assert_eq!(uri.to_posix_bytes().unwrap(), normal);
    }

    #[test]
    fn a_posix_host_path_gives_its_uri_back(uri in any_uri()) {
        if let Ok(bytes) = uri.to_posix_bytes() {
            let back = PathUri::from_posix_bytes(&bytes).unwrap();
            prop_assert!(back == uri || back.same_location(&uri));
        }
    }

    #[test]
    fn a_windows_host_path_gives_its_uri_back(units in windows_units(), uri in any_uri()) {
        for uri in PathUri::from_windows_wide(&units).into_iter().chain([uri]) {
            if let Ok(units) = uri.to_windows_wide() {
                let back = PathUri::from_windows_wide(&units).unwrap();
                // A punycode server comes back opaque, and is none here.
                prop_assert!(back == uri || back.same_location(&uri), "{} {}", back, uri);
                prop_assert_eq!(back.to_windows_wide().unwrap(), units);
            }
        }
    }

    #[test]
    fn nothing_panics(text in ".{0,40}", base in any_uri(), other in any_uri()) {
        let _ = PathUri::parse(&text);
        let _ = PathUri::parse_strict(&text);
        let _ = base.join(&text);
        let _ = base.join_descendant(&text);
        let _ = base.relative_to(&other);
        for convention in [Convention::Posix, Convention::Windows] {
            let _ = PathUri::from_native(&text, convention);
            let _ = base.to_native(convention);
        }
        let _ = (base.display_name(), base.extension(), base.stem(), base.to_host());
    }
}

#[test]
fn the_extension_follows_the_rules_of_the_standard_library() {
    for (text, stem, extension) in [
        ("file:///a/x.tar.gz", Some("x.tar"), Some("gz")),
        ("file:///a/.hidden", Some(".hidden"), None),
        ("file:///a/plain", Some("plain"), None),
        ("file:///a/dot.", Some("dot"), Some("")),
        ("file:///C:/", None, None),
        ("file://srv/share.x", None, None),
        ("file:///", None, None),
    ] {
        let uri = uri(text);
        assert_eq!(
            (uri.stem().as_deref(), uri.extension().as_deref()),
            (stem, extension),
            "{text}"
        );
    }
}

#[test]
fn lexical_code_does_not_ask_which_host_it_runs_on() {
    let mut asking = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).unwrap().contains("cfg") {
                asking.push(path.file_name().unwrap().to_owned());
            }
        }
    }
    assert_eq!(asking, ["host.rs"]);
}
