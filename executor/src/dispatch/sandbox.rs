//! Requests to be confined. There is no sandbox yet, so whatever would restrict is refused: a
//! command must never run with more rights than its caller meant it to have.

use farstep_protocol::method::process::StartParams;
use farstep_protocol::method::sandbox::SandboxContext;
use farstep_protocol::rpc::RpcError;
use serde_json::Value;

use crate::errors;

/// Lets contexts pass that take nothing away.
pub(super) fn unconfined(context: Option<&SandboxContext>) -> Result<(), RpcError> {
    match context {
        Some(context) if context.restricts() => Err(errors::unenforceable("sandbox")),
        _ => Ok(()),
    }
}

/// The same for all that a start may ask to be confined by.
pub(super) fn unconfined_start(params: &StartParams) -> Result<(), RpcError> {
    unconfined(params.sandbox.as_ref())?;
    let asks = [
        ("enforceManagedNetwork", params.enforce_managed_network),
        ("managedNetwork", is_given(params.managed_network.as_ref())),
        ("networkProxy", is_given(params.network_proxy.as_ref())),
        (
            "credentialProviders",
            is_given(params.credential_providers.as_ref()),
        ),
    ];
    match asks.iter().find(|(_, asked)| *asked) {
        Some((member, _)) => Err(errors::unenforceable(member)),
        None => Ok(()),
    }
}

/// Whether a member says anything; clients spell out the empty ones.
fn is_given(member: Option<&Value>) -> bool {
    member.is_some_and(|value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(member: &str, value: &str) -> Result<(), RpcError> {
        let text = format!(
            r#"{{"processId":"p","argv":["true"],"cwd":"file:///","env":{{}},"tty":false,"{member}":{value}}}"#
        );
        unconfined_start(&serde_json::from_str(&text).unwrap())
    }

    fn context(permissions: &str) -> String {
        format!(r#"{{"permissions":{permissions},"windowsSandboxLevel":"disabled"}}"#)
    }

    #[test]
    fn whatever_restricts_is_refused_with_the_member_that_does() {
        let managed =
            r#"{"type":"managed","network":"enabled","file_system":{"type":"unrestricted"}}"#;
        for (member, value) in [
            ("sandbox", context(managed).as_str()),
            (
                "sandbox",
                context(r#"{"type":"external","network":"restricted"}"#).as_str(),
            ),
            ("enforceManagedNetwork", "true"),
            (
                "managedNetwork",
                r#"{"loopbackPorts":[],"allowLocalBinding":false}"#,
            ),
            ("networkProxy", r#"{"proxy":{"enabled":true}}"#),
            ("credentialProviders", r#"[{"name":"x"}]"#),
        ] {
            assert_eq!(start(member, value), Err(errors::unenforceable(member)));
        }
    }

    #[test]
    fn what_takes_nothing_away_runs() {
        for (member, value) in [
            ("sandbox", "null"),
            ("sandbox", context(r#"{"type":"disabled"}"#).as_str()),
            (
                "sandbox",
                context(r#"{"type":"external","network":"enabled"}"#).as_str(),
            ),
            ("enforceManagedNetwork", "false"),
            ("managedNetwork", "null"),
            ("networkProxy", "null"),
            ("credentialProviders", "[]"),
        ] {
            assert_eq!(start(member, value), Ok(()), "{member} {value}");
        }
    }
}
