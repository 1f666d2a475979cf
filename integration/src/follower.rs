//! Everything one process said, put together from whatever carried it.
//!
//! Notifications and pages of reads may overlap, repeat each other and come in any order; what
//! they say of one position has to be the same.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::Wire;

/// What was said cannot all be true, or something is missing: not a matter of a broken link.
#[derive(Debug)]
pub struct Wrong(String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// What is known of one process's output.
#[derive(Debug, Default)]
pub struct Follower {
    process: String,
    chunks: BTreeMap<u64, String>,
    /// Every position up to here is known.
    next: u64,
    exited: Option<u64>,
    closed: Option<u64>,
    exit_code: Option<i64>,
    is_complete: bool,
    /// Positions that only a read knows of: it does not tell those of the exit and the close.
    read_up_to: u64,
}

impl Follower {
    /// Follows `process` from its start.
    pub fn new(process: &str) -> Follower {
        Follower {
            process: process.to_owned(),
            next: 1,
            ..Follower::default()
        }
    }

    /// Takes a notification; others than those of the process are none of our business.
    pub fn notified(&mut self, message: &Value) -> Result<()> {
        let params = &message["params"];
        if params["processId"] != self.process.as_str() {
            return Ok(());
        }
        let seq = params["seq"].as_u64().context("no position")?;
        match message["method"].as_str().unwrap_or_default() {
            "process/output" => self.chunk(seq, params)?,
            "process/exited" => {
                let code = params["exitCode"].as_i64().context("no exit code")?;
                ensure!(self.exited.is_none_or(|known| known == seq), "two exits");
                self.exited = Some(seq);
                self.exit_code = Some(code);
            }
            "process/closed" => {
                ensure!(self.closed.is_none_or(|known| known == seq), "two closes");
                self.closed = Some(seq);
            }
            other => anyhow::bail!("{other} of a process"),
        }
        self.advance();
        self.is_complete |= self.closed.is_some_and(|closed| self.next > closed);
        Ok(())
    }

    /// Reads what is missing, page by page, from the first gap on.
    pub async fn catch_up(&mut self, wire: &mut Wire, page_bytes: u64) -> Result<()> {
        while self.read(wire, page_bytes, 0).await? {}
        Ok(())
    }

    /// Reads one page, and waits for it up to `wait_ms`. Says whether there was output.
    pub async fn read(&mut self, wire: &mut Wire, page_bytes: u64, wait_ms: u64) -> Result<bool> {
        let params = json!({
            "processId": self.process, "afterSeq": self.next - 1,
            "maxBytes": page_bytes, "waitMs": wait_ms,
        });
        let page = wire.done("process/read", params).await?;
        let chunks = page["chunks"].as_array().context("no chunks")?;
        let mut last = self.next - 1;
        for chunk in chunks {
            let seq = chunk["seq"].as_u64().context("no position")?;
            // Between two chunks only the exit can be, which pages do not number.
            ensure!(
                seq == last + 1 || seq == last + 2,
                Wrong(format!("{last} is followed by {seq}"))
            );
            self.chunk(seq, chunk)?;
            last = seq;
        }
        let next = page["nextSeq"].as_u64().context("no next position")?;
        self.read_up_to = self.read_up_to.max(next - 1);
        self.advance();
        if page["exited"] == true {
            self.exit_code = page["exitCode"].as_i64();
        }
        self.is_complete |= chunks.is_empty() && page["closed"] == true;
        Ok(!chunks.is_empty())
    }

    /// Whether everything up to the close is known.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// How the process ended.
    pub fn exit_code(&self) -> Option<i64> {
        self.exit_code
    }

    /// How much is known, in characters of base64.
    pub fn known(&self) -> usize {
        self.chunks.values().map(String::len).sum()
    }

    /// All output, in order.
    pub fn output(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for chunk in self.chunks.values() {
            decode(chunk, &mut out)?;
        }
        Ok(out)
    }

    fn chunk(&mut self, seq: u64, params: &Value) -> Result<()> {
        let chunk = params["chunk"].as_str().context("no chunk")?;
        match self.chunks.get(&seq) {
            Some(known) => ensure!(known == chunk, Wrong(format!("two chunks are {seq}"))),
            None => drop(self.chunks.insert(seq, chunk.to_owned())),
        }
        Ok(())
    }

    fn advance(&mut self) {
        // What a page reached and did not hold is no output.
        while self.chunks.contains_key(&self.next)
            || [self.exited, self.closed].contains(&Some(self.next))
            || self.next <= self.read_up_to
        {
            self.next += 1;
        }
    }
}

/// Reads standard base64. The bench has no reason to be fast.
pub fn decode(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let mut bits = 0_u32;
    let mut count = 0;
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => anyhow::bail!("{byte} is no base64"),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.extend(u8::try_from(bits >> count & 0xff));
        }
    }
    Ok(())
}

/// Writes standard base64.
pub fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for at in 0..4 {
            let letter = ALPHABET
                .get(bits >> (18 - 6 * at) & 63)
                .filter(|_| at <= group.len());
            out.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    out
}
