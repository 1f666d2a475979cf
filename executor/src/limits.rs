//! Every bound a caller can meet, by the name under which it is announced. The bounds are kept where
//! they hold; what becomes of one that is reached is in `docs/protocol.md`, and the test that shows
//! it in `integration/tests/attack/limits.rs`.

use farstep_protocol::rpc;
use farstep_transport::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};

use crate::cli::Settings;
use crate::{
    attached, audit, connection, dispatch, fs, http, listen, logs, os, pool, process, server,
    session, shown, watch,
};

/// What `environment/info` announces: a name that ends in its unit, and the bound in force.
pub(crate) fn in_force(
    settings: &Settings,
    processes: &process::Settings,
) -> Vec<(&'static str, u64)> {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    vec![
        ("messageBytes", count(MESSAGE_BYTES_MAX)),
        ("frameBytes", count(FRAME_BYTES_MAX)),
        ("messageBytesInAll", count(server::MESSAGE_BYTES_IN_ALL_MAX)),
        ("messageDepth", count(rpc::Limits::default().depth_max)),
        ("messageValues", count(rpc::Limits::default().values_max)),
        ("requestIdBytes", count(rpc::ID_BYTES_MAX)),
        ("requestsInFlight", count(connection::IN_FLIGHT_MAX)),
        (
            "callsAtOnce",
            count(settings.calls_at_once.unwrap_or(pool::CALLS_AT_ONCE)),
        ),
        (
            "blockBytesInFlight",
            count(connection::BLOCK_BYTES_IN_FLIGHT_MAX),
        ),
        ("answersQueued", count(connection::ANSWERS_MAX)),
        ("answerBytesQueued", count(connection::ANSWER_BYTES_MAX)),
        ("refusalBytes", count(dispatch::REFUSAL_BYTES_MAX)),
        ("processIdBytes", count(dispatch::PROCESS_ID_BYTES_MAX)),
        ("writeIdBytes", count(dispatch::WRITE_ID_BYTES_MAX)),
        ("processesPerSession", count(processes.per_session)),
        ("processes", count(processes.in_all)),
        ("argumentsAndVariables", count(os::STRINGS_MAX)),
        ("unreadStdinBytes", count(process::UNREAD_STDIN_MAX)),
        ("rememberedWrites", count(process::REMEMBERED_WRITES)),
        ("rememberedProcesses", count(processes.remembered_max)),
        ("rememberedSeconds", processes.remembered_for.as_secs()),
        ("retainedBytes", count(processes.output.retained_bytes)),
        ("retainedChunks", count(processes.output.retained_chunks)),
        ("retainedTailBytes", count(process::CLOSED_TAIL_BYTES)),
        ("retainedBytesInAll", count(processes.retained_in_all)),
        ("backlogBytes", count(processes.output.backlog_bytes)),
        ("catchUpSeconds", attached::CATCH_UP.as_secs()),
        (
            "shellSnapshotScopeBytes",
            count(dispatch::SNAPSHOT_SCOPE_BYTES_MAX),
        ),
        ("readFileBytes", fs::READ_FILE_BYTES_MAX),
        ("fileHandles", count(fs::HANDLES_MAX)),
        ("fileHandleIdBytes", count(fs::HANDLE_ID_BYTES_MAX)),
        ("fileBlockBytes", count(fs::BLOCK_BYTES_MAX)),
        ("readDirectoryEntries", count(fs::DIRECTORY_ENTRIES_MAX)),
        ("walkDepth", fs::WALK_DEPTH_MAX),
        ("walkDirectories", fs::WALK_DIRECTORIES_MAX),
        ("walkEntries", fs::WALK_ENTRIES_MAX),
        ("walkBytes", count(fs::WALK_BYTES_MAX)),
        ("treeEntries", fs::TREE_ENTRIES_MAX),
        ("treeSeconds", fs::TREE_TIME_MAX.as_secs()),
        ("watchedPaths", count(watch::PATHS_MAX)),
        ("httpBodyBytes", count(http::BODY_BYTES_MAX)),
        ("httpRedirects", count(http::REDIRECTS_MAX)),
        ("httpHeadBytes", count(http::HEAD_BYTES_MAX)),
        ("httpRequestsAtOnce", count(dispatch::REQUESTS_AT_ONCE)),
        ("httpStreams", count(dispatch::STREAMS_MAX)),
        ("httpDeltaBytes", count(dispatch::DELTA_BYTES_MAX)),
        ("httpRequestIdBytes", count(dispatch::REQUEST_ID_BYTES_MAX)),
        ("httpSeconds", http::DEADLINE.as_secs()),
        ("detachedSeconds", settings.detached.as_secs()),
        ("detachedSessions", count(session::DETACHED_OF_OWNER_MAX)),
        (
            "sessionRetentionSeconds",
            settings.session_retention_max().as_secs(),
        ),
        ("durableSessions", count(session::DURABLE_OF_OWNER_MAX)),
        ("connections", count(listen::CONNECTIONS_MAX)),
        ("unknownConnections", count(listen::UNKNOWN_MAX)),
        ("pingSeconds", settings.ping_interval.as_secs()),
        ("handshakeSeconds", listen::HANDSHAKE_DEADLINE.as_secs()),
        ("initializeSeconds", listen::INITIALIZE_DEADLINE.as_secs()),
        ("requestHeadBytes", count(listen::HEAD_BYTES_MAX)),
        ("requestHeaders", count(listen::HEADERS_MAX)),
        (
            "failedAuthentications",
            listen::FAILURES_BY_ADDRESS.get().into(),
        ),
        (
            "failedAuthenticationsInAll",
            listen::FAILURES_IN_ALL.get().into(),
        ),
        ("drainSeconds", settings.drain.as_secs()),
        ("auditBytes", settings.audit.bytes_max),
        ("auditRecordsWaiting", count(audit::WAITING_MAX)),
        ("auditBytesWaiting", count(audit::WAITING_BYTES_MAX)),
        ("logLineBytes", count(logs::LINE_BYTES_MAX)),
        ("logFieldBytes", count(shown::TEXT_BYTES_MAX)),
    ]
}
