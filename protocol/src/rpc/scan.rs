//! One pass over a message before anything is built from it.
//!
//! The pass proves what the typed parse behind it does not: no member name occurs twice in any
//! object, nesting and the number of values stay bounded, and what we do not look at is JSON
//! too. On the way it notes where the members of the outermost object lie.

use std::borrow::Cow;
use std::collections::HashSet;

/// What one message may contain (`exec-protocol` section 2).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Containers inside each other.
    pub depth_max: usize,
    /// Scalars, arrays and objects together.
    pub values_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // The peer's own limits; hitting one costs the message, never the connection.
        Limits {
            depth_max: 127,
            values_max: 262_144,
        }
    }
}

/// Why a message was not understood. It is answered with id -1 and the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The text is not JSON.
    #[error("message is not valid JSON at byte {at}")]
    NotJson {
        /// Where it stops making sense.
        at: usize,
    },
    /// The text is JSON but no object.
    #[error("message is not a JSON object")]
    NotAnObject,
    /// An object names a member twice.
    #[error("member name repeats at byte {at}")]
    RepeatedMember {
        /// Where the second one starts.
        at: usize,
    },
    /// Too many containers inside each other.
    #[error("message nests deeper than {limit}")]
    TooDeep {
        /// The limit in force.
        limit: usize,
    },
    /// Too many values.
    #[error("message holds more than {limit} values")]
    TooManyValues {
        /// The limit in force.
        limit: usize,
    },
    /// The object is not an envelope of ours.
    #[error("message is no request, notification or reply: {0}")]
    NotAnEnvelope(&'static str),
}

/// The members of the outermost object that matter, as JSON text.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) method: Option<&'a str>,
    pub(super) params: Option<&'a str>,
    pub(super) long: Option<Long<'a>>,
    pub(super) trace: Option<&'a str>,
    pub(super) result: Option<&'a str>,
    pub(super) error: Option<&'a str>,
}

/// The last string among the params themselves that is long and holds no escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Long<'a> {
    pub(super) name: &'a str,
    /// Where it lies in the text of the params, without its quotes.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// From here on it costs more to read a string a second time than to cut it out.
const LONG_BYTES_MIN: usize = 4 * 1024;

pub(super) fn members<'a>(text: &'a str, limits: &Limits) -> Result<Members<'a>, Malformed> {
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        values: 0,
        keys: Vec::new(),
        long: None,
        limits: *limits,
    };
    scanner.blanks();
    let is_object = scanner.peek() == Some(b'{');
    let mut members = Members::default();
    let _: Option<&str> = scanner.value(0, Some(&mut members))?;
    scanner.blanks();
    if scanner.at != text.len() {
        return Err(scanner.not_json());
    }
    if is_object {
        Ok(members)
    } else {
        Err(Malformed::NotAnObject)
    }
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    values: usize,
    /// Member names of all objects that are open, innermost last.
    keys: Vec<Cow<'a, str>>,
    /// Found in the member of the outermost object that was read last, by its place in the text.
    long: Option<Long<'a>>,
    limits: Limits,
}

/// How deep the members of the params are, if those are an object.
const PARAMS_DEPTH: usize = 2;

/// Up to this many members are compared one by one; beyond, a set keeps hostile objects linear.
const KEYS_COMPARED_MAX: usize = 16;

impl<'a> Scanner<'a> {
    /// Returns the inside of a string that holds no escape.
    fn value(
        &mut self,
        depth: usize,
        top: Option<&mut Members<'a>>,
    ) -> Result<Option<&'a str>, Malformed> {
        self.values += 1;
        if self.values > self.limits.values_max {
            return Err(Malformed::TooManyValues {
                limit: self.limits.values_max,
            });
        }
        match self.peek() {
            Some(b'{') => self.object(depth + 1, top),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => {
                let (quoted, has_escape) = self.string()?;
                return Ok(quoted.get(1..quoted.len() - 1).filter(|_| !has_escape));
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(self.not_json()),
        }
        .map(|()| None)
    }

