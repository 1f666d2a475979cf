//! Any text as a patch, applied to files that fit it and to files that do not.
//!
//! The first part of an input, up to a byte that no text contains, is the patch; the second is what
//! every file holds that it reads.

#![no_main]

use bytes::Bytes;
use farstep_orchestrator_fuzz::patch::{
    ChangeKind, Changes, Chunk, Hunk, Line, Patch, Plan, patch_in_command,
};
use farstep_path_uri::PathUri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |&byte| byte == 0xff);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else {
        return;
    };
    let held = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    if let Some(inner) = patch_in_command(text) {
        assert!(text.contains(inner));
    }
    let patch = match Patch::parse(text) {
        Ok(patch) => patch,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    check_patch(&patch);
    // What was read says all that the text said.
    assert_eq!(Patch::parse(&written(&patch)), Ok(patch.clone()), "{text}");
    for hunk in &patch.hunks {
        check_made_to_measure(hunk);
    }
    for cwd in ["file:///srv/app", "file:///C:/app", "file://server/share"] {
        let cwd = PathUri::parse(cwd).expect("a fixed path");
        apply(&patch, &cwd, &held);
    }
});

fn check_patch(patch: &Patch) {
    assert!(!patch.hunks.is_empty());
    for hunk in &patch.hunks {
        match hunk {
            Hunk::Add { path, contents } => {
                assert!(!path.is_empty());
                assert!(contents.is_empty() || contents.ends_with('\n'));
            }
            Hunk::Delete { path } => assert!(!path.is_empty()),
            Hunk::Update {
                path,
                move_to,
                chunks,
            } => {
                assert!(!path.is_empty() && move_to.as_deref() != Some(""));
                assert!(move_to.is_some() || !chunks.is_empty());
                assert!(chunks.iter().all(|chunk| !chunk.lines.is_empty()));
            }
        }
    }
}

/// The patch spelled plainly.
fn written(patch: &Patch) -> String {
    let mut lines = vec!["*** Begin Patch".to_owned()];
    if let Some(environment) = &patch.environment {
        lines.push(format!("*** Environment ID: {environment}"));
    }
    for hunk in &patch.hunks {
        match hunk {
            Hunk::Add { path, contents } => {
                lines.push(format!("*** Add File: {path}"));
                let contents = contents.strip_suffix('\n');
                lines.extend(
                    contents
                        .into_iter()
                        .flat_map(|all| all.split('\n').map(|line| format!("+{line}"))),
                );
            }
            Hunk::Delete { path } => lines.push(format!("*** Delete File: {path}")),
            Hunk::Update {
                path,
                move_to,
                chunks,
            } => {
                lines.push(format!("*** Update File: {path}"));
                lines.extend(move_to.iter().map(|to| format!("*** Move to: {to}")));
                chunks
                    .iter()
                    .for_each(|chunk| write_chunk(chunk, &mut lines));
            }
        }
    }
    lines.push("*** End Patch".to_owned());
    for line in &mut lines {
        // One carriage return at the end of a line is the line's end.
        if line.ends_with('\r') {
            line.push('\r');
        }
    }
    lines.join("\n")
}

fn write_chunk(chunk: &Chunk, lines: &mut Vec<String>) {
    lines.push("@@".to_owned());
    lines.extend(chunk.context.iter().map(|line| format!("@@ {line}")));
    lines.extend(chunk.lines.iter().map(|line| match line {
        Line::Keep(text) => format!(" {text}"),
        Line::Remove(text) => format!("-{text}"),
        Line::Insert(text) => format!("+{text}"),
    }));
    if chunk.at_end {
        lines.push("*** End of File".to_owned());
    }
}

/// A file that is exactly what the only change of an update expects becomes exactly what it says.
fn check_made_to_measure(hunk: &Hunk) {
    let Hunk::Update { chunks, .. } = hunk else {
        return;
    };
    let [chunk] = &**chunks else { return };
    let side = |wanted: fn(&Line) -> Option<&str>| -> String {
        let lines = chunk.lines.iter().filter_map(wanted);
        lines.flat_map(|line| [line, "\n"]).collect()
    };
    let before = side(|line| match line {
        Line::Keep(text) | Line::Remove(text) => Some(text),
        Line::Insert(_) => None,
    });
    let after = side(|line| match line {
        Line::Keep(text) | Line::Insert(text) => Some(text),
        Line::Remove(_) => None,
    });
    // A line that ends in a carriage return is another line in a file.
    if before.is_empty() || !chunk.context.is_empty() || before.contains('\r') {
        return;
    }
    let patch = Patch {
        environment: None,
        hunks: vec![Hunk::Update {
            path: "a".to_owned(),
            move_to: None,
            chunks: chunks.clone(),
        }],
    };
    let cwd = PathUri::parse("file:///srv").expect("a fixed path");
    let changes = Plan::new(patch, &cwd)
        .expect("a plain name")
        .verify(vec![Ok(Bytes::from(before.clone()))])
        .expect("the file has these very lines");
    match &*changes.writes {
        [] => assert_eq!(before, after),
        [write] => assert_eq!(write.contents, after),
        more => panic!("{} writes to one file", more.len()),
    }
}

fn apply(patch: &Patch, cwd: &PathUri, held: &Bytes) {
    let Ok(plan) = Plan::new(patch.clone(), cwd) else {
        return;
    };
    let count = plan.reads().len();
    let missing = || Err("not there".to_owned());
    for there in [true, false] {
        let contents = (0..count)
            .map(|_| {
                there
                    .then(|| held.clone())
                    .ok_or(())
                    .or_else(|()| missing())
            })
            .collect();
        let plan = Plan::new(patch.clone(), cwd).expect("as before");
        if let Ok(changes) = plan.verify(contents) {
            check_changes(&changes, patch, there);
        }
    }
}

fn check_changes(changes: &Changes, patch: &Patch, there: bool) {
    assert_eq!(changes.files.len(), patch.hunks.len());
    let touched: Vec<&PathUri> = changes
        .writes
        .iter()
        .map(|write| &write.target.uri)
        .chain(changes.deletes.iter().map(|target| &target.uri))
        .chain(changes.moved_away.iter().map(|target| &target.uri))
        .collect();
    for (at, uri) in touched.iter().enumerate() {
        let again = touched[..at].iter().any(|other| other.same_location(uri));
        assert!(!again, "{uri} twice");
    }
    if !there {
        // Nothing was there, so nothing can go.
        assert!(changes.deletes.is_empty() && changes.moved_away.is_empty());
        let kinds = changes.files.iter().map(|file| file.kind);
        assert!(kinds.take(1).all(|kind| kind == ChangeKind::Add));
    }
}
