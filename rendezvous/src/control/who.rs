//! Whose things a caller may see and change.

use farstep_protocol::relay::registry::is_environment_id;

use super::{ControlError, DEFAULT_TENANT};
use crate::store::{Credential, CredentialKind, EnvironmentKey, OPERATOR, in_scope};

/// Who asks, which somebody else has made sure of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its tenant; `None` is the operator.
    pub tenant: Option<String>,
    /// Which environments it may see.
    pub scope: String,
}

impl Who {
    /// Whoever has the store in hands.
    pub fn operator() -> Who {
        Who {
            tenant: None,
            scope: "*".to_owned(),
        }
    }

    /// Whoever shows that credential; `None` when it is for something else.
    pub(crate) fn of(credential: &Credential) -> Option<Who> {
        (credential.kind == CredentialKind::Admin).then(|| Who {
            tenant: Some(credential.tenant.clone()).filter(|tenant| tenant != OPERATOR),
            scope: credential.scope.clone(),
        })
    }

    /// Whose things are meant when `wanted` is said.
    pub(super) fn tenant(&self, wanted: &str) -> Result<String, ControlError> {
        match (&self.tenant, wanted) {
            (Some(own), wanted) if wanted.is_empty() || wanted == own => Ok(own.clone()),
            (Some(_), _) => Err(ControlError::Unknown("tenant")),
            (None, "") => Ok(DEFAULT_TENANT.to_owned()),
            (None, wanted) if is_environment_id(wanted) => Ok(wanted.to_owned()),
            (None, wanted) => Err(ControlError::Invalid(format!(
                "{wanted:?} cannot be a tenant: use ASCII letters, digits, `-` and `_`"
            ))),
        }
    }

    /// The tenant to list; `None` is all of them.
    pub(super) fn listed(&self, wanted: &str) -> Result<Option<String>, ControlError> {
        match (&self.tenant, wanted) {
            (None, "") => Ok(None),
            _ => self.tenant(wanted).map(Some),
        }
    }

    pub(crate) fn environment(
        &self,
        tenant: &str,
        id: &str,
    ) -> Result<EnvironmentKey, ControlError> {
        let tenant = self.tenant(tenant)?;
        match is_environment_id(id) && in_scope(&self.scope, id) {
            true => Ok(EnvironmentKey::new(&tenant, id)),
            false => Err(ControlError::Unknown("environment")),
        }
    }

    /// A scope that lies within its own.
    pub(super) fn scope(&self, wanted: &str) -> Result<String, ControlError> {
        let id = wanted.strip_suffix('*').unwrap_or(wanted);
        if !(wanted == "*" || is_environment_id(id)) {
            return Err(ControlError::Invalid(format!(
                "{wanted:?} cannot be the id of an environment: use ASCII letters, digits, `-` and \
                 `_`, and a `*` at the end for every one that begins so"
            )));
        }
        match self.scope == "*" || in_scope(&self.scope, wanted) {
            true => Ok(wanted.to_owned()),
            false => Err(ControlError::Unknown("environment")),
        }
    }
}
