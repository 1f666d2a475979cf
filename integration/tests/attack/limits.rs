//! The bounds of `security` section 5 at their edges, and that a caller is told of each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, Wire, script};
use farstep_protocol::frame;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{MIB, is_served};

/// A bound: its name, its value by default, and the test that shows what becomes of whoever
/// reaches it.
type Bound = (&'static str, u64, &'static str, &'static str);

const ATTACK: &str = "integration/tests/attack";
const KIB: u64 = 1024;

#[rustfmt::skip]
const BOUNDS: [Bound; 67] = [
    ("messageBytes", 64 * MIB, "attack/messages.rs", "a_message_of_64_mib_is_served_and_a_larger_one_ends_its_connection_only"),
    ("frameBytes", 16 * MIB, "attack/messages.rs", "a_message_of_64_mib_is_served_and_a_larger_one_ends_its_connection_only"),
    ("messageBytesInAll", 256 * MIB, "attack/memory.rs", "thirty_parked_messages_stay_within_the_budget_and_the_rest_is_refused"),
    ("messageDepth", 127, "attack/messages.rs", "nesting_and_the_number_of_values_are_bounded_to_the_one"),
    ("messageValues", 262_144, "attack/messages.rs", "nesting_and_the_number_of_values_are_bounded_to_the_one"),
    ("requestIdBytes", 1024, "attack/messages.rs", "an_id_is_echoed_with_its_type_and_only_when_it_is_short"),
    ("requestsInFlight", 1024, "attack/limits.rs", "beyond_1024_requests_in_flight_a_connection_is_not_read_and_then_goes_on"),
    ("callsAtOnce", 8, "executor/src/pool.rs", "work_waits_for_a_place_and_a_panic_is_reported"),
    ("blockBytesInFlight", 32 * MIB, "attack/memory.rs", "blocks_nobody_reads_are_not_made"),
    ("answersQueued", 1024, "executor/src/connection/outbox.rs", "a_peer_that_does_not_read_is_not_read_from"),
    ("answerBytesQueued", 8 * MIB, "executor/src/connection/outbox.rs", "a_peer_that_does_not_read_is_not_read_from"),
    ("refusalBytes", 16 * KIB, "attack/messages.rs", "unknown_methods_and_members_do_no_harm_and_nothing_long_is_sent_back"),
    ("processIdBytes", 256, "attack/limits.rs", "ids_have_a_longest_length"),
    ("writeIdBytes", 128, "attack/limits.rs", "ids_have_a_longest_length"),
    ("shellSnapshotScopeBytes", 256, "attack/limits.rs", "ids_have_a_longest_length"),
    ("processesPerSession", 256, "attack/limits.rs", "handles_and_processes_are_counted"),
    ("processes", 2048, "executor/src/process/tests/table.rs", "running_processes_are_limited_per_session_and_in_all"),
    ("argumentsAndVariables", 65_536, "executor/src/os/unix/spawn/tests.rs", "each_failure_names_the_program_the_step_and_the_cause"),
    ("unreadStdinBytes", 4 * MIB, "executor/src/process/tests/input.rs", "writes_beyond_the_limit_wait_until_there_is_room"),
    ("rememberedWrites", 4096, "attack/limits.rs", "of_the_writes_of_a_process_the_last_4096_are_remembered"),
    ("rememberedProcesses", 4096, "executor/src/process/tests/table.rs", "too_many_closed_processes_forget_the_oldest_that_was_delivered"),
    ("rememberedSeconds", 80, "executor/src/process/tests/table.rs", "a_closed_process_is_remembered_for_a_while_and_then_forgotten"),
    ("retainedBytes", 16 * MIB, "attack/limits.rs", "of_output_that_was_delivered_so_much_is_kept_as_was_asked_for"),
    ("retainedChunks", 50_000, "attack/limits.rs", "of_output_that_was_delivered_so_much_is_kept_as_was_asked_for"),
    ("retainedTailBytes", MIB, "executor/src/process/tests/retention.rs", "the_oldest_finished_process_gives_up_its_output_first_and_its_tail_last"),
    ("retainedBytesInAll", 256 * MIB, "attack/memory.rs", "output_that_nobody_reads_is_kept_once_for_all_and_the_rest_waits"),
    ("backlogBytes", MIB, "executor/src/process/tests/output.rs", "a_connection_that_does_not_take_pauses_the_process_and_loses_nothing"),
    ("catchUpSeconds", 30, "executor/src/process/tests/output.rs", "pins_can_be_given_up_for_a_client_that_never_reads"),
    ("readFileBytes", 512 * MIB, "executor/src/fs/read/tests.rs", "the_limit_holds_for_claimed_and_for_real_sizes"),
    ("fileHandles", 128, "attack/limits.rs", "handles_and_processes_are_counted"),
    ("fileHandleIdBytes", 32, "attack/limits.rs", "ids_have_a_longest_length"),
    ("fileBlockBytes", MIB, "executor/src/fs/handles/tests.rs", "blocks_have_limits_that_leave_the_handle_usable"),
    ("readDirectoryEntries", 50_000, "executor/src/fs/list/tests.rs", "a_directory_over_the_limit_is_refused_whole"),
    ("walkDepth", 64, "executor/src/fs/walk/tests.rs", "limits_are_validated"),
    ("walkDirectories", 10_000, "executor/src/fs/walk/tests.rs", "limits_are_validated"),
    ("walkEntries", 50_000, "executor/src/fs/walk/tests.rs", "limits_are_validated"),
    ("walkBytes", 4 * MIB, "executor/src/fs/walk/tests.rs", "a_reply_is_cut_before_it_grows_too_large"),
    ("treeEntries", 1_000_000, "executor/src/fs/copy/tests.rs", "the_bounds_end_a_copy"),
    ("treeSeconds", 600, "executor/src/fs/copy/tests.rs", "the_bounds_end_a_copy"),
    ("watchedPaths", 1024, "attack/limits.rs", "watches_and_streams_are_counted"),
    ("httpBodyBytes", 16 * MIB, "attack/http.rs", "a_body_too_large_to_answer_whole_is_refused_and_not_collected"),
    ("httpRedirects", 5, "executor/src/http/send/tests.rs", "redirects_are_counted_and_lead_nowhere_forbidden"),
    ("httpHeadBytes", 64 * KIB, "executor/src/http/send/tests.rs", "a_head_that_is_too_large_is_an_error"),
    ("httpRequestsAtOnce", 16, "attack/http.rs", "whole_answers_nobody_reads_are_not_collected_without_end"),
    ("httpStreams", 64, "attack/limits.rs", "watches_and_streams_are_counted"),
    ("httpDeltaBytes", 256 * KIB, "attack/http.rs", "a_streamed_body_waits_for_its_reader_and_follows_its_head"),
    ("httpRequestIdBytes", 256, "attack/limits.rs", "ids_have_a_longest_length"),
    ("httpSeconds", 300, "executor/src/http/prepare.rs", "there_is_always_a_deadline"),
    ("detachedSeconds", 80, "executor/src/session.rs", "a_session_nobody_comes_back_to_expires_once"),
    ("detachedSessions", 32, "executor/src/session.rs", "an_owner_who_leaves_too_many_behind_loses_its_own_oldest"),
    ("sessionRetentionSeconds", 604_800, "integration/tests/it/jobs.rs", "a_job_is_kept_for_as_long_as_was_asked_and_allowed"),
    ("durableSessions", 256, "executor/src/session/durable.rs", "the_finished_make_room_and_the_unfinished_do_not"),
    ("connections", 4096, "executor/src/listen/tests.rs", "beyond_so_many_connections_an_upgrade_is_put_off_and_nobody_is_hung_up_on"),
    ("unknownConnections", 256, "protocol/transport/src/listen/waiting.rs", "whoever_has_waited_longest_makes_room"),
    ("pingSeconds", 30, "protocol/transport/src/websocket/served/tests.rs", "a_silent_peer_is_given_up_after_two_pings"),
    ("handshakeSeconds", 10, "executor/src/listen/tests.rs", "a_peer_that_never_asks_is_hung_up_on"),
    ("initializeSeconds", 10, "executor/src/connection/tests.rs", "who_does_not_say_initialize_in_time_is_not_waited_for"),
    ("requestHeadBytes", 16 * KIB, "executor/src/listen/tests.rs", "headers_are_bounded_in_number_and_in_bytes"),
    ("requestHeaders", 100, "executor/src/listen/tests.rs", "headers_are_bounded_in_number_and_in_bytes"),
    ("failedAuthentications", 10, "executor/src/listen/tests.rs", "who_guesses_too_often_is_not_heard_for_a_while"),
    ("failedAuthenticationsInAll", 100, "protocol/transport/src/listen/failures.rs", "failures_of_many_addresses_are_too_many_together"),
    ("drainSeconds", 5, "executor/src/connection/tests.rs", "a_stop_waits_no_longer_than_its_grace"),
    ("auditBytes", 100 * MIB, "executor/src/audit/chain.rs", "old_files_make_room_and_the_chain_goes_on_across_them"),
    ("auditRecordsWaiting", 8192, "executor/src/audit/tests.rs", "what_finds_no_room_is_counted_and_the_file_says_so"),
    ("auditBytesWaiting", 4 * MIB, "executor/src/audit/tests.rs", "what_waits_is_bounded_in_bytes_too"),
    ("logLineBytes", 8 * KIB, "executor/src/logs/line.rs", "lines_and_their_fields_are_bounded"),
    ("logFieldBytes", KIB, "executor/src/shown.rs", "a_long_text_ends_in_its_kilobyte_and_says_so"),
];

#[tokio::test]
async fn every_bound_is_announced_documented_and_shown_and_nothing_else_is() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let info = wire.done("environment/info", Value::Null).await?;
    let announced: BTreeMap<String, u64> = serde_json::from_value(info["farstepLimits"].clone())?;
    let known = BOUNDS.map(|(name, value, ..)| (name.to_owned(), value));
    assert_eq!(announced, BTreeMap::from(known));

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let root = root.context("no repository")?;
    for (name, _, file, test) in BOUNDS {
        let file = file.replace("attack/", &format!("{ATTACK}/"));
        let source = std::fs::read_to_string(root.join(&file)).context(file.clone())?;
        let start = source.find(&format!("fn {test}(")).unwrap_or_default();
        let before = source.get(..start).unwrap_or_default().trim_end();
        let attribute = before.trim_end_matches("async").trim_end();
        ensure!(attribute.ends_with(']'), "{name}: no test {test} in {file}");
    }

    let page = std::fs::read_to_string(root.join("docs/protocol.md"))?;
    let (_, limits) = page.split_once("\n## Limits\n").context("no limits")?;
    let rows = limits.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|names| names.split('`').skip(1).step_by(2))
        .collect();
    assert_eq!(documented, BTreeSet::from(BOUNDS.map(|(name, ..)| name)));
    Ok(())
}

