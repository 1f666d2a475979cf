use super::*;

fn uri(text: &str) -> PathUri {
    PathUri::parse_strict(text).unwrap()
}

fn plan_in(cwd: &str, body: &str) -> Plan {
    let patch = Patch::parse(&format!("*** Begin Patch\n{body}\n*** End Patch")).unwrap();
    Plan::new(patch, &uri(cwd)).unwrap()
}

fn plan(body: &str) -> Plan {
    plan_in("file:///srv/app", body)
}

fn shown(targets: &[Target]) -> Vec<&str> {
    targets.iter().map(|target| target.shown.as_str()).collect()
}

fn uris(targets: &[Target]) -> Vec<&str> {
    targets.iter().map(|target| target.uri.as_str()).collect()
}

/// Verifies against files given by the patch's own spelling; what is not given does not exist.
fn verify(plan: Plan, files: &[(&str, &str)]) -> Result<Changes, VerifyError> {
    let contents = plan
        .reads()
        .iter()
        .map(|target| {
            let found = files.iter().find(|(path, _)| *path == target.shown);
            found
                .map(|(_, text)| Bytes::copy_from_slice(text.as_bytes()))
                .ok_or_else(|| "no such file".to_owned())
        })
        .collect();
    plan.verify(contents)
}

fn writes(changes: &Changes) -> Vec<(&str, &str)> {
    let text = |write: &'_ Write| {
        std::str::from_utf8(&write.contents)
            .unwrap()
            .to_owned()
            .leak()
    };
    changes
        .writes
        .iter()
        .map(|write| (write.target.shown.as_str(), &*text(write)))
        .collect()
}

const ALL_KINDS: &str = "*** Add File: new/n.txt\n+n\n*** Update File: f.txt\n-f\n+F\n\
    *** Delete File: d.txt\n*** Update File: old/m.txt\n*** Move to: moved/m.txt\n-m\n+M";

#[test]
fn every_touched_file_is_read_once_and_all_at_once() {
    let plan = plan(ALL_KINDS);
    let expected = ["new/n.txt", "f.txt", "d.txt", "old/m.txt", "moved/m.txt"];
    assert_eq!(shown(plan.reads()), expected);
    assert_eq!(plan.reads()[0].uri, uri("file:///srv/app/new/n.txt"));
}

