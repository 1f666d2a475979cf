use std::cell::Cell;

use ModelErrorKind::*;
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

fn error(kind: ModelErrorKind) -> ModelError {
    ModelError::new(kind, "test")
}

fn delays(mut next: impl FnMut() -> Decision) -> Vec<Duration> {
    let mut delays = Vec::new();
    while let Decision::Wait(delay) = next() {
        delays.push(delay);
    }
    delays
}

/// Inner and outer verdict of the table, by kind.
fn verdict(kind: ModelErrorKind) -> (bool, bool) {
    (repeats_inside(&kind), repeats_whole(&kind))
}

#[test]
fn the_table_of_reactions_is_kept() {
    assert_eq!(verdict(Unreachable), (true, true));
    assert_eq!(verdict(Server { status: 500 }), (true, true));
    assert_eq!(verdict(Overloaded), (true, false));
    assert_eq!(verdict(RateLimited), (false, true));
    assert_eq!(verdict(Unauthorized), (false, true));
    assert_eq!(verdict(Failed { code: None }), (false, true));
    assert_eq!(verdict(Cut), (false, true));
    assert_eq!(verdict(Silent), (false, true));
    for kind in [
        UsageLimit,
        InvalidRequest,
        InvalidImage,
        Refused { status: 404 },
        ContextTooLong,
        Rejected {
            code: "invalid_prompt".into(),
        },
        Incomplete {
            reason: "max_output_tokens".into(),
        },
    ] {
        assert_eq!(verdict(kind.clone()), (false, false), "{kind:?}");
    }
}

#[test]
fn a_budget_grants_its_number_and_then_gives_up() {
    let policy = RetryPolicy::default();
    let mut stream = policy.stream();
    assert_eq!((stream.granted(), stream.max()), (0, 5));
    assert_eq!(delays(|| stream.next(&error(Cut))).len(), 5);
    assert_eq!((stream.granted(), stream.max()), (5, 5));
    let mut request = policy.request();
    assert_eq!(delays(|| request.next(&error(Unreachable))).len(), 4);
    assert_eq!(delays(|| policy.stream().next(&error(UsageLimit))), []);
}

#[test]
fn a_budget_has_an_upper_end() {
    let mut stream = RetryPolicy::new(0, u32::MAX).stream();
    let granted = delays(|| stream.next(&error(Cut)));
    assert_eq!(granted.len(), MAX_RETRIES as usize);
    let longest = MAX_DELAY.mul_f64(1.0 + SPREAD);
    assert!(granted.iter().all(|delay| *delay <= longest), "{granted:?}");
}

#[test]
fn a_seed_fixes_the_delays() {
    let run = |seed| {
        let mut stream = RetryPolicy::default().seeded(seed).stream();
        delays(|| stream.next(&error(Cut)))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

proptest! {
    #[test]
    fn delays_double_within_a_tenth(seed: u64) {
        let mut stream = RetryPolicy::new(4, 8).seeded(seed).stream();
        for (n, delay) in delays(|| stream.next(&error(Cut))).into_iter().enumerate() {
            let nominal = 0.2 * f64::from(1u32 << n);
            let ratio = delay.as_secs_f64() / nominal;
            prop_assert!((0.899..=1.101).contains(&ratio), "{n}: {delay:?}");
        }
    }

    #[test]
    fn a_told_delay_is_never_cut_short(seed: u64, told_ms in 0u64..600_000) {
        let told = Duration::from_millis(told_ms);
        let mut error = error(RateLimited);
        error.retry_after = Some(told);
        let mut stream = RetryPolicy::default().seeded(seed).stream();
        let Decision::Wait(delay) = stream.next(&error) else { panic!("gave up") };
        prop_assert!(delay >= told && delay <= told.mul_f64(1.1), "{delay:?}");
    }
}

#[test]
fn a_provider_that_wants_us_away_for_long_ends_it() {
    let mut error = error(RateLimited);
    error.retry_after = Some(Duration::from_secs(601));
    assert_eq!(
        RetryPolicy::default().stream().next(&error),
        Decision::GiveUp
    );
}

#[tokio::test(start_paused = true)]
async fn the_driver_waits_between_tries_and_returns_the_first_success() {
    let start = Instant::now();
    let tries = Cell::new(0);
    let retry = RetryPolicy::default().seeded(1).request();
    let done = with_retries(retry, || async {
        tries.set(tries.get() + 1);
        if tries.get() < 4 {
            Err(error(Server { status: 502 }))
        } else {
            Ok("done")
        }
    })
    .await;
    assert_eq!((done, tries.get()), (Ok("done"), 4));
    // 0.2 + 0.4 + 0.8 seconds, each off by at most a tenth.
    let waited = start.elapsed().as_secs_f64();
    assert!((1.26..=1.55).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn the_driver_returns_the_last_error_when_the_budget_is_spent() {
    let tries = Cell::new(0);
    let done = with_retries(RetryPolicy::new(2, 0).request(), || async {
        tries.set(tries.get() + 1);
        Err::<(), _>(error(Server {
            status: 500 + tries.get(),
        }))
    })
    .await;
    assert_eq!(done, Err(error(Server { status: 503 })));
}

#[tokio::test(start_paused = true)]
async fn the_driver_does_not_repeat_what_cannot_help() {
    let tries = Cell::new(0);
    let done = with_retries(RetryPolicy::default().request(), || async {
        tries.set(tries.get() + 1);
        Err::<(), _>(error(InvalidRequest))
    })
    .await;
    assert_eq!((done, tries.get()), (Err(error(InvalidRequest)), 1));
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_when_the_turn_is_stopped() {
    let stop = CancellationToken::new();
    assert!(pause(Duration::from_secs(5), &stop).await);
    stop.cancel();
    assert!(!pause(Duration::from_secs(3600), &stop).await);
}
