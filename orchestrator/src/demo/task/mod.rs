//! What the demo is about: a task, the program it is solved with, and the one mistake in it.

/// The task, in the words a person would use.
pub(super) const PROMPT: &str = "\
On `builder`, write roman.sh, a shell function that turns numbers into Roman numerals, with a \
test. Make the test pass. Then bring it to `server`, start it there in the background behind a \
small server, and check that it answers.";

/// A file of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// What is written on `builder`. Nothing in any of the files needs more than a POSIX shell and
/// `mkfifo`, so that the demo runs wherever a Unix does.
pub(super) const BUILT: [File; 2] = [
    File {
        name: CARRIED,
        text: include_str!("roman.sh"),
    },
    File {
        name: "test.sh",
        text: include_str!("test.sh"),
    },
];

/// What is carried to `server`; the test stays behind.
pub(super) const CARRIED: &str = "roman.sh";

/// What is added there.
pub(super) const SERVED: [File; 2] = [
    File {
        name: "server.sh",
        text: include_str!("server.sh"),
    },
    File {
        name: "ask.sh",
        text: include_str!("ask.sh"),
    },
];

/// The line that forgets that 4 is IV, and what it should be.
pub(super) const MISTAKE: &str = "    for pair in 1000:M 500:D 100:C 50:L 10:X 5:V 1:I; do";
pub(super) const REPAIR: [&str; 2] = [
    "    for pair in 1000:M 900:CM 500:D 400:CD 100:C 90:XC 50:L 40:XL \\",
    "        10:X 9:IX 5:V 4:IV 1:I; do",
];

/// A patch that adds files to an environment.
pub(super) fn adding<'a>(
    environment: &str,
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut patch = format!("*** Begin Patch\n*** Environment ID: {environment}\n");
    for (name, text) in files {
        patch += &format!("*** Add File: {name}\n");
        for line in text.lines() {
            patch += &format!("+{line}\n");
        }
    }
    patch + "*** End Patch"
}

/// The patch that mends the mistake.
pub(super) fn repairing(environment: &str) -> String {
    let [first, second] = REPAIR;
    format!(
        "*** Begin Patch\n*** Environment ID: {environment}\n*** Update File: roman.sh\n\
         @@ roman() {{\n-{MISTAKE}\n+{first}\n+{second}\n*** End Patch"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::{Hunk, Patch};

    #[test]
    fn the_mistake_is_in_the_program_and_its_repair_is_not() {
        let roman = BUILT[0].text;
        assert!(roman.contains(MISTAKE));
        assert!(REPAIR.iter().all(|line| !roman.contains(line)));
    }

    #[test]
    fn the_patches_say_what_they_should() {
        let patch = Patch::parse(&adding("builder", BUILT.map(|file| (file.name, file.text))));
        let expected = Patch {
            environment: Some("builder".into()),
            hunks: BUILT
                .map(|file| Hunk::Add {
                    path: file.name.into(),
                    contents: file.text.into(),
                })
                .into(),
        };
        assert_eq!(patch, Ok(expected));
        let repair = Patch::parse(&repairing("builder")).unwrap();
        assert!(matches!(&repair.hunks[..], [Hunk::Update { path, .. }] if path == "roman.sh"));
    }
}
