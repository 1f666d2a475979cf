use proptest::prelude::*;

use super::*;

fn parse(body: &str) -> Result<Patch, ParseError> {
    Patch::parse(&format!("*** Begin Patch\n{body}\n*** End Patch"))
}

fn keep(text: &str) -> Line {
    Line::Keep(text.into())
}

fn remove(text: &str) -> Line {
    Line::Remove(text.into())
}

fn insert(text: &str) -> Line {
    Line::Insert(text.into())
}

fn only_chunk(body: &str) -> Chunk {
    let Hunk::Update { mut chunks, .. } = parse(body).unwrap().hunks.remove(0) else {
        panic!("not an update")
    };
    assert_eq!(chunks.len(), 1);
    chunks.remove(0)
}

#[test]
fn every_kind_of_hunk_is_read() {
    let text = "*** Begin Patch\n*** Environment ID: beta\n\
        *** Add File: new/n.txt\n+one\n+\n+two\n\
        *** Delete File: del.txt\n\
        *** Update File: f.txt\n*** Move to: g.txt\n@@ fn main\n-old\n+new\n@@\n keep\n+tail\n*** End of File\n\
        *** End Patch\n";
    let expected = Patch {
        environment: Some("beta".into()),
        hunks: vec![
            Hunk::Add {
                path: "new/n.txt".into(),
                contents: "one\n\ntwo\n".into(),
            },
            Hunk::Delete {
                path: "del.txt".into(),
            },
            Hunk::Update {
                path: "f.txt".into(),
                move_to: Some("g.txt".into()),
                chunks: vec![
                    Chunk {
                        context: vec!["fn main".into()],
                        lines: vec![remove("old"), insert("new")],
                        at_end: false,
                    },
                    Chunk {
                        context: vec![],
                        lines: vec![keep("keep"), insert("tail")],
                        at_end: true,
                    },
                ],
            },
        ],
    };
    assert_eq!(Patch::parse(text), Ok(expected.clone()));
    assert_eq!(Patch::parse(&text.replace('\n', "\r\n")), Ok(expected));
}

#[test]
fn contexts_nest() {
    let chunk = only_chunk("*** Update File: f\n@@ class A\n@@     def b\n-x");
    assert_eq!(chunk.context, ["class A", "    def b"]);
}

#[test]
fn a_change_needs_no_opening_line() {
    let chunk = only_chunk("*** Update File: f\n a\n-b\n+c");
    assert_eq!(chunk.lines, [keep("a"), remove("b"), insert("c")]);
}

#[test]
fn unmarked_blank_lines_are_context_inside_a_change_and_nothing_around_it() {
    let chunk = only_chunk("\n*** Update File: f\n\n@@\n a\n\n+b\n\n\n");
    assert_eq!(chunk.lines, [keep("a"), keep(""), insert("b")]);
    let spaced = "*** Add File: a\n+x\n\n*** Delete File: b\n\n*** Update File: c\n-y\n\n*** Add File: d\n+z";
    assert_eq!(parse(spaced).unwrap().hunks.len(), 4);
}

#[test]
fn a_move_may_change_nothing_else() {
    let expected = Hunk::Update {
        path: "a".into(),
        move_to: Some("b".into()),
        chunks: vec![],
    };
    assert_eq!(
        parse("*** Update File: a\n*** Move to: b").unwrap().hunks,
        [expected]
    );
}

#[test]
fn an_added_file_may_be_empty() {
    let expected = Hunk::Add {
        path: "a".into(),
        contents: String::new(),
    };
    assert_eq!(parse("*** Add File: a").unwrap().hunks, [expected]);
}

#[test]
fn lines_that_look_like_markers_are_text_when_they_are_marked() {
    let contents = "*** End Patch\n*** Add File: x\n@@\n";
    let hunks = parse("*** Add File: a\n+*** End Patch\n+*** Add File: x\n+@@")
        .unwrap()
        .hunks;
    assert_eq!(
        hunks,
        [Hunk::Add {
            path: "a".into(),
            contents: contents.into()
        }]
    );
}

#[test]
fn mistakes_are_named_with_their_line() {
    let mistakes = [
        "",
        "no patch",
        "*** Begin Patch\n*** Add File: a\n+x",
        "*** Begin Patch\n*** End Patch",
        "*** Begin Patch\n*** Environment ID:\n*** Delete File: a\n*** End Patch",
        "*** Begin Patch\nhello\n*** End Patch",
        "*** Begin Patch\n*** Delete File:  \n*** End Patch",
        "*** Begin Patch\n*** Delete File: a\n*** Rename File: b\n*** End Patch",
        "*** Begin Patch\n*** Add File: a\n+x\ny\n*** End Patch",
        "*** Begin Patch\n*** Add File: a\n+x\n\n+y\n*** End Patch",
        "*** Begin Patch\n*** Update File: a\n*** End Patch",
        "*** Begin Patch\n*** Update File: a\n@@ f\n*** End Patch",
        "*** Begin Patch\n*** Update File: a\n@@\n+x\ny\n*** End Patch",
        "*** Begin Patch\n*** Update File: a\n*** Move to:\n+x\n*** End Patch",
    ]
    .map(|text| format!("{text:?}\n    {}", Patch::parse(text).unwrap_err()))
    .join("\n");
    insta::assert_snapshot!(mistakes);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = Patch::parse(&text);
    }

    /// Texts made of the grammar's own pieces reach much deeper than random ones.
    #[test]
    fn no_mixture_of_markers_makes_the_parser_panic(
        lines in prop::collection::vec(prop::sample::select(vec![
            "*** Begin Patch", "*** End Patch", "*** Environment ID: e", "*** Add File: a",
            "*** Delete File: b", "*** Update File: c", "*** Move to: d", "*** End of File",
            "@@", "@@ x", "+", "+y", "-", "-z", " ", " w", "", "\r", "é", "***",
        ]), 0..20),
    ) {
        let _ = Patch::parse(&lines.join("\n"));
        let _ = parse(&lines.join("\n"));
    }
}
