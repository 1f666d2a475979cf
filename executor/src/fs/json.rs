//! The few JSON pieces of which listings and walks are built.

/// Appends `text` as a JSON string.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    if text
        .bytes()
        .any(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
    {
        #[expect(
            clippy::expect_used,
            reason = "a string is valid JSON and a vector takes every write"
        )]
        return serde_json::to_writer(out, text).expect("a string can be written to memory");
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Replaces the comma after the last item, if there is one, by what ends the list.
pub(super) fn end_list(out: &mut Vec<u8>) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b']');
}
