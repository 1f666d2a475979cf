//! What to try about a job, and the exit code.

use crate::jobs::JobError;

/// Whether the executor could not be reached, or knows nothing of the job.
pub(super) fn is_loss(error: &JobError) -> bool {
    matches!(
        error,
        JobError::Gone { .. } | JobError::Connect { .. } | JobError::Call { .. }
    )
}

/// Whether it is about how we were asked.
pub(super) fn is_usage(error: &JobError) -> bool {
    matches!(
        error,
        JobError::Unknown { .. } | JobError::Ambiguous { .. } | JobError::NotDurable { .. }
    )
}

pub(super) fn hint(error: &JobError) -> Option<String> {
    let hint = match error {
        JobError::Unknown { .. } => "`farstep ps` lists them".to_owned(),
        JobError::Ambiguous { matching, .. } => format!("name one of: {}", matching.join(", ")),
        JobError::NotDurable { .. } => {
            "leave --detach out; or start the executor there with `--listen stdio --durable`, or let \
             it listen (`--listen ws://127.0.0.1:PORT`) and name its url in environments.toml"
                .to_owned()
        }
        JobError::Gone { .. } => {
            "it was not looked at for as long as it was kept, or the executor was started anew; \
             `farstep ps --prune` forgets it"
                .to_owned()
        }
        JobError::Store(_) => return None,
        JobError::Connect { id, .. } | JobError::Call { id, .. } => {
            format!("the job goes on without us; `farstep env test {id}` shows the connection")
        }
    };
    Some(hint)
}