    fn object(&mut self, depth: usize, mut top: Option<&mut Members<'a>>) -> Result<(), Malformed> {
        self.enter(depth)?;
        let first_key = self.keys.len();
        let mut many: Option<HashSet<Cow<'a, str>>> = None;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.blanks();
            let key_at = self.at;
            let key = self.key()?;
            if !self.is_new(&key, first_key, &mut many) {
                return Err(Malformed::RepeatedMember { at: key_at });
            }
            self.blanks();
            self.expect(b':')?;
            self.blanks();
            let start = self.at;
            let plain = self.value(depth, None)?;
            if let Some(members) = top.as_deref_mut() {
                let text = self.text.get(start..self.at).unwrap_or_default();
                members.note(&key, text);
                members.note_long(&key, self.long.take(), start);
            } else if depth == PARAMS_DEPTH
                && let Some(plain) = plain.filter(|plain| plain.len() >= LONG_BYTES_MIN)
                && let Cow::Borrowed(name) = &key
            {
                let end = self.at - 1;
                self.long = Some(Long {
                    name,
                    start: end - plain.len(),
                    end,
                });
            }
            match &mut many {
                Some(set) => {
                    set.insert(key);
                }
                None => self.keys.push(key),
            }
            if !self.goes_on(b'}')? {
                break;
            }
        }
        self.keys.truncate(first_key);
        Ok(())
    }

    fn is_new(
        &mut self,
        key: &str,
        first_key: usize,
        many: &mut Option<HashSet<Cow<'a, str>>>,
    ) -> bool {
        if let Some(set) = many {
            return !set.contains(key);
        }
        let siblings = self.keys.get(first_key..).unwrap_or_default();
        let is_new = siblings.iter().all(|sibling| sibling != key);
        if siblings.len() >= KEYS_COMPARED_MAX {
            *many = Some(self.keys.drain(first_key..).collect());
        }
        is_new
    }

    fn array(&mut self, depth: usize) -> Result<(), Malformed> {
        self.enter(depth)?;
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            self.blanks();
            let _: Option<&str> = self.value(depth, None)?;
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// Steps over the opening bracket and the blanks behind it.
    fn enter(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth > self.limits.depth_max {
            return Err(Malformed::TooDeep {
                limit: self.limits.depth_max,
            });
        }
        self.at += 1;
        self.blanks();
        Ok(())
    }

    /// Steps over `,` (true) or the closing bracket (false).
    fn goes_on(&mut self, close: u8) -> Result<bool, Malformed> {
        self.blanks();
        if self.eat(b',') {
            return Ok(true);
        }
        self.expect(close).map(|()| false)
    }

    fn key(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let at = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.not_json());
        }
        let (quoted, has_escape) = self.string()?;
        if has_escape {
            // `"\u0061"` and `"a"` are one name.
            serde_json::from_str(quoted)
                .map(Cow::Owned)
                .map_err(|_| Malformed::NotJson { at })
        } else {
            Ok(Cow::Borrowed(
                quoted.get(1..quoted.len() - 1).unwrap_or_default(),
            ))
        }
    }

    /// Steps over a string; returns it with its quotes, and whether it holds an escape.
    fn string(&mut self) -> Result<(&'a str, bool), Malformed> {
        let start = self.at;
        self.at += 1;
        let mut has_escape = false;
        loop {
            self.plain_characters();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    let text = self.text.get(start..self.at).unwrap_or_default();
                    return Ok((text, has_escape));
                }
                Some(b'\\') => {
                    has_escape = true;
                    self.escape()?;
                }
                _ => return Err(self.not_json()),
            }
        }
    }

    fn plain_characters(&mut self) {
        // Base64 makes strings of megabytes. Blocks of 32 let the compiler compare them at once.
        const BLOCK: usize = 32;
        while let Some(block) = self.bytes.get(self.at..self.at + BLOCK) {
            if block.iter().fold(false, |any, byte| any | special(*byte)) {
                break;
            }
            self.at += BLOCK;
        }
        while self.peek().is_some_and(|byte| !special(byte)) {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.not_json());
                }
                self.at += 5;
            }
            _ => return Err(self.not_json()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.not_json());
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.not_json());
        }
        self.at += word.len();
        Ok(())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.not_json())
        }
    }

    fn not_json(&self) -> Malformed {
        Malformed::NotJson { at: self.at }
    }
}