#[test]
fn the_rounds_hold_what_must_be_done() {
    let changes = verify(
        plan(ALL_KINDS),
        &[("f.txt", "f\n"), ("d.txt", "d\n"), ("old/m.txt", "m\n")],
    );
    let changes = changes.unwrap();
    let folders = ["file:///srv/app/new", "file:///srv/app/moved"].map(uri);
    assert_eq!(changes.directories, folders);
    assert_eq!(
        writes(&changes),
        [
            ("new/n.txt", "n\n"),
            ("f.txt", "F\n"),
            ("moved/m.txt", "M\n")
        ]
    );
    assert_eq!(shown(&changes.deletes), ["d.txt"]);
    assert_eq!(shown(&changes.moved_away), ["old/m.txt"]);
    let kinds: Vec<_> = changes
        .files
        .iter()
        .map(|change| (change.kind, &*change.path))
        .collect();
    let expected = [
        (ChangeKind::Add, "new/n.txt"),
        (ChangeKind::Update, "f.txt"),
        (ChangeKind::Delete, "d.txt"),
        (ChangeKind::Update, "old/m.txt"),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(changes.files[3].moved_to.as_deref(), Some("moved/m.txt"));
    assert_eq!(changes.files[1].before.as_deref(), Some(&b"f\n"[..]));
    assert_eq!(changes.files[1].after.as_deref(), Some(&b"F\n"[..]));
}

#[test]
fn only_the_deepest_unknown_folders_are_created() {
    let add = |path: &str| format!("*** Add File: {path}\n+x\n");
    let body: String = [
        "a/b/c/1",
        "a/2",
        "a/b/3",
        "here",
        "../up",
        "known/sub/../4",
        "z/5",
    ]
    .map(add)
    .concat();
    let changes = verify(
        plan(&(body + "*** Update File: known/k\n-k\n+K")),
        &[("known/k", "k\n")],
    );
    let folders = ["file:///srv/app/a/b/c", "file:///srv/app/z"].map(uri);
    assert_eq!(changes.unwrap().directories, folders);
}

#[test]
fn hunks_build_on_each_other() {
    let body =
        "*** Add File: a\n+one\n*** Update File: a\n-one\n+two\n*** Update File: ./a\n two\n+three";
    let plan = plan(body);
    assert_eq!(shown(plan.reads()), ["a"]);
    assert_eq!(writes(&verify(plan, &[]).unwrap()), [("a", "two\nthree\n")]);
}

#[test]
fn a_file_that_comes_and_goes_leaves_no_trace() {
    let changes = verify(plan("*** Add File: a\n+x\n*** Delete File: a"), &[]).unwrap();
    assert_eq!((changes.writes, changes.deletes), (vec![], vec![]));
}

#[test]
fn a_swap_by_moves_writes_both_and_deletes_nothing() {
    let body = "*** Update File: a\n*** Move to: t\n*** Update File: b\n*** Move to: a\n\
        *** Update File: t\n*** Move to: b";
    let changes = verify(plan(body), &[("a", "A"), ("b", "B")]).unwrap();
    assert_eq!(writes(&changes), [("a", "B"), ("b", "A")]);
    assert_eq!((changes.deletes, changes.moved_away), (vec![], vec![]));
}

#[test]
fn a_file_that_stays_as_it_is_is_not_written() {
    let changes = verify(
        plan("*** Update File: a\n-x\n+x\n*** Add File: b\n+y"),
        &[("a", "x\n"), ("b", "y\n")],
    );
    let changes = changes.unwrap();
    assert_eq!(
        (
            changes.writes.len(),
            changes.directories.len(),
            changes.files.len()
        ),
        (0, 0, 2)
    );
}

#[test]
fn a_move_onto_itself_is_an_update() {
    let changes = verify(
        plan("*** Update File: a\n*** Move to: ./a\n-x\n+y"),
        &[("a", "x\n")],
    )
    .unwrap();
    assert_eq!(writes(&changes), [("a", "y\n")]);
    assert_eq!(changes.moved_away, vec![]);
}

#[test]
fn paths_follow_the_rules_of_their_environment() {
    let plan = plan_in(
        "file:///C:/proj",
        "*** Add File: a\\b.txt\n+x\n*** Add File: c/d.txt\n+x\n*** Add File: D:\\e\n+x",
    );
    let expected = [
        "file:///C:/proj/a/b.txt",
        "file:///C:/proj/c/d.txt",
        "file:///D:/e",
    ];
    assert_eq!(uris(plan.reads()), expected);
}

#[test]
fn what_does_not_fit_is_explained_before_anything_is_written() {
    let failure = |body: &str, files: &[(&str, &str)]| {
        super::super::unfit(&verify(plan(body), files).unwrap_err())
    };
    let answers = [
        failure("*** Update File: gone.txt\n-x", &[]),
        failure("*** Delete File: gone.txt", &[]),
        failure(
            "*** Update File: f.txt\n one\n-two",
            &[("f.txt", "one\n2\n")],
        ),
        failure("*** Update File: f.txt\n-b\n@@\n-a", &[("f.txt", "a\nb\n")]),
        failure(
            "*** Update File: f.txt\n@@ fn main\n-a",
            &[("f.txt", "a\n")],
        ),
        failure(
            "*** Delete File: a\n*** Update File: a\n-x",
            &[("a", "x\n")],
        ),
        failure(
            "*** Update File: a\n*** Move to: b\n*** Delete File: a",
            &[("a", "x\n")],
        ),
    ]
    .join("\n\n");
    insta::assert_snapshot!(answers);
}
