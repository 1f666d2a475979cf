//! Native text of any kind on top of any base.

#![no_main]

use farstep_path_uri::{Convention, LegacyPath, PathUri};
use farstep_path_uri_fuzz::{check_error, check_pair, check_value, fields};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some([base, text]) = fields(data) else {
        return;
    };
    for convention in [Convention::Posix, Convention::Windows] {
        match PathUri::from_native(text, convention) {
            Ok(uri) => {
                assert_eq!(uri.convention(), Some(convention));
                check_value(&uri);
            }
            Err(error) => check_error(&error, text),
        }
    }
    let Ok(base) = PathUri::parse(base) else {
        return;
    };
    match base.join(text) {
        Ok(joined) => {
            assert!(text.is_empty() || joined.convention() == base.convention());
            check_value(&joined);
            check_pair(&base, &joined);
            check_name(&base, text, &joined);
            check_way_back(&base, &joined);
        }
        Err(error) => check_error(&error, text),
    }
    if let Ok(below) = base.join_descendant(text) {
        assert!(base.contains(&below));
        assert_eq!(
            base.join(text).expect("the same join").as_str(),
            below.as_str()
        );
    }
    if let Ok(resolved) = LegacyPath::new(text).resolve(&base, Some(&base)) {
        assert_eq!(resolved.convention(), base.convention());
        check_value(&resolved);
    }
});

/// One ordinary name becomes exactly one level.
fn check_name(base: &PathUri, text: &str, joined: &PathUri) {
    let drive = matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    let name = !text.contains(['/', '\\']) && !matches!(text, "" | "." | "..") && !drive;
    let shareless = base.host().is_some() && base.segments().next().is_none();
    if !name || shareless || base.is_opaque() {
        return;
    }
    assert_eq!(joined.file_name().as_deref(), Some(text), "{joined}");
    if base.depth().is_some() {
        let parent = joined.parent().expect("what was joined has a parent");
        assert!(parent.same_location(base), "{parent} is not {base}");
    }
}

/// What leads from the base to the result leads there again.
fn check_way_back(base: &PathUri, joined: &PathUri) {
    let text = joined.segments().all(|segment| segment.utf8().is_some());
    if let Some(relative) = joined.relative_to(base).filter(|_| text) {
        let again = base.join(&relative).expect("the way back");
        assert!(
            again.same_location(joined),
            "{relative:?} from {base} to {joined}"
        );
    }
}