fn special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

impl<'a> Members<'a> {
    fn note(&mut self, key: &str, text: &'a str) {
        let slot = match key {
            "id" => &mut self.id,
            "method" => &mut self.method,
            "params" => &mut self.params,
            "trace" => &mut self.trace,
            "result" => &mut self.result,
            "error" => &mut self.error,
            _ => return,
        };
        *slot = Some(text);
    }

    /// Notes a long string that was found in a member that begins at `start`.
    fn note_long(&mut self, key: &str, long: Option<Long<'a>>, start: usize) {
        if key == "params" {
            self.long = long.map(|long| Long {
                start: long.start - start,
                end: long.end - start,
                ..long
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) -> Result<(), Malformed> {
        members(text, &Limits::default()).map(drop)
    }

    #[test]
    fn a_name_that_repeats_in_any_object_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"p":{"x":[{"a":1,"a":2}]}}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert!(
                matches!(check(text), Err(Malformed::RepeatedMember { .. })),
                "{text}"
            );
        }
        assert_eq!(
            check(r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#),
            Ok(())
        );
    }

    #[test]
    fn a_name_that_repeats_among_hundreds_is_refused() {
        let mut text = String::from("{");
        for number in 0..300 {
            text.push_str(&format!("\"k{number}\":0,"));
        }
        assert_eq!(check(&format!("{text}\"last\":0}}")), Ok(()));
        assert!(matches!(
            check(&format!("{text}\"k7\":0}}")),
            Err(Malformed::RepeatedMember { .. })
        ));
    }

    #[test]
    fn nesting_and_the_number_of_values_are_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(126)), Ok(()));
        assert_eq!(check(&nested(127)), Err(Malformed::TooDeep { limit: 127 }));
        let wide = |count: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(count - 1));
        assert_eq!(check(&wide(262_142)), Ok(()));
        assert_eq!(
            check(&wide(262_143)),
            Err(Malformed::TooManyValues { limit: 262_144 })
        );
    }

    #[test]
    fn what_is_no_object_is_told_apart_from_what_is_no_json() {
        assert_eq!(check("[]"), Err(Malformed::NotAnObject));
        assert_eq!(check("17"), Err(Malformed::NotAnObject));
        assert_eq!(check(""), Err(Malformed::NotJson { at: 0 }));
        assert_eq!(check("{} {}"), Err(Malformed::NotJson { at: 3 }));
        assert_eq!(check("{\"a\":\"\n\"}"), Err(Malformed::NotJson { at: 6 }));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::btree_map(".*", inner, 0..8)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_accepted(value in json()) {
            let text = serde_json::json!({ "v": value }).to_string();
            prop_assert_eq!(check(&text), Ok(()));
        }

        #[test]
        fn damaged_json_is_judged_as_serde_judges_it(value in json(), at in any::<prop::sample::Index>(), byte in 0u8..128) {
            let mut text = serde_json::json!({ "v": value }).to_string().into_bytes();
            let index = at.index(text.len());
            text[index] = byte;
            if let Ok(text) = String::from_utf8(text) {
                let ours = !matches!(check(&text), Err(Malformed::NotJson { .. }));
                let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
                prop_assert_eq!(ours, theirs, "{}", text);
            }
        }
    }
}
