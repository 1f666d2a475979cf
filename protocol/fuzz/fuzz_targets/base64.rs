//! Our base64 against the usual one: the fast one chooses its code by the processor it meets.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farstep_protocol::frame::{read_base64, write_base64};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut written = String::from("x");
    write_base64(&mut written, data);
    assert_eq!(written[1..], STANDARD.encode(data));
    assert_eq!(read_base64(&written[1..]).as_deref(), Some(data));
    // Long input takes the vector code, whose tail is where mistakes are made.
    let long = data.repeat(1 + 200 / (data.len() + 1));
    let mut text = STANDARD.encode(&long);
    assert_eq!(read_base64(&text), Some(long));
    if let Ok(spelled) = std::str::from_utf8(data) {
        assert_eq!(
            read_base64(spelled),
            STANDARD.decode(spelled).ok(),
            "{spelled:?}"
        );
        text.push_str(spelled);
        assert_eq!(read_base64(&text), STANDARD.decode(&text).ok(), "{text:?}");
        let front = format!("{spelled}{}", STANDARD.encode(data.repeat(9)));
        assert_eq!(
            read_base64(&front),
            STANDARD.decode(&front).ok(),
            "{front:?}"
        );
    }
});