#[tokio::test]
async fn ids_have_a_longest_length() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let longest = "p".repeat(256);
    wire.done("process/start", script(&longest, "exec cat"))
        .await?;
    let longer = script(&"p".repeat(257), "exec cat");
    ensure!(wire.refused("process/start", longer).await? == -32602);
    let write = |id: usize| json!({"processId": longest, "chunk": "", "writeId": "w".repeat(id)});
    wire.done("process/write", write(128)).await?;
    ensure!(wire.refused("process/write", write(129)).await? == -32602);
    ensure!(wire.refused("process/write", write(0)).await? == -32602);
    let open = |id: usize| json!({"path": "file:///dev/null/../../etc/passwd", "handleId": "h".repeat(id), "mode": "read"});
    wire.done("fs/open", open(32)).await?;
    ensure!(wire.refused("fs/open", open(33)).await? == -32600);
    let get = |id: usize| json!({"method": "GET", "url": "http://127.0.0.1:1", "requestId": "r".repeat(id)});
    // Nobody listens there.
    ensure!(wire.refused("http/request", get(256)).await? == -32603);
    ensure!(wire.refused("http/request", get(257)).await? == -32602);
    let snapshot = |id: &str, scope: usize| {
        let mut start = script(id, "exec true");
        let shell = json!({"name": "sh", "path": "/bin/sh"});
        start["shellSnapshot"] = json!({"scopeId": "s".repeat(scope), "shell": shell});
        start
    };
    wire.done("process/start", snapshot("a", 256)).await?;
    ensure!(wire.refused("process/start", snapshot("b", 257)).await? == -32602);
    Ok(())
}

