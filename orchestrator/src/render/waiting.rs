//! That something is waited for, what for, and for how long at most.

use std::time::Duration;

use farstep_environments::config::EnvironmentId;
use farstep_environments::{Hop, Waiting};
use tokio::time::Instant;

/// Tells it beside standard output, unless what is under way tells of itself.
pub fn waiting(id: &EnvironmentId, waiting: &Waiting) {
    let logs_in = waiting.at.is_some_and(|at| at.hop == Hop::Ssh);
    if !logs_in {
        let left = waiting.until.map(|until| until - Instant::now());
        super::note(&words(id.as_str(), waiting, left));
    }
}

fn words(id: &str, waiting: &Waiting, left: Option<Duration>) -> String {
    let most = left.map(|left| format!(", {} s more at most", left.as_secs() + 1));
    let why = match (&waiting.because, waiting.at) {
        (Some(because), _) => format!(": {because}"),
        (None, Some(at)) => format!(": {at}"),
        (None, None) => String::new(),
    };
    format!(
        "farstep: waiting for `{id}`{}{why}",
        most.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use farstep_environments::{Leg, Place};

    use super::*;

    #[test]
    fn what_is_known_is_told() {
        let mut waiting = Waiting::default();
        assert_eq!(words("box", &waiting, None), "farstep: waiting for `box`");
        waiting.at = Some(Place {
            leg: Leg::Registry,
            hop: Hop::Tcp,
        });
        let left = Some(Duration::from_millis(8700));
        assert_eq!(
            words("box", &waiting, left),
            "farstep: waiting for `box`, 9 s more at most: connecting, on the way to the registry"
        );
        waiting.because = Some("it has not registered yet".to_owned());
        assert_eq!(
            words("box", &waiting, left),
            "farstep: waiting for `box`, 9 s more at most: it has not registered yet"
        );
    }
}
