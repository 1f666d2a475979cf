//! What was left out, in words: one line for each reason, however much it was.

use super::tree::Why;

/// Some of what was left out for one reason.
#[derive(Debug, Default)]
pub(super) struct Shown {
    count: u64,
    first: Vec<String>,
}

/// How many of them are named.
const NAMED_MAX: usize = 5;

impl Shown {
    pub(super) fn add(&mut self, place: String) {
        self.count += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(place);
        }
    }

    /// `left out 7 links: `a`, `b` and 5 more`, with what to do about it.
    pub(super) fn told(&self, why: Why) -> String {
        let (one, many, remedy) = match why {
            Why::Link => (
                "link",
                "links",
                "--links follow copies what links inside of a directory lead to",
            ),
            Why::Outside => (
                "link that leads out of the directory",
                "links that lead out of the directory",
                "copy what it leads to by its own name",
            ),
            Why::Dangling => ("link that leads nowhere", "links that lead nowhere", ""),
            Why::Loop => (
                "link to a directory it is in",
                "links to a directory they are in",
                "",
            ),
            Why::Special => (
                "thing that is neither a file nor a directory",
                "things that are neither files nor directories",
                "",
            ),
        };
        let kind = if self.count == 1 { one } else { many };
        // One line, whatever the names are.
        let names = self.first.iter().map(|name| name.replace('\n', "\\n"));
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        let mut text = format!(
            "farstep: left out {} {kind}: {}",
            self.count,
            names.join(", ")
        );
        let more = self.count - self.first.len() as u64;
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        if !remedy.is_empty() {
            text.push_str(&format!("\n  try: {remedy}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_named_and_the_rest_is_counted() {
        let mut shown = Shown::default();
        shown.add("far:a\nb".to_owned());
        assert_eq!(
            shown.told(Why::Dangling),
            "farstep: left out 1 link that leads nowhere: `far:a\\nb`"
        );
        (0..7).for_each(|n| shown.add(format!("far:{n}")));
        let told = shown.told(Why::Link);
        assert!(
            told.starts_with("farstep: left out 8 links: `far:a\\nb`, `far:0`, `far:1`, `far:2`, `far:3` and 3 more\n  try: "),
            "{told}"
        );
    }
}
