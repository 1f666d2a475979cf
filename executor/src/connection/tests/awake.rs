//! Who is awaited without sleeping.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use farstep_transport::Attention;
use futures_util::{Sink, Stream};

use super::*;

/// So long that every caller is in time, however busy this machine is.
const MOMENT: Duration = Duration::from_secs(3600);

/// Whoever does not wait looks so often in vain: a question takes its time.
const LOOKS: usize = 2;

/// A caller that asks as soon as it is answered, and closes in the end.
struct Caller {
    questions: VecDeque<Text>,
    attention: Attention,
    /// Whether an answer has to come before the next question.
    waits: bool,
    /// How often we were asked for a question since.
    looks: usize,
    /// For each question, whether it was awaited without sleeping.
    awaited: Vec<bool>,
    /// How many were, for who looks while the connection has the caller.
    awaited_in_all: Arc<AtomicUsize>,
}

impl Caller {
    /// One that opens a session and then asks so many times.
    fn new(count: usize) -> Caller {
        let mut questions = VecDeque::from([
            json!({"id": 0, "method": "initialize", "params": {"clientName": "test"}}),
            json!({"method": "initialized"}),
        ]);
        for id in 0..count {
            questions.push_back(json!({"id": id, "method": "environment/status", "params": {}}));
        }
        Caller {
            questions: questions.iter().map(|it| it.to_string().into()).collect(),
            attention: Attention::default(),
            waits: false,
            looks: 0,
            awaited: Vec::new(),
            awaited_in_all: Arc::default(),
        }
    }
}

impl Stream for Caller {
    type Item = Result<Text, WireError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.waits {
            return Poll::Pending;
        }
        let is_awaited = self.attention.due().is_some();
        if is_awaited {
            self.awaited_in_all.fetch_add(1, Ordering::Relaxed);
            self.attention.found();
        } else if self.looks < LOOKS {
            self.looks += 1;
            return Poll::Pending;
        }
        let question = self.questions.pop_front();
        if let Some(question) = &question
            && question.contains("\"id\"")
        {
            self.awaited.push(is_awaited);
            self.waits = true;
        }
        Poll::Ready(question.map(Ok))
    }
}

impl Sink<Text> for Caller {
    type Error = WireError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, _: Text) -> Result<(), WireError> {
        self.waits = false;
        self.looks = 0;
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        if !self.waits {
            // As the runtime does, for what it hears of.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Poll::Ready(Ok(()))
    }
}

impl Wire for Caller {
    fn start_part(&mut self, _: Text, _: bool) -> Result<(), WireError> {
        Ok(())
    }

    fn set_farewell(&mut self, _: &'static str) {}

    fn attention(&self) -> Option<&Attention> {
        Some(&self.attention)
    }
}

async fn awaited(server: &Arc<Server>, caller: Caller) -> Vec<bool> {
    let stop = CancellationToken::new();
    let (end, caller) = serve(server, caller, Who::default(), None, &stop).await;
    assert!(matches!(end, End::Closed), "{end}");
    caller.awaited
}

#[tokio::test]
async fn a_caller_in_rhythm_is_awaited_without_sleeping() {
    let awaited = awaited(&Server::wakeful_for_tests(MOMENT), Caller::new(50)).await;
    let asleep = awaited.iter().take_while(|awaited| !**awaited).count();
    // `initialize` is the first of the eight that make a rhythm, and the one behind them the first
    // that can profit.
    assert_eq!((awaited.len(), asleep), (51, 9));
    assert!(
        awaited[asleep..].iter().all(|awaited| *awaited),
        "{awaited:?}"
    );
}

#[tokio::test]
async fn nobody_is_while_another_one_is_or_where_it_was_not_wanted() {
    let server = Server::wakeful_for_tests(MOMENT);
    let other = server.vigil().enter();
    assert!(!awaited(&server, Caller::new(50)).await.contains(&true));
    drop(other);
    let server = Server::wakeful_for_tests(Duration::ZERO);
    assert!(!awaited(&server, Caller::new(50)).await.contains(&true));
}

/// Serves a caller that asks so often, and returns how many questions were awaited in each turn of
/// the connection's task. `between` happens between two turns.
fn awaited_in_turns(server: &Arc<Server>, count: usize, between: impl Fn()) -> Vec<usize> {
    let stop = CancellationToken::new();
    let caller = Caller::new(count);
    let awaited = Arc::clone(&caller.awaited_in_all);
    let mut served = pin!(serve(server, caller, Who::default(), None, &stop));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let (mut turns, mut before) = (Vec::new(), 0);
    while served.as_mut().poll(&mut cx).is_pending() {
        let now = awaited.load(Ordering::Relaxed);
        turns.push(now - before);
        before = now;
        between();
    }
    turns
}

#[tokio::test]
async fn many_questions_are_awaited_in_one_turn_only_while_nobody_else_has_one() {
    let server = Server::wakeful_for_tests(MOMENT);
    let alone = awaited_in_turns(&server, 1000, || {});
    assert!(
        alone.contains(&1) && alone.iter().max() == Some(&16),
        "{alone:?}"
    );
    let disturbed = awaited_in_turns(&server, 1000, || {
        server.vigil().turn();
    });
    assert_eq!(disturbed.iter().max(), Some(&1));
}
