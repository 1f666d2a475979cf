//! The names of methods, and under which of them a call is counted.

use farstep_protocol::method::{
    environment, fs as fs_method, http as http_method, process as process_method,
};

/// Methods of the protocol, whether this executor has them or not. What is sent too early for the
/// handshake is told so, and of anything else that there is no such method.
pub(crate) fn is_known(method: &str) -> bool {
    known(method) != UNKNOWN
}

/// Stands for all names a peer makes up.
const UNKNOWN: &str = "unknown";

/// Methods of the protocol that this executor does not have.
const ELSEWHERE: [&str; 3] = [
    "capabilities/discoverV2",
    "capabilityRoots/discoverV1",
    "environmentConfig/read",
];

/// Methods that are answered here.
const HERE: [&str; 28] = [
    environment::INFO,
    environment::STATUS,
    process_method::START,
    process_method::READ,
    process_method::WRITE,
    process_method::SIGNAL,
    process_method::TERMINATE,
    process_method::CLOSE_INPUT,
    process_method::RESIZE,
    fs_method::READ_FILE,
    fs_method::WRITE_FILE,
    fs_method::CREATE_DIRECTORY,
    fs_method::GET_METADATA,
    fs_method::CANONICALIZE,
    fs_method::READ_DIRECTORY,
    fs_method::WALK,
    fs_method::REMOVE,
    fs_method::COPY,
    fs_method::OPEN,
    fs_method::READ_BLOCK,
    fs_method::WRITE_BLOCK,
    fs_method::CLOSE,
    fs_method::DIGEST,
    fs_method::RENAME,
    fs_method::SET_MODE,
    fs_method::SET_TIMES,
    fs_method::WATCH_MISSING,
    http_method::REQUEST,
];

/// Every name a call is counted under.
pub(crate) fn methods() -> impl Iterator<Item = &'static str> {
    HERE.into_iter().chain(ELSEWHERE).chain([UNKNOWN])
}

/// The place of a method's name among [`methods`]; the last is for all that a peer makes up.
pub(super) fn place_of(method: &str) -> usize {
    let mut known = HERE.into_iter().chain(ELSEWHERE);
    let place = known.position(|name| name == method);
    place.unwrap_or(HERE.len() + ELSEWHERE.len())
}

/// A method's name as one that cannot be anything a peer makes up.
pub(super) fn known(method: &str) -> &'static str {
    methods().nth(place_of(method)).unwrap_or(UNKNOWN)
}
