//! The last lines of what comes in pieces.

use std::collections::VecDeque;

use farstep_environments::PageChunk;

/// Keeps as much as the last lines need, whatever comes before them.
#[derive(Debug)]
pub(super) struct Tail {
    lines: usize,
    chunks: VecDeque<PageChunk>,
    /// Ends of lines in `chunks`.
    ends: usize,
}

impl Tail {
    pub(super) fn of(lines: usize) -> Tail {
        Tail {
            lines,
            chunks: VecDeque::new(),
            ends: 0,
        }
    }

    pub(super) fn push(&mut self, chunk: PageChunk) {
        self.ends += ends(&chunk);
        self.chunks.push_back(chunk);
        // What is left must hold the lines and the end of the one before the first of them.
        while let Some(first) = self.chunks.front()
            && self.ends - ends(first) > self.lines
        {
            self.ends -= ends(first);
            self.chunks.pop_front();
        }
    }

    /// The lines, the last of which may have no end yet.
    pub(super) fn finish(self) -> Vec<PageChunk> {
        let has_open_line = self
            .chunks
            .back()
            .is_some_and(|chunk| !chunk.bytes.ends_with(b"\n"));
        let lines = self.ends + usize::from(has_open_line);
        let mut surplus = lines.saturating_sub(self.lines);
        let mut kept = Vec::new();
        for mut chunk in self.chunks {
            while surplus > 0
                && let Some(at) = chunk.bytes.iter().position(|byte| *byte == b'\n')
            {
                chunk.bytes = chunk.bytes.slice(at + 1..);
                surplus -= 1;
            }
            if surplus == 0 && !chunk.bytes.is_empty() {
                kept.push(chunk);
            }
        }
        kept
    }
}

fn ends(chunk: &PageChunk) -> usize {
    chunk.bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use farstep_environments::OutputStream;
    use proptest::prelude::*;

    use super::*;

    fn tail(lines: usize, pieces: &[String]) -> String {
        let mut tail = Tail::of(lines);
        for (seq, piece) in (1..).zip(pieces) {
            tail.push(PageChunk {
                seq,
                stream: OutputStream::Stdout,
                bytes: piece.clone().into(),
            });
        }
        let chunks = tail.finish();
        let bytes: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn it_is_the_end_of_the_whole(
            lines in 0_usize..6,
            pieces in proptest::collection::vec("[ab\n]{1,6}", 0..12),
        ) {
            let whole = pieces.concat();
            let all: Vec<&str> = whole.split_inclusive('\n').collect();
            let wanted = all[all.len().saturating_sub(lines)..].concat();
            prop_assert_eq!(tail(lines, &pieces), wanted);
        }
    }
}
