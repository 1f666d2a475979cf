use std::sync::Condvar;

use super::*;

/// Makes so many pieces, each of which is its number.
struct Numbers {
    next: usize,
    last: usize,
    made: Arc<Count>,
}

#[derive(Default)]
struct Count(Mutex<usize>, Condvar);

impl Count {
    fn add(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }

    /// Waits on this thread until it is that much.
    fn wait_for(&self, count: usize) {
        let mut now = self.0.lock().unwrap();
        while *now < count {
            now = self.1.wait(now).unwrap();
        }
    }
}

impl Make for Numbers {
    fn next(&mut self) -> Result<Piece, FsError> {
        let (text, is_last) = (Text::from(self.next.to_string()), self.next == self.last);
        self.next += 1;
        self.made.add();
        Ok(Piece { text, is_last })
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.made.add();
    }
}

fn numbers(last: usize) -> (Pieces, Arc<Count>) {
    let made = Arc::<Count>::default();
    let count = Arc::clone(&made);
    let next = 1;
    let pieces = Pieces::begun(Text::from("0"), Numbers { next, last, made });
    (pieces, count)
}

async fn next(pieces: &mut Pieces) -> Result<Piece, TornError> {
    std::future::poll_fn(|cx| pieces.poll_next(cx)).await
}

#[tokio::test]
async fn pieces_come_in_order_and_the_last_one_says_so() {
    for last in [1, 2, FULL, 10 * FULL] {
        let (mut pieces, _) = numbers(last);
        for number in 0..=last {
            let piece = next(&mut pieces).await.unwrap();
            assert_eq!(piece.text.as_str(), number.to_string());
            assert_eq!(piece.is_last, number == last);
        }
        assert!(matches!(next(&mut pieces).await, Err(TornError::Lost)));
    }
}

#[tokio::test]
async fn no_more_is_made_than_the_shelf_holds_until_somebody_takes_some() {
    let (mut pieces, made) = numbers(100 * FULL);
    // With the first, which was there.
    let rested = |pieces: &Pieces| {
        let state = pieces.shelf.lock();
        matches!(state.rest, Rest::Idle(_)).then_some(state.texts.len())
    };
    made.wait_for(FULL - 1);
    while rested(&pieces).is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(rested(&pieces), Some(FULL));
    for _ in 0..FULL - NEARLY_EMPTY - 1 {
        next(&mut pieces).await.unwrap();
        assert!(rested(&pieces).is_some());
    }
    next(&mut pieces).await.unwrap();
    made.wait_for(2 * FULL - 1 - NEARLY_EMPTY);
}

#[tokio::test]
async fn what_nobody_wants_any_more_is_let_go_of() {
    let (mut pieces, made) = numbers(100 * FULL);
    made.wait_for(FULL - 1);
    let ended = pieces.ended();
    assert!(!matches!(pieces.shelf.lock().rest, Rest::Unwanted));
    drop(pieces);
    ended.await;
    made.wait_for(FULL);
}

#[tokio::test]
async fn an_answer_whose_maker_fails_is_torn_behind_what_was_made() {
    struct Failing;
    impl Make for Failing {
        fn next(&mut self) -> Result<Piece, FsError> {
            panic!("as a test wants")
        }
    }
    let mut pieces = Pieces::begun(Text::from("0"), Failing);
    let first = next(&mut pieces).await.unwrap();
    assert!(first.text.as_str() == "0" && !first.is_last);
    assert!(matches!(next(&mut pieces).await, Err(TornError::Lost)));
}
