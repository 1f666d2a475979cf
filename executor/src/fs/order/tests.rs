use proptest::prelude::*;

use super::*;

fn conflict(a: &Access<'_>, b: &Access<'_>) -> bool {
    let (a, b) = (Footprint::of(a), Footprint::of(b));
    assert_eq!(a.conflicts(&b), b.conflicts(&a));
    a.conflicts(&b)
}

fn reads(path: &str, reach: Reach) -> Access<'_> {
    Access::read(Path::new(path), reach)
}

fn changes(path: &str, reach: Reach) -> Access<'_> {
    Access::change(Path::new(path), reach)
}

#[test]
fn a_write_conflicts_with_its_path_and_with_subtrees_above() {
    let write = changes("/a/b", Reach::Path);
    for other in [
        reads("/a/b", Reach::Path),
        changes("/a/b", Reach::Path),
        reads("/a", Reach::Subtree),
        changes("/", Reach::Subtree),
        reads("/a/b", Reach::Subtree),
    ] {
        assert!(conflict(&write, &other), "{other:?}");
    }
    for other in [
        reads("/a", Reach::Path),
        reads("/a/c", Reach::Subtree),
        changes("/a/bc", Reach::Subtree),
        changes("/a/b/c", Reach::Path),
        changes("/a/b/c", Reach::Subtree),
    ] {
        assert!(!conflict(&write, &other), "{other:?}");
    }
}

#[test]
fn reads_never_conflict() {
    assert!(!conflict(
        &reads("/", Reach::Subtree),
        &reads("/a", Reach::Subtree)
    ));
}

#[test]
fn a_copy_reads_here_and_changes_there() {
    let copy = Access::copy(Path::new("/from"), Path::new("/to"));
    assert!(conflict(&copy, &changes("/from/f", Reach::Path)));
    assert!(!conflict(&copy, &reads("/from/f", Reach::Path)));
    assert!(conflict(&copy, &reads("/to/f", Reach::Path)));
    assert!(!conflict(&copy, &changes("/other", Reach::Path)));
}

#[test]
fn spelling_with_more_separators_is_the_same_path() {
    let plain = changes("/a/b", Reach::Path);
    for spelled in ["/a//b", "/a/b/", "//a/b", "/a/b//"] {
        assert!(conflict(&plain, &reads(spelled, Reach::Path)), "{spelled}");
    }
}

#[test]
fn the_later_request_waits_for_the_earlier() {
    let mut order = PathOrder::new();
    assert!(order.is_free(&changes("/a", Reach::Path)));
    assert_eq!(
        order.admit(Ticket(1), changes("/a", Reach::Path)),
        Admit::Now
    );
    assert_eq!(
        order.admit(Ticket(2), reads("/a", Reach::Path)),
        Admit::Wait
    );
    assert_eq!(
        order.admit(Ticket(3), reads("/a", Reach::Path)),
        Admit::Wait
    );
    assert_eq!(
        order.admit(Ticket(4), changes("/b", Reach::Path)),
        Admit::Now
    );
    assert!(!order.is_free(&reads("/a", Reach::Path)) && order.is_free(&reads("/c", Reach::Path)));
    assert_eq!(order.finish(Ticket(1)), [Ticket(2), Ticket(3)]);
    assert_eq!(order.finish(Ticket(4)), []);
    assert_eq!(order.finish(Ticket(3)), []);
    assert_eq!(order.finish(Ticket(2)), []);
    assert!(order.is_empty() && order.changing == 0);
}

#[test]
fn readers_do_not_overtake_a_waiting_writer() {
    let mut order = PathOrder::new();
    assert_eq!(order.admit(Ticket(1), reads("/a", Reach::Path)), Admit::Now);
    assert_eq!(
        order.admit(Ticket(2), changes("/a", Reach::Path)),
        Admit::Wait
    );
    assert_eq!(
        order.admit(Ticket(3), reads("/a", Reach::Path)),
        Admit::Wait
    );
    assert_eq!(order.finish(Ticket(1)), [Ticket(2)]);
    assert_eq!(order.finish(Ticket(2)), [Ticket(3)]);
}

