//! Policies: who may connect to an environment, and register as it.

use farstep_protocol::relay::is_fingerprint;

use super::{Answer, Control, ControlError, Who, wire};
use crate::store::Policy;

/// Entries of each list of a policy.
const ENTRIES_MAX: usize = 1000;

/// A name in a policy, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 512;

impl Control {
    /// Who may connect and register.
    pub async fn get_policy(
        &self,
        who: &Who,
        request: wire::EnvironmentRef,
    ) -> Answer<wire::Policy> {
        let environment = who.environment(&request.tenant, &request.environment_id)?;
        Ok(self.store.policy(&environment).await?.into())
    }

    /// Replaces it. An environment may have one before it is registered.
    pub async fn set_policy(
        &self,
        who: &Who,
        request: wire::SetPolicyRequest,
    ) -> Answer<wire::Policy> {
        let environment = who.environment(&request.tenant, &request.environment_id)?;
        let policy = request.policy.unwrap_or_default();
        let policy = checked(policy)?;
        self.store.set_policy(&environment, &policy).await?;
        self.changed();
        tracing::info!(env = %environment, "the policy is replaced");
        Ok(policy.into())
    }
}

fn checked(policy: wire::Policy) -> Result<Policy, ControlError> {
    let lists = [
        &policy.harness_keys,
        &policy.executor_keys,
        &policy.credentials,
    ];
    if lists.iter().any(|list| list.len() > ENTRIES_MAX) {
        return Err(ControlError::Invalid(format!(
            "a list of a policy has at most {ENTRIES_MAX} entries"
        )));
    }
    let mut keys = policy.harness_keys.iter().chain(&policy.executor_keys);
    if let Some(wrong) = keys.find(|key| !is_fingerprint(key)) {
        let wrong: String = wrong.chars().take(64).collect();
        return Err(ControlError::Invalid(format!(
            "{wrong:?} is no fingerprint: it begins with fst1: and has 26 characters behind it"
        )));
    }
    let is_long = |name: &String| name.is_empty() || name.len() > NAME_BYTES_MAX;
    if policy.credentials.iter().any(is_long) {
        return Err(ControlError::Invalid(
            "a credential of a policy is a key id, or `jwt:ISSUER:SUBJECT`".to_owned(),
        ));
    }
    Ok(Policy {
        harness_keys: policy.harness_keys,
        executor_keys: policy.executor_keys,
        credentials: policy.credentials,
        streams_max: policy.streams_max,
    })
}

/// A policy from JSON, which must be an object: whatever else could be read as one lets everybody in.
pub(crate) fn policy_from(json: &[u8]) -> Result<wire::Policy, serde_json::Error> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(json)?;
    serde_json::from_value(object.into())
}

impl From<Policy> for wire::Policy {
    fn from(policy: Policy) -> wire::Policy {
        wire::Policy {
            harness_keys: policy.harness_keys,
            executor_keys: policy.executor_keys,
            credentials: policy.credentials,
            streams_max: policy.streams_max,
        }
    }
}
