//! Token counts of one response, and their sums.

use std::ops::AddAssign;

use serde_json::Value;

/// What a response cost, in tokens. A provider that reports nothing counts as zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub cached_input: u64,
    pub cache_write_input: u64,
    pub output: u64,
    pub reasoning_output: u64,
    pub total: u64,
}

impl Usage {
    /// Reads the `usage` member of a completed response; members that are missing or odd are zero.
    pub(super) fn from_wire(usage: &Value) -> Usage {
        let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        Usage {
            input: count("/input_tokens"),
            cached_input: count("/input_tokens_details/cached_tokens"),
            cache_write_input: count("/input_tokens_details/cache_write_tokens"),
            output: count("/output_tokens"),
            reasoning_output: count("/output_tokens_details/reasoning_tokens"),
            total: count("/total_tokens"),
        }
    }
}

impl AddAssign for Usage {
    // Saturating: the numbers come from a peer, and a sum must not be able to end the process.
    fn add_assign(&mut self, more: Usage) {
        self.input = self.input.saturating_add(more.input);
        self.cached_input = self.cached_input.saturating_add(more.cached_input);
        self.cache_write_input = self
            .cache_write_input
            .saturating_add(more.cache_write_input);
        self.output = self.output.saturating_add(more.output);
        self.reasoning_output = self.reasoning_output.saturating_add(more.reasoning_output);
        self.total = self.total.saturating_add(more.total);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_member_is_read_and_missing_ones_are_zero() {
        let full = Usage::from_wire(&json!({
            "input_tokens": 1200,
            "input_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 7},
            "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 12},
            "total_tokens": 1230,
        }));
        let expected = Usage {
            input: 1200,
            cached_input: 1000,
            cache_write_input: 7,
            output: 30,
            reasoning_output: 12,
            total: 1230,
        };
        assert_eq!(full, expected);
        assert_eq!(Usage::from_wire(&Value::Null), Usage::default());
        assert_eq!(
            Usage::from_wire(&json!({"input_tokens": "many"})),
            Usage::default()
        );
    }

    #[test]
    fn sums_saturate_instead_of_wrapping() {
        let mut sum = Usage {
            input: u64::MAX,
            output: 1,
            ..Usage::default()
        };
        sum += Usage {
            input: 5,
            output: 2,
            ..Usage::default()
        };
        assert_eq!(
            sum,
            Usage {
                input: u64::MAX,
                output: 3,
                ..Usage::default()
            }
        );
    }
}
