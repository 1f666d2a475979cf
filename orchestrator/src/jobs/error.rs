//! What can be wrong with a job.

use farstep_environments::{CallError, ConnectError};

use super::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("find job `{text}`")]
    Unknown { text: String },
    #[error("find job `{text}`: {} begin with that", .matching.len())]
    Ambiguous { text: String, matching: Vec<String> },
    #[error("keep a job in `{id}`: {reason}")]
    NotDurable { id: String, reason: String },
    #[error("find job {job} in `{id}`: {reason}")]
    Gone {
        job: String,
        id: String,
        reason: String,
    },
    #[error("reach job {job} in `{id}`: {error}")]
    Connect {
        job: String,
        id: String,
        error: Box<ConnectError>,
    },
    #[error("reach job {job} in `{id}`: {error}")]
    Call {
        job: String,
        id: String,
        error: CallError,
    },
    #[error("{0}")]
    Store(#[from] StoreError),
}
