//! Three paths against each other: containment, order, equality, deny rules.

#![no_main]

use farstep_path_uri::PathUri;
use farstep_path_uri_fuzz::{check_pair, fields};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(texts) = fields::<3>(data) else {
        return;
    };
    let Ok([a, b, c]) = texts
        .map(PathUri::parse)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map(|uris| <[PathUri; 3]>::try_from(uris).expect("three texts were parsed"))
    else {
        return;
    };
    for (x, y) in [(&a, &b), (&b, &a), (&a, &c), (&c, &a), (&b, &c), (&c, &b)] {
        check_pair(x, y);
    }
    if a.contains(&b) && b.contains(&c) {
        assert!(a.contains(&c), "{a} {b} {c}");
    }
    let mut sorted = [&a, &b, &c];
    sorted.sort();
    let [first, middle, last] = sorted;
    assert!(first <= middle && middle <= last && first <= last);
    // What lies below a path directly follows it.
    if first.contains(last) && middle.depth().is_some() {
        assert!(first.contains(middle), "{first} {middle} {last}");
    }
});
