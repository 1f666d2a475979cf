//! What a path costs at the door and on its way to the machine: `just bench`.

use divan::{Bencher, black_box};
use farstep_path_uri::PathUri;

fn main() {
    divan::main();
}

const URIS: [&str; 3] = [
    "file:///srv/app/src/main.rs",
    "file:///srv/a%20long%20way/down/to/%C3%A4/file/with%25escapes.txt",
    "file:///C:/Users/me/project/src/main.rs",
];

#[divan::bench(args = URIS)]
fn parsed(uri: &str) -> bool {
    PathUri::parse(black_box(uri)).is_ok()
}

/// What the standard parser takes for the shape alone, without the rules of any machine.
#[divan::bench(args = URIS)]
fn parsed_by_url(uri: &str) -> bool {
    url::Url::parse(black_box(uri)).is_ok()
}

#[divan::bench(args = URIS)]
fn joined(bencher: Bencher<'_, '_>, uri: &str) {
    let base = PathUri::parse(uri);
    bencher.bench_local(|| {
        base.as_ref()
            .map(|base| base.join(black_box("../lib/mod.rs")).is_ok())
            .is_ok()
    });
}

#[divan::bench(args = URIS)]
fn contained(bencher: Bencher<'_, '_>, uri: &str) {
    let path = PathUri::parse(uri).ok();
    let root = path.as_ref().and_then(PathUri::parent);
    bencher.bench_local(|| {
        let both = root.as_ref().zip(path.as_ref());
        both.is_some_and(|(root, path)| black_box(root).contains(black_box(path)))
    });
}
