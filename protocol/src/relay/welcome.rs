//! A tenant's signed list of the orchestrators that its executors let in (`rendezvous` section C5).
//!
//! ```text
//!   farstep-harness-keys-1
//!   environment box-*
//!   not-after 1795221176
//!   key fst1:ds2bl46fuoudkacllpcqgdbau3
//!   signature BASE64
//! ```
//!
//! It is a text, so that people read what they sign. The signature is over everything before its
//! line, as it stands. Whoever can replace the file can put an older list back for as long as that
//! one is good, so a list ends.

use super::attest::{TenantKey, TenantPublic};
use super::is_fingerprint;
use super::registry::is_environment_id;

/// A list, in bytes.
pub const LIST_BYTES_MAX: usize = 256 * 1024;

const HEADING: &str = "farstep-harness-keys-1";

/// What tells a list from everything else the key signs.
const CONTEXT: &str = "farstep-harness-keys/v1";

/// The keys of a list that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HarnessKeys {
    fingerprints: Vec<String>,
    not_after: i64,
}

/// Why a list is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Too long.
    #[error("the list is above {LIST_BYTES_MAX} bytes")]
    Length,
    /// A line is not what it should be.
    #[error("line {line} of the list is wrong: {expected} was expected")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// Signed by somebody else, or altered.
    #[error("the trusted key did not sign the list")]
    Signature,
    /// For others.
    #[error("the list is for other environments")]
    Environment,
    /// Its time is over.
    #[error("the list ended at {not_after} (Unix seconds); have a new one signed")]
    Expired {
        /// When.
        not_after: i64,
    },
}

/// Signs a list for an environment, or with a `*` at the end for all that begin so. `None` when a
/// name or a key is none.
pub fn sign(key: &TenantKey, scope: &str, not_after: i64, keys: &[String]) -> Option<String> {
    let id = scope.strip_suffix('*').unwrap_or(scope);
    let is_scope = scope == "*" || is_environment_id(id);
    if !is_scope || !keys.iter().all(|key| is_fingerprint(key)) {
        return None;
    }
    let mut text = format!("{HEADING}\nenvironment {scope}\nnot-after {not_after}\n");
    for key in keys {
        text.push_str("key ");
        text.push_str(key);
        text.push('\n');
    }
    let signature = key.sign(&[CONTEXT, &text]);
    Some(format!("{text}signature {signature}\n"))
}

impl HarnessKeys {
    /// Believes a list, or says why not. `now` is in Unix seconds.
    pub fn read(
        text: &str,
        trusted: &TenantPublic,
        environment: &str,
        now: i64,
    ) -> Result<HarnessKeys, ListError> {
        if text.len() > LIST_BYTES_MAX {
            return Err(ListError::Length);
        }
        let count = text.lines().count();
        let wrong = |line, expected| ListError::Line { line, expected };
        let last = wrong(count, "`signature BASE64` at the end");
        let (signed, rest) = text.split_once("\nsignature ").ok_or(last)?;
        let signature = rest.strip_suffix('\n').unwrap_or(rest);
        // Nothing in it means anything before this.
        if !trusted.signed(&[CONTEXT, &format!("{signed}\n")], signature) {
            return Err(ListError::Signature);
        }
        let mut lines = signed.lines();
        let mut next = |line, name: &str, expected| {
            let found = lines.next().and_then(|line| line.strip_prefix(name));
            found.ok_or(wrong(line, expected))
        };
        next(1, HEADING, "`farstep-harness-keys-1`")?;
        let scope = next(2, "environment ", "`environment ID`")?;
        let seconds = "`not-after SECONDS`";
        let not_after = next(3, "not-after ", seconds)?;
        let not_after: i64 = not_after.parse().map_err(|_| wrong(3, seconds))?;
        let mut fingerprints = Vec::new();
        for (index, line) in lines.enumerate() {
            let key = line.strip_prefix("key ").filter(|key| is_fingerprint(key));
            let key = key.ok_or(wrong(index + 4, "`key fst1:...`"))?;
            fingerprints.push(key.to_owned());
        }
        let is_for = match scope.strip_suffix('*') {
            Some(beginning) => environment.starts_with(beginning),
            None => scope == environment,
        };
        if !is_for {
            return Err(ListError::Environment);
        }
        match now < not_after {
            true => Ok(HarnessKeys {
                fingerprints,
                not_after,
            }),
            false => Err(ListError::Expired { not_after }),
        }
    }

    /// Whether an orchestrator is on the list, and the list still counts.
    pub fn admits(&self, fingerprint: &str, now: i64) -> bool {
        now < self.not_after && self.fingerprints.iter().any(|known| known == fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "fst1:ds2bl46fuoudkacllpcqgdbau3";
    const TWO: &str = "fst1:as2bl46fuoudkacllpcqgdbau3";

    fn key() -> TenantKey {
        TenantKey::from_seed(&[7; 32]).unwrap()
    }

    fn list(scope: &str) -> String {
        sign(&key(), scope, 1000, &[ONE.to_owned()]).unwrap()
    }

    fn read(text: &str, environment: &str, now: i64) -> Result<HarnessKeys, ListError> {
        HarnessKeys::read(text, &key().public(), environment, now)
    }

    #[test]
    fn who_is_on_the_list_comes_in_until_it_ends() {
        let keys = read(&list("box-*"), "box-7", 999).unwrap();
        assert!(keys.admits(ONE, 999));
        assert!(!keys.admits(ONE, 1000) && !keys.admits(TWO, 999));
        let over = Err(ListError::Expired { not_after: 1000 });
        assert_eq!(read(&list("box-*"), "box-7", 1000), over);
        assert_eq!(read(&list("box-*"), "bax", 0), Err(ListError::Environment));
        assert_eq!(read(&list("box"), "box-7", 0), Err(ListError::Environment));
        let nobody = sign(&key(), "*", 1000, &[]).unwrap();
        assert!(!read(&nobody, "box", 0).unwrap().admits(ONE, 0));
    }

    #[test]
    fn a_list_that_somebody_touched_is_not_believed() {
        let list = list("box");
        for altered in [
            list.replace(ONE, TWO),
            list.replace("1000", "9000"),
            list.replace("environment box", "environment *"),
            list.replace("signature ", &format!("key {TWO}\nsignature ")),
            list.replacen('\n', "\n\n", 1),
        ] {
            assert_eq!(read(&altered, "box", 0), Err(ListError::Signature));
        }
        let other = TenantKey::from_seed(&[8; 32]).unwrap().public();
        let read_by = HarnessKeys::read(&list, &other, "box", 0);
        assert_eq!(read_by, Err(ListError::Signature));
        assert!(matches!(read("", "box", 0), Err(ListError::Line { .. })));
        let long = " ".repeat(LIST_BYTES_MAX + 1);
        assert_eq!(read(&long, "box", 0), Err(ListError::Length));
    }

    #[test]
    fn what_is_no_name_or_no_key_is_not_signed() {
        assert_eq!(sign(&key(), "a b", 1, &[]), None);
        assert_eq!(sign(&key(), "box", 1, &["x\nkey y".to_owned()]), None);
    }
}