#[tokio::test]
async fn watches_and_streams_are_counted() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let watch = |paths: usize| {
        let path = |at: usize| format!("file://{}/missing/{at}", lab.path().display());
        json!({"watchId": paths, "missing": (0..paths).map(path).collect::<Vec<_>>(), "present": null})
    };
    let watching = wire.done("fs/watchMissing", watch(1024)).await?;
    ensure!(watching == json!({"watching": true}));
    ensure!(wire.refused("fs/watchMissing", watch(1025)).await? == -32602);

    let url = silent_server().await?;
    let get = |id: usize| json!({"method": "GET", "url": url, "requestId": id.to_string(), "streamResponse": true});
    for id in 0..64 {
        wire.done("http/request", get(id)).await?;
    }
    ensure!(wire.refused("http/request", get(64)).await? == -32001);
    is_served(&mut wire).await
}

/// Answers with a head and then says nothing.
async fn silent_server() -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(socket.read_u8().await?);
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
            socket.write_all(head.as_bytes()).await?;
            held.push(socket);
        }
        std::io::Result::Ok(())
    });
    Ok(url)
}

#[tokio::test]
async fn of_the_writes_of_a_process_the_last_4096_are_remembered() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let mut start = script("p", "exec cat");
    start["pipeStdin"] = json!(true);
    wire.done("process/start", start).await?;
    let write = |id: usize, chunk: &str| json!({"processId": "p", "chunk": chunk, "writeId": id.to_string()});
    wire.done("process/write", write(0, "YQ==")).await?;
    for id in 1..=4095 {
        wire.post("process/write", write(id, "")).await?;
    }
    // Known still, so it is not written again; behind one more it is.
    wire.done("process/write", write(0, "Yg==")).await?;
    wire.done("process/write", write(4096, "")).await?;
    wire.done("process/write", write(0, "Yw==")).await?;
    wire.done("process/write", write(4097, "Cg==")).await?;
    let mut said = String::new();
    while !said.ends_with('\n') {
        let message = wire.notification().await?.context("the connection ended")?;
        said.push_str(&String::from_utf8(decoded(&message["params"]["chunk"])?)?);
    }
    ensure!(said == "ac\n", "{said:?}");
    Ok(())
}

