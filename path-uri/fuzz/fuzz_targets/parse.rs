//! Text from the wire, in both modes.

#![no_main]

use farstep_path_uri::{DenyRule, LegacyPath, PathUri};
use farstep_path_uri_fuzz::{check_error, check_value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lenient = PathUri::parse(text);
    match &lenient {
        Ok(uri) => check_value(uri),
        Err(error) => check_error(error, text),
    }
    match PathUri::parse_strict(text) {
        Ok(strict) => {
            let lenient = lenient.expect("what strict accepts, lenient accepts");
            assert_eq!(strict.as_str(), lenient.as_str());
            assert!(!strict.is_opaque());
            // Nothing a person may write is too unclear to be closed.
            assert!(DenyRule::new(strict.clone()).is_ok_and(|rule| rule.denies(&strict)));
        }
        Err(error) => check_error(&error, text),
    }
    let legacy = LegacyPath::new(text);
    if let Some(uri) = legacy.to_uri() {
        check_value(&uri);
    }
    assert!(!legacy.render_for_ui().contains(|c: char| c.is_control()));
});
