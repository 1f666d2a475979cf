//! Answers as people read them, one line each.

use super::generated::{Environment, Policy, Token};
use crate::node::now;
use crate::store::EnvironmentState;

const HOUR_SECONDS: i64 = 60 * 60;

/// An environment in words.
pub(crate) fn environment(environment: &Environment) -> String {
    let now = now();
    let ago = |at: i64| ago(now - at);
    let shown = match (environment.online, environment.since) {
        (true, since) => {
            let since = since.map_or_else(String::new, |at| format!(" for {}", ago(at)));
            let streams = environment.streams;
            format!("online{since}, {streams} streams")
        }
        (false, None) => "registered, never connected".to_owned(),
        (false, Some(since)) => {
            let closed = environment.last_closed.as_ref();
            let closed = closed.map(|closed| (&*closed.reason, &*closed.by, closed.code));
            away(&ago(since), closed)
        }
    };
    let refused = environment.last_rejected.as_ref();
    let refused = refused.map(|rejected| refused_last(&ago(rejected.at), &rejected.reason));
    let Environment {
        tenant,
        environment_id,
        executor_key,
        ..
    } = environment;
    let refused = refused.unwrap_or_default();
    format!("{tenant}/{environment_id}  {executor_key}  {shown}{refused}\n")
}

/// Why an environment cannot be reached, for whoever may connect to it.
pub(crate) fn absence(state: Option<&EnvironmentState>) -> String {
    let now = now();
    let ago = |at: i64| ago(now - at);
    let shown = match state.map(|state| (state.since(), &state.closed)) {
        None => "it has not registered yet".to_owned(),
        Some((None, _)) => "it registered and has not connected yet".to_owned(),
        Some((Some(since), closed)) => {
            let closed = closed.as_ref();
            let closed = closed.map(|closed| (&*closed.reason, &*closed.by, closed.code.into()));
            away(&ago(since), closed)
        }
    };
    let refused = state.and_then(|state| state.rejected.as_ref());
    let refused = refused.map(|(at, reason)| refused_last(&ago(*at), reason));
    format!("{shown}{}", refused.unwrap_or_default())
}

/// With the reason, who closed it, and the code.
fn away(ago: &str, closed: Option<(&str, &str, u32)>) -> String {
    match closed {
        Some((reason, by, code)) => {
            format!("away for {ago}: {reason} (closed by the {by}, code {code})")
        }
        None => format!("away for {ago}: the node it was at is gone"),
    }
}

fn refused_last(ago: &str, reason: &str) -> String {
    format!("; last refused {ago} ago: {reason}")
}

/// A credential in words.
pub(crate) fn token(token: &Token) -> String {
    let state = match (token.revoked_at, token.in_force) {
        (Some(_), _) => "revoked",
        (None, true) => "in force",
        (None, false) => "expired",
    };
    let Token {
        kid,
        tenant,
        kind,
        scope,
        subject,
        ..
    } = token;
    let origin = match subject == kid || subject.is_empty() {
        true => String::new(),
        false => format!(", made of {subject}"),
    };
    let unused = match (token.in_force, token.used_at) {
        (true, None) => ", never used",
        _ => "",
    };
    format!("{kid}  {kind:8}  {tenant}/{scope}  {state}{unused}{origin}\n")
}

/// A policy in words.
pub(crate) fn policy(policy: &Policy) -> String {
    let list = |list: &[String], all: &str| match list.is_empty() {
        true => all.to_owned(),
        false => list.join(" "),
    };
    let streams = policy.streams_max;
    format!(
        "orchestrators: {}\nexecutors: {}\ncredentials: {}\nstreams: {}\n",
        list(&policy.harness_keys, "every key"),
        list(&policy.executor_keys, "every key"),
        list(&policy.credentials, "every one for the environment"),
        streams.map_or_else(
            || "as many as the node allows".to_owned(),
            |max| max.to_string()
        ),
    )
}

fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / HOUR_SECONDS),
    }
}
