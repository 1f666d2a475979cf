//! Messages as lines, against splitting the bytes at once.

#![no_main]

use farstep_protocol_fuzz::trickle::{Trickle, drain};
use farstep_transport::lines::Lines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (sizes, bytes) = data.split_at(data.len().min(4));
    for sizes in [&[][..], sizes] {
        let mut lines = Lines::new(Trickle::new(bytes, sizes), Vec::<u8>::new());
        let found = drain(&mut lines, 4 * bytes.len() + 64);
        let mut expected = bytes
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.iter().all(u8::is_ascii_whitespace));
        for line in found {
            let expected = expected.next().expect("a line for each that was found");
            match line {
                Ok(text) => assert_eq!(text.as_bytes(), expected),
                Err(_) => {
                    assert!(std::str::from_utf8(expected).is_err());
                    // The connection ends here; nothing behind it counts.
                    break;
                }
            }
        }
    }
});
