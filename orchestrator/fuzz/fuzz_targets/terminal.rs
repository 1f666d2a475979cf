//! Any bytes on their way to a terminal, in any pieces: nothing in them steers it.

#![no_main]

use std::borrow::Cow;

use farstep_orchestrator_fuzz::filter::TerminalFilter;
use farstep_orchestrator_fuzz::text::for_terminal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&width, bytes)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    let shown = for_terminal(&text);
    check(&shown);
    assert_eq!(for_terminal(&shown), shown);
    let is_plain = |c: char| matches!(c, '\t' | '\n' | ' '..='~');
    if text.chars().all(is_plain) {
        assert!(matches!(shown, Cow::Borrowed(same) if same == text));
    }
    // In pieces, cut anywhere.
    let mut filter = TerminalFilter::default();
    let mut pieces = String::new();
    for piece in bytes.chunks(usize::from(width % 7) + 1) {
        pieces.push_str(&filter.pass(piece));
    }
    pieces.push_str(&filter.finish());
    check(&pieces);
    if !bytes.contains(&b'\r') {
        assert_eq!(pieces, shown);
    }
});

fn check(shown: &str) {
    let steers = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
    assert!(!shown.contains(steers), "{shown:?}");
    let reorders = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!shown.contains(reorders), "{shown:?}");
    let hides = |c: char| matches!(c, '\u{e0000}'..='\u{e007f}');
    assert!(!shown.contains(hides), "{shown:?}");
}
