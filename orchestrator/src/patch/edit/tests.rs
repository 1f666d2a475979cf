use proptest::prelude::*;

use super::super::parse::{Hunk, Patch};
use super::*;

/// Applies the body of one update to a file.
fn edit(file: &str, update: &str) -> Result<String, MatchError> {
    let text = format!("*** Begin Patch\n*** Update File: f\n{update}\n*** End Patch");
    let hunk = Patch::parse(&text).unwrap().hunks.remove(0);
    let Hunk::Update { chunks, .. } = hunk else {
        panic!("not an update")
    };
    apply(file.as_bytes(), &chunks).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn lines_are_replaced_inserted_and_removed() {
    let file = "one\ntwo\nthree\nfour\n";
    assert_eq!(
        edit(file, "@@\n one\n-two\n+TWO\n+2\n three").unwrap(),
        "one\nTWO\n2\nthree\nfour\n"
    );
    assert_eq!(edit(file, "-one").unwrap(), "two\nthree\nfour\n");
    assert_eq!(
        edit(file, "@@\n-one\n@@\n four\n+five").unwrap(),
        "two\nthree\nfour\nfive\n"
    );
    assert_eq!(edit(file, "-one\n-two\n-three\n-four").unwrap(), "");
}

#[test]
fn a_heading_says_which_of_several_places_is_meant() {
    let file = "fn a\n  x\nfn b\n  x\n";
    assert_eq!(
        edit(file, "@@ fn b\n-  x\n+  y").unwrap(),
        "fn a\n  x\nfn b\n  y\n"
    );
    let file = "class A\n fn f\n  x\nclass B\n fn f\n  x\n";
    let expected = "class A\n fn f\n  x\nclass B\n fn f\n  y\n";
    assert_eq!(
        edit(file, "@@ class B\n@@  fn f\n-  x\n+  y").unwrap(),
        expected
    );
}

#[test]
fn a_heading_may_be_repeated_as_the_first_line() {
    assert_eq!(
        edit("a\nfn b\n  x\n", "@@ fn b\n fn b\n-  x\n+  y").unwrap(),
        "a\nfn b\n  y\n"
    );
}

#[test]
fn a_pure_insertion_goes_after_its_heading_or_to_the_end() {
    assert_eq!(edit("a\nb\n", "@@ a\n+x").unwrap(), "a\nx\nb\n");
    assert_eq!(edit("a\nb\n", "@@\n+x").unwrap(), "a\nb\nx\n");
    assert_eq!(
        edit("a\nb\n", "@@ a\n+x\n*** End of File").unwrap(),
        "a\nb\nx\n"
    );
    assert_eq!(edit("", "+x").unwrap(), "x\n");
}

#[test]
fn the_end_of_the_file_is_preferred_on_request() {
    let expected = "x\na\ny\na\nz\n";
    assert_eq!(
        edit("x\na\ny\na\n", "@@\n a\n+z\n*** End of File").unwrap(),
        expected
    );
}

#[test]
fn kept_lines_stay_as_the_file_spells_them() {
    let file = "\tone  \nsay “hi”\nend\n";
    let patch = " one\n say \"hi\"\n-end\n+END";
    assert_eq!(edit(file, patch).unwrap(), "\tone  \nsay “hi”\nEND\n");
}

#[test]
fn carriage_returns_are_kept_and_inserted_lines_get_them() {
    assert_eq!(
        edit("a\r\nb\r\nc\r\n", " a\n-b\n+B\n+2").unwrap(),
        "a\r\nB\r\n2\r\nc\r\n"
    );
    assert_eq!(edit("a\r\nb", " a\n-b\n+B").unwrap(), "a\r\nB\r\n");
    assert_eq!(edit("a\nb\r\n", "-b\n+B").unwrap(), "a\nB\r\n");
}

#[test]
fn a_last_line_without_an_end_stays_so_until_it_is_touched() {
    assert_eq!(edit("a\nb", "-a\n+A").unwrap(), "A\nb");
    assert_eq!(edit("a\nb", "-a\n+A\n b").unwrap(), "A\nb");
    assert_eq!(edit("a\nb", "-b\n+B").unwrap(), "a\nB\n");
    assert_eq!(edit("a\nb", " b\n+c").unwrap(), "a\nb\nc\n");
    assert_eq!(edit("a\nb", "@@\n+c").unwrap(), "a\nb\nc\n");
    assert_eq!(edit("a\nb", "-b").unwrap(), "a\n");
}

#[test]
fn a_blank_line_that_stands_for_the_last_line_end_is_forgiven() {
    assert_eq!(
        edit("a\nb\n", "-b\n+B\n \n*** End of File").unwrap(),
        "a\nB\n"
    );
}

#[test]
fn the_heading_of_another_format_is_passed_over() {
    assert_eq!(
        edit("a\nb\n", "@@ -1,2 +1,2 @@ fn a\n-b\n+B").unwrap(),
        "a\nB\n"
    );
}

#[test]
fn bytes_that_are_not_text_are_left_alone() {
    let chunk = Chunk {
        lines: vec![Line::Keep("a".into()), Line::Insert("b".into())],
        ..Chunk::default()
    };
    assert_eq!(
        apply(b"\xff\xfe\na\n\x80", &[chunk]).unwrap(),
        b"\xff\xfe\na\nb\n\x80"
    );
}

#[test]
fn what_is_missing_is_said() {
    let missing = |expected: &[&str], earlier| {
        let expected = expected.iter().map(|&line| line.to_owned()).collect();
        Err(MatchError::Lines { expected, earlier })
    };
    assert_eq!(edit("a\nb\n", " a\n-c"), missing(&["a", "c"], false));
    assert_eq!(edit("a\nb\n", "-b\n@@\n-a"), missing(&["a"], true));
    assert_eq!(
        edit("a\n", "@@ fn x\n-a"),
        Err(MatchError::Context("fn x".into()))
    );
}

/// One line's fate in a random edit.
#[derive(Debug, Clone)]
enum Fate {
    Keep,
    Remove,
    Replace(String),
    InsertAfter(String),
}

fn fate() -> impl Strategy<Value = Fate> {
    let text = "[ a-c+@*-]{0,4}";
    prop_oneof![
        6 => Just(Fate::Keep),
        1 => Just(Fate::Remove),
        1 => text.prop_map(Fate::Replace),
        1 => text.prop_map(Fate::InsertAfter),
    ]
}

/// The edited lines, and the patch lines that describe the edit with everything else as context.
fn edited(lines: &[(String, Fate)]) -> (Vec<String>, Vec<(bool, String)>) {
    let (mut after, mut patch) = (Vec::new(), Vec::new());
    for (line, fate) in lines {
        let kept = matches!(fate, Fate::Keep | Fate::InsertAfter(_));
        patch.push((!kept, format!("{}{line}", if kept { ' ' } else { '-' })));
        after.extend(kept.then(|| line.clone()));
        if let Fate::Replace(text) | Fate::InsertAfter(text) = fate {
            patch.push((true, format!("+{text}")));
            after.push(text.clone());
        }
    }
    (after, patch)
}

fn file_of(lines: &[String], end: &str) -> String {
    lines.iter().map(|line| format!("{line}{end}")).collect()
}

proptest! {
    /// Repetitive files, all of the file as context: there is exactly one place.
    #[test]
    fn a_described_edit_gives_the_edited_file(
        lines in prop::collection::vec(("[ a-c]{0,3}", fate()), 1..20),
        crlf: bool,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let (after, patch) = edited(&lines);
        let before: Vec<String> = lines.into_iter().map(|(line, _)| line).collect();
        let update: Vec<String> = patch.into_iter().map(|(_, line)| line).collect();
        let result = edit(&file_of(&before, end), &format!("@@\n{}", update.join("\n")));
        prop_assert_eq!(result.unwrap(), file_of(&after, end));
    }

    /// Distinct lines, one line of context around each change: several chunks.
    #[test]
    fn an_edit_in_small_chunks_gives_the_edited_file(
        fates in prop::collection::vec(fate(), 1..40),
        last_line_open: bool,
    ) {
        let lines: Vec<(String, Fate)> =
            fates.into_iter().enumerate().map(|(n, fate)| (format!("line {n}"), fate)).collect();
        let (after, patch) = edited(&lines);
        let mut update = String::new();
        let mut in_chunk = false;
        for (index, (changed, line)) in patch.iter().enumerate() {
            let near = |index: Option<usize>| index.and_then(|i| patch.get(i)).is_some_and(|p| p.0);
            if *changed || near(index.checked_sub(1)) || near(Some(index + 1)) {
                update += if in_chunk { "" } else { "@@\n" };
                update += line;
                update += "\n";
                in_chunk = true;
            } else {
                in_chunk = false;
            }
        }
        prop_assume!(!update.is_empty());
        let before: Vec<String> = lines.iter().map(|(line, _)| line.clone()).collect();
        let (mut before, mut expected) = (file_of(&before, "\n"), file_of(&after, "\n"));
        if last_line_open {
            before.pop();
            if matches!(lines.last(), Some((_, Fate::Keep))) {
                expected.pop();
            }
        }
        prop_assert_eq!(edit(&before, &update).unwrap(), expected);
    }

    #[test]
    fn no_file_makes_an_edit_panic(
        file in prop::collection::vec(any::<u8>(), 0..60),
        lines in prop::collection::vec(prop::sample::select(vec!["@@", "@@ a", " ", "-", "+", "-a", " a", "+b"]), 1..8),
    ) {
        let text = format!("*** Begin Patch\n*** Update File: f\n{}\n*** End Patch", lines.join("\n"));
        if let Ok(patch) = Patch::parse(&text)
            && let [Hunk::Update { chunks, .. }] = &patch.hunks[..]
        {
            let _ = apply(&file, chunks);
        }
    }
}
