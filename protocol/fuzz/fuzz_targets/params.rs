//! Every decoder of params and results, chosen by the first byte. What was read is written and
//! read again where the type can be written, and must be the same.

#![no_main]

use farstep_protocol::method::{environment, fs, initialize, process, sandbox};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

type Check = fn(&str);

/// A type that borrows from its text says the same of a text with every slash escaped, which no
/// borrowing survives.
macro_rules! borrowed {
    ($type:ty) => {
        |text| {
            let Ok(value) = serde_json::from_str::<$type>(text) else {
                return;
            };
            let shown = format!("{value:?}");
            let escaped = text.replace('/', "\\/");
            let again = serde_json::from_str::<$type>(&escaped).map(|again| format!("{again:?}"));
            assert!(
                text.contains('\\') || again.is_ok_and(|again| again == shown),
                "{text}"
            );
        }
    };
}

const CHECKS: &[Check] = &[
    round_trip::<initialize::InitializeParams>,
    round_trip::<initialize::InitializeResult>,
    round_trip::<environment::EnvironmentInfo>,
    round_trip::<environment::Status>,
    // Some of its members are kept as trees, whose numbers do not survive exactly.
    |text| drop(serde_json::from_str::<process::StartParams>(text)),
    round_trip::<process::StartResult>,
    borrowed!(process::OutputParams<'_>),
    borrowed!(process::ReadResult<'_>),
    borrowed!(process::WriteParams<'_>),
    borrowed!(process::ExitedParams<'_>),
    borrowed!(process::ClosedParams<'_>),
    borrowed!(process::ReadParams<'_>),
    borrowed!(process::SignalParams<'_>),
    borrowed!(process::TerminateParams<'_>),
    round_trip::<process::WriteResult>,
    round_trip::<process::TerminateResult>,
    round_trip::<process::EnvPolicy>,
    |text| {
        drop(
            serde_json::from_str::<sandbox::SandboxContext>(text)
                .map(|context| context.restricts()),
        )
    },
    round_trip::<fs::PathParams>,
    round_trip::<fs::CreateDirectoryParams>,
    round_trip::<fs::Metadata>,
    round_trip::<fs::CanonicalizeResult>,
    round_trip::<fs::ReadDirectoryResult>,
    round_trip::<fs::WalkParams>,
    round_trip::<fs::WalkResult>,
    round_trip::<fs::RemoveParams>,
    round_trip::<fs::CopyParams>,
    round_trip::<fs::OpenParams>,
    borrowed!(fs::ReadFileResult<'_>),
    borrowed!(fs::WriteFileParams<'_>),
    borrowed!(fs::ReadBlockParams<'_>),
    borrowed!(fs::WriteBlockParams<'_>),
    round_trip::<fs::Handle>,
    round_trip::<fs::DigestParams>,
    round_trip::<fs::DigestResult>,
    round_trip::<fs::RenameParams>,
    round_trip::<fs::SetModeParams>,
    round_trip::<fs::SetTimesParams>,
    borrowed!(fs::ReadBlockResult<'_>),
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    CHECKS[usize::from(*choice) % CHECKS.len()](text);
});

fn round_trip<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(value) = serde_json::from_str::<T>(text) {
        let written = serde_json::to_string(&value).expect("what was read can be written");
        match serde_json::from_str::<T>(&written) {
            Ok(again) => assert_eq!(again, value, "{written}"),
            Err(error) => panic!("{written}: {error}"),
        }
    }
}