#[tokio::test]
async fn of_output_that_was_delivered_so_much_is_kept_as_was_asked_for() -> Result<()> {
    for (flags, wanted) in [
        (["--retain-bytes", "65536"], "by bytes"),
        (["--retain-chunks", "100"], "by chunks"),
    ] {
        let lab = Lab::new()?;
        let executor = lab.executor_with("far", &flags).await?;
        let (mut wire, _) = Wire::open(&executor.url).await?;
        // One notification each, because somebody waits for every line.
        let mut start = script("p", "while read line; do echo $line; done");
        start["pipeStdin"] = json!(true);
        wire.done("process/start", start).await?;
        let line = "x".repeat(999);
        let mut chunk = String::new();
        frame::write_base64(&mut chunk, format!("{line}\n").as_bytes());
        for id in 1..=200 {
            let write = json!({"processId": "p", "chunk": chunk, "writeId": id.to_string()});
            wire.done("process/write", write).await?;
            wire.notification().await?.context("the connection ended")?;
        }
        let read = json!({"processId": "p", "afterSeq": 0});
        let page = wire.done("process/read", read).await?;
        let chunks = page["chunks"].as_array().context("no chunks")?;
        let bytes = chunks.len() * 1000;
        match wanted {
            "by bytes" => ensure!((65_536..=66_536).contains(&bytes), "{bytes} bytes"),
            _ => ensure!(chunks.len() == 100, "{} chunks", chunks.len()),
        }
        let first = chunks.first().context("nothing")?["seq"].as_u64();
        ensure!(first == Some(201 - chunks.len() as u64), "{first:?}");
    }
    Ok(())
}

fn decoded(chunk: &Value) -> Result<Vec<u8>> {
    let chunk = chunk.as_str().context("no chunk")?;
    frame::read_base64(chunk).context("no base64")
}

#[tokio::test]
async fn handles_and_processes_are_counted() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let open = |id: usize| json!({"path": "file:///etc/passwd", "handleId": id.to_string(), "mode": "read"});
    for id in 0..128 {
        wire.done("fs/open", open(id)).await?;
    }
    ensure!(wire.refused("fs/open", open(128)).await? == -32600);
    wire.done("fs/close", json!({"handleId": "5"})).await?;
    wire.done("fs/open", open(128)).await?;

    let start = |id: usize| script(&id.to_string(), "exec sleep 1000");
    let mut ids = Vec::new();
    for id in 0..257 {
        ids.push(wire.post("process/start", start(id)).await?);
    }
    let mut refused = 0;
    for id in ids {
        refused += usize::from(wire.reply(id).await?.is_err());
    }
    ensure!(refused == 1, "{refused} of 257");
    other.done("process/start", start(0)).await?;
    is_served(&mut wire).await
}

#[tokio::test]
async fn beyond_1024_requests_in_flight_a_connection_is_not_read_and_then_goes_on() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    wire.done(
        "process/start",
        script("p", "sleep 2; echo news; exec sleep 1000"),
    )
    .await?;
    let poll = json!({"processId": "p", "waitMs": 600_000});
    let mut polls = Vec::new();
    for _ in 0..3000 {
        polls.push(wire.post("process/read", poll.clone()).await?);
    }
    is_served(&mut other).await?;
    // Those that were read wait for the news; those that were not are read then.
    for id in polls {
        let page = wire.reply(id).await?;
        let chunk = page
            .as_ref()
            .ok()
            .and_then(|page| page.pointer("/chunks/0/chunk"));
        ensure!(chunk == Some(&json!("bmV3cwo=")), "{page:?}");
    }
    is_served(&mut wire).await
}
