//! What is decided about a request before anything is done for it.
//!
//! In this order: `Origin`, `Host`, credentials in the wrong place, then who it is. Each refusal
//! ends the connection.

use std::net::IpAddr;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode, Uri};
use farstep_transport::listen::{self, Failures, Hosts, Refusal};

use super::args::Access;
use super::tls::{Tls, TlsError};
use crate::audit::{Audit, Event, Who};
use crate::auth::{self, Authentication, Principal, SecretFileError};
use crate::server::Server;

/// Why there is no gate, and hence no listener.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Who may come in.
#[derive(Debug)]
pub struct Gate {
    authentication: Authentication,
    hosts: Hosts,
    failures: Failures,
    pub(super) tls: Option<Tls>,
}

impl Gate {
    /// Reads certificates and secrets; what is wrong with them shows now.
    pub fn load(access: &Access, authentication: &auth::Settings) -> Result<Gate, GateError> {
        Ok(Gate {
            authentication: Authentication::load(authentication)?,
            hosts: Hosts::new(access.hosts.clone()),
            failures: Failures::new(),
            tls: access.tls.as_ref().map(Tls::load).transpose()?,
        })
    }

    /// Has changes of certificates and secrets recorded from now on.
    pub(super) fn report_to(&self, audit: &Audit) {
        self.authentication.report_to(audit);
        if let Some(tls) = &self.tls {
            tls.report_to(audit);
        }
    }

    /// What no request may be, wherever it goes.
    pub(super) fn refuse(&self, uri: &Uri, headers: &HeaderMap) -> Option<Refusal> {
        listen::refuse(&self.hosts, uri, headers)
    }

    /// Who it is, for what only somebody known may have. `certified` is whom the connection has
    /// proved already.
    pub(super) async fn recognise(
        &self,
        headers: &HeaderMap,
        certified: Option<&Principal>,
        who: &Who,
        server: &Server,
    ) -> Result<Principal, Refusal> {
        let (audit, metrics) = (server.audit(), server.metrics());
        const DENIED: Refusal = (StatusCode::UNAUTHORIZED, "unauthorized\n");
        const TOO_OFTEN: Refusal = (StatusCode::TOO_MANY_REQUESTS, "too many failed attempts\n");
        let address = who.peer.map(|peer| peer.ip());
        if address.is_some_and(|address| self.failures.is_deaf_to(address)) {
            metrics.too_often.increment(1);
            return Err(TOO_OFTEN);
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let header = match (values.next(), values.next()) {
            (value, None) => value.map(|value| value.as_bytes()),
            // Which of them would count is anybody's guess.
            (_, Some(_)) => Some(&b""[..]),
        };
        let mode = self.authentication.mode();
        match self.authentication.check(header).await {
            Ok(principal) => {
                if self.authentication.is_required() || certified.is_some() {
                    audit.record(who, Event::AuthOk { mode });
                }
                Ok(together(certified, principal))
            }
            Err(denied) => {
                tracing::info!(mode, why = %denied, "authentication failed");
                audit.record(
                    who,
                    Event::AuthFail {
                        mode,
                        why: denied.0,
                    },
                );
                metrics.unauthenticated.increment(1);
                Err(
                    if address.is_some_and(|address: IpAddr| self.failures.count(address)) {
                        TOO_OFTEN
                    } else {
                        DENIED
                    },
                )
            }
        }
    }
}

/// A certificate and a credential together are another identity than each alone.
fn together(certified: Option<&Principal>, principal: Principal) -> Principal {
    match certified {
        None => principal,
        Some(certified) if principal == Principal::anybody() => certified.clone(),
        Some(certified) => Principal::named(format!("{}+{}", certified.name(), principal.name())),
    }
}
