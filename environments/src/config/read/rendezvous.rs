//! `rendezvous` of `[environments.farstep]` and its companions: an executor without an open port.

use farstep_protocol::relay::attest::TenantPublic;
use farstep_protocol::relay::is_fingerprint;

use super::super::{Kind, RendezvousExtension};
use super::endpoint::{Endpoint, UrlProblem};
use super::extension::Scene;
use super::node::{Item, Table, quoted};
use super::sink::Sink;

/// The keys of an entry's `farstep` table that only count beside `rendezvous`.
const COMPANIONS: [&str; 5] = [
    "environment",
    "executor_key",
    "attestation_key",
    "identity_file",
    "padding",
];

const URL_HELP: &str = "write the rendezvous' https:// URL, or its http:// URL on this machine";

/// What makes an entry one that is reached through a rendezvous.
pub(super) fn key<'a, 'i>(entry: &Table<'a, 'i>, sink: &mut Sink<'_>) -> Option<Item<'a, 'i>> {
    let farstep = entry.get("farstep").filter(Item::is_table)?;
    farstep.table(sink)?.get("rendezvous")
}

/// The base URL, and what it says as a place where credentials go.
pub(super) fn base(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<(String, Endpoint)> {
    let text = item.filled(sink)?.trim_end_matches('/');
    let subject = sink.subject(&item.path);
    match place(text) {
        Ok(_) if text.contains(['?', '#', '@']) => {
            let message = format!("{subject} has more than a host and a path");
            sink.report(item.bad(Kind::UrlInvalid, message).help(URL_HELP));
            None
        }
        Ok(endpoint) => Some((text.to_owned(), endpoint)),
        Err(UrlProblem::Scheme) => {
            let message = format!("{subject} must start with https:// or http://");
            sink.report(item.bad(Kind::UrlScheme, message).help(URL_HELP));
            None
        }
        Err(UrlProblem::Invalid(cause)) => {
            let message = format!("{subject} is no URL: {cause}");
            sink.report(item.bad(Kind::UrlInvalid, message).help(URL_HELP));
            None
        }
    }
}

/// What a base URL says. The rules for hosts and ports are those of the websocket behind it.
pub(super) fn place(base: &str) -> Result<Endpoint, UrlProblem> {
    let rest = base.strip_prefix("http").ok_or(UrlProblem::Scheme)?;
    Endpoint::parse(&format!("ws{rest}"))
}

/// What else the `farstep` table says about it.
pub(super) fn extension(
    table: &Table<'_, '_>,
    scene: &Scene<'_>,
    sink: &mut Sink<'_>,
) -> Option<RendezvousExtension> {
    let Some(rendezvous) = table.get("rendezvous") else {
        for item in COMPANIONS.iter().filter_map(|name| table.get(name)) {
            let message = format!("{} needs rendezvous", sink.subject(&item.path));
            sink.report(
                item.misplaced(Kind::MissingField, message)
                    .help("remove it: it only counts beside rendezvous"),
            );
        }
        return None;
    };
    if !scene.has_transport {
        let message = format!("{} cannot be laid over", sink.subject(&rendezvous.path));
        sink.report(
            rendezvous
                .misplaced(Kind::TransportConflict, message)
                .help("write it into environments.toml: it says how the executor is reached"),
        );
        return None;
    }
    let environment = table
        .get("environment")
        .and_then(|item| item.filled(sink).map(str::to_owned));
    let executor_key = table.get("executor_key").and_then(|item| {
        let text = item.filled(sink)?;
        if !is_fingerprint(text) {
            let message = format!("{} is no fingerprint of an executor", quoted(text));
            sink.report(item.bad(Kind::ValueInvalid, message).help(
                "it begins with fst1: and has 26 characters behind it; the executor prints it",
            ));
        }
        Some(text.to_owned())
    });
    let attestation_key = table.get("attestation_key").and_then(|item| {
        let text = item.filled(sink)?;
        let key = TenantPublic::parse(text);
        if let Err(error) = &key {
            let message = format!("{} is no tenant's key", quoted(text));
            sink.report(
                item.bad(Kind::ValueInvalid, message)
                    .help(error.to_string()),
            );
        }
        key.ok()
    });
    let identity_file = table
        .get("identity_file")
        .and_then(|item| item.path(sink, scene.config_dir));
    let url = rendezvous.filled(sink)?.trim_end_matches('/').to_owned();
    Some(RendezvousExtension {
        url,
        environment,
        executor_key,
        attestation_key,
        identity_file,
        padding: table.get("padding").and_then(|item| item.boolean(sink)),
    })
}