#[test]
fn a_request_that_is_given_up_holds_up_nobody() {
    let mut order = PathOrder::new();
    order.admit(Ticket(1), changes("/a", Reach::Path));
    order.admit(Ticket(2), changes("/a", Reach::Path));
    order.admit(Ticket(3), changes("/a", Reach::Path));
    assert_eq!(order.finish(Ticket(2)), []);
    assert_eq!(order.finish(Ticket(9)), []);
    assert_eq!(order.finish(Ticket(1)), [Ticket(3)]);
}

/// What a request does, for the model.
#[derive(Clone, Debug)]
enum Op {
    Write(PathBuf),
    Read(PathBuf),
    List(PathBuf),
    Remove(PathBuf),
    Copy(PathBuf, PathBuf),
}

impl Op {
    fn access(&self) -> Access<'_> {
        match self {
            Op::Write(path) => Access::change(path, Reach::Path),
            Op::Read(path) => Access::read(path, Reach::Path),
            Op::List(path) => Access::read(path, Reach::Subtree),
            Op::Remove(path) => Access::change(path, Reach::Subtree),
            Op::Copy(from, to) => Access::copy(from, to),
        }
    }

    /// Every path under a two-level tree that the request reads or changes, spelled out.
    fn touches(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let below = |path: &PathBuf| {
            universe()
                .into_iter()
                .filter(|other| other.starts_with(path))
                .collect()
        };
        match self {
            Op::Write(path) => (vec![], vec![path.clone()]),
            Op::Read(path) => (vec![path.clone()], vec![]),
            Op::List(path) => (below(path), vec![]),
            Op::Remove(path) => (vec![], below(path)),
            Op::Copy(from, to) => (below(from), below(to)),
        }
    }

    fn conflicts(&self, other: &Op) -> bool {
        let ((my_reads, my_changes), (their_reads, their_changes)) =
            (self.touches(), other.touches());
        let meet = |a: &[PathBuf], b: &[PathBuf]| a.iter().any(|path| b.contains(path));
        meet(&my_changes, &their_changes)
            || meet(&my_changes, &their_reads)
            || meet(&my_reads, &their_changes)
    }
}

fn universe() -> Vec<PathBuf> {
    ["/", "/a", "/ab", "/a/a", "/a/ab", "/ab/a", "/a/a/a"]
        .map(PathBuf::from)
        .to_vec()
}

fn op() -> impl Strategy<Value = Op> {
    let path = || prop::sample::select(universe());
    prop_oneof![
        path().prop_map(Op::Write),
        path().prop_map(Op::Read),
        path().prop_map(Op::List),
        path().prop_map(Op::Remove),
        (path(), path()).prop_map(|(from, to)| Op::Copy(from, to)),
    ]
}

proptest! {
    /// Requests arrive and end in any interleaving. Whatever happens, two that conflict never run
    /// at once and start in the order they arrived, and everything that could run does.
    #[test]
    fn what_conflicts_runs_in_order_and_nothing_else_waits(
        ops in prop::collection::vec(op(), 1..14),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let mut order = PathOrder::new();
        let (mut arrived, mut running, mut finished) = (0, Vec::new(), Vec::new());
        for choice in choices {
            let arrives = arrived < ops.len() && choice.index(2) == 0;
            if arrives || running.is_empty() {
                let Some(op) = ops.get(arrived) else { break };
                let ticket = Ticket(arrived as u64);
                arrived += 1;
                let free = order.is_free(&op.access());
                let admitted = order.admit(ticket, op.access());
                prop_assert_eq!(free, admitted == Admit::Now);
                if admitted == Admit::Now {
                    running.push(ticket);
                }
            } else {
                let ticket: Ticket = running.remove(choice.index(running.len()));
                running.extend(order.finish(ticket));
                finished.push(ticket);
            }
            let done = |ticket: u64| finished.contains(&Ticket(ticket));
            let may_run: Vec<Ticket> = (0..arrived as u64)
                .filter(|&later| !done(later))
                .filter(|&later| {
                    (0..later).all(|earlier| done(earlier) || !ops[later as usize].conflicts(&ops[earlier as usize]))
                })
                .map(Ticket)
                .collect();
            running.sort();
            prop_assert_eq!(&running, &may_run);
        }
    }
}
