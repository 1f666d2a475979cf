//! `admin`: what an operator or a tenant types, on a node's folder or over gRPC.
//!
//! On a folder a running node sees it within half a second. Both ways go through the same messages,
//! so they print the same.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::attest::AttestError;
use crate::cli::{Admin, Tenant, Token};
use crate::control::generated as wire;
use crate::control::{self, Control, ControlError, Remote, Who};
use crate::node::now;
use crate::store::CredentialKind;

const DAY_SECONDS: i64 = 24 * 60 * 60;
const HOUR_SECONDS: u32 = 60 * 60;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// On the folder.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Over gRPC.
    #[error("the node says: {0}")]
    Status(String),
    /// A file.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not a policy.
    #[error("{} holds no policy: {source}", path.display())]
    Policy {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Not JSON after all.
    #[error("the answer cannot be printed: {0}")]
    Json(#[from] serde_json::Error),
    /// Signing.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// Works on a folder alone.
    #[error("{0} works on a folder: use --data")]
    NoNode(&'static str),
}

/// Where the operations are done.
#[derive(Debug)]
pub enum Reach {
    /// Here.
    Local(Control),
    /// At a node.
    Remote(Remote),
}

macro_rules! ask {
    ($reach:expr, $method:ident, $request:expr) => {
        match $reach {
            Reach::Local(control) => control.$method(&Who::operator(), $request).await?,
            Reach::Remote(remote) => {
                let request = remote.request($request);
                let answered = remote.client.clone().$method(request).await;
                let answered =
                    answered.map_err(|status| AdminError::Status(status.message().to_owned()))?;
                answered.into_inner()
            }
        }
    };
}

impl Admin {
    /// Does it. Returns what to print: JSON if that is wanted, or words.
    pub async fn run(self, reach: &Reach, json: bool) -> Result<String, AdminError> {
        let print = Print { json };
        match self {
            Admin::Enroll {
                tenant,
                environment,
                days,
            } => {
                let request = wire::CreateEnrolmentRequest {
                    tenant: tenant.tenant,
                    scope: environment,
                    lifetime_seconds: days.map(|days| u32::from(days) * 24 * HOUR_SECONDS),
                };
                let made = ask!(reach, create_enrolment, request);
                print.out(&made, |made| format!("{}\n", made.code))
            }
            Admin::Token(token) => token.run(reach, print).await,
            Admin::List { tenant } => {
                let tenant = tenant.tenant;
                let request = wire::ListEnvironmentsRequest { tenant };
                let list = ask!(reach, list_environments, request);
                print.out(&list, |list| {
                    list.environments.iter().map(control::environment).collect()
                })
            }
            Admin::Show {
                tenant,
                environment,
            } => {
                let found = ask!(reach, get_environment, named(tenant, environment));
                print.out(&found, control::environment)
            }
            Admin::Forget {
                tenant,
                environment,
            } => {
                let said = format!("{environment} is forgotten\n");
                let done = ask!(reach, forget_environment, named(tenant, environment));
                print.out(&done, |_| said)
            }
            Admin::Welcome {
                tenant,
                environment,
                keys,
            } => {
                let request = named(tenant, environment);
                let mut policy = ask!(reach, get_policy, request.clone());
                policy.harness_keys = keys;
                replace(reach, request, policy, print).await
            }
            Admin::Policy {
                tenant,
                environment,
                set,
            } => {
                let request = named(tenant, environment);
                match set {
                    Some(path) => {
                        let json = read(&path)?;
                        let policy = control::policy_from(&json)
                            .map_err(|source| AdminError::Policy { path, source })?;
                        replace(reach, request, policy, print).await
                    }
                    None => print.out(&ask!(reach, get_policy, request), control::policy),
                }
            }
            Admin::RotateUrlKey => {
                let done = ask!(reach, rotate_url_key, wire::RotateUrlKeyRequest {});
                print.out(&done, |_| {
                    "a new key signs URLs; those of the one before stay good\n".to_owned()
                })
            }
            Admin::Drain => Err(AdminError::NoNode("drain")),
            Admin::Attest(attest) => Ok(attest.run()?),
            Admin::Backup { .. } => Err(AdminError::NoNode("backup")),
        }
    }
}

impl Token {
    async fn run(self, reach: &Reach, print: Print) -> Result<String, AdminError> {
        match self {
            Token::New {
                tenant,
                kind,
                environment,
                days,
            } => {
                let request = wire::CreateTokenRequest {
                    tenant: tenant.tenant,
                    kind: CredentialKind::from(kind).name().to_owned(),
                    scope: environment,
                    expires_at: days.map(|days| now() + i64::from(days) * DAY_SECONDS),
                };
                let made = ask!(reach, create_token, request);
                print.out(&made, |made| format!("{}\n", made.text))
            }
            Token::List { tenant } => {
                let tenant = tenant.tenant;
                let list = ask!(reach, list_tokens, wire::ListTokensRequest { tenant });
                print.out(&list, |list| {
                    list.tokens.iter().map(control::token_words).collect()
                })
            }
            Token::Revoke { tenant, kid, days } => {
                let request = wire::TokenRef {
                    tenant: tenant.tenant,
                    kid,
                    until: days.map(|days| now() + i64::from(days) * DAY_SECONDS),
                };
                let revoked = ask!(reach, revoke_token, request);
                let said = match days {
                    Some(0) => "is not revoked any more",
                    _ => "is revoked",
                };
                print.out(&revoked, |token| format!("{} {said}\n", token.kid))
            }
            Token::Rotate {
                tenant,
                kid,
                overlap_hours,
            } => {
                let request = wire::RotateTokenRequest {
                    tenant: tenant.tenant,
                    kid,
                    overlap_seconds: Some(u32::from(overlap_hours) * HOUR_SECONDS),
                };
                let made = ask!(reach, rotate_token, request);
                print.out(&made, |made| format!("{}\n", made.text))
            }
        }
    }
}

/// How answers are printed.
#[derive(Clone, Copy, Debug)]
struct Print {
    json: bool,
}

impl Print {
    fn out<T: Serialize>(
        self,
        answer: &T,
        words: impl FnOnce(&T) -> String,
    ) -> Result<String, AdminError> {
        match self.json {
            true => Ok(format!("{}\n", serde_json::to_string(answer)?)),
            false => Ok(words(answer)),
        }
    }
}

async fn replace(
    reach: &Reach,
    environment: wire::EnvironmentRef,
    policy: wire::Policy,
    print: Print,
) -> Result<String, AdminError> {
    let request = wire::SetPolicyRequest {
        tenant: environment.tenant,
        environment_id: environment.environment_id,
        policy: Some(policy),
    };
    print.out(&ask!(reach, set_policy, request), control::policy)
}

fn named(tenant: Tenant, environment: String) -> wire::EnvironmentRef {
    wire::EnvironmentRef {
        tenant: tenant.tenant,
        environment_id: environment,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AdminError> {
    std::fs::read(path).map_err(|source| AdminError::Read {
        path: path.to_owned(),
        source,
    })
}
