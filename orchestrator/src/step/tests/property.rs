//! Random sequences of environments that come and go, steps, calls and waits, against a model so
//! plain that it is obviously right: a call runs where its step said, or nowhere.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::step::RouteError;

const IDS: [&str; 3] = ["alpha", "beta", "gamma"];

#[derive(Debug, Clone)]
enum Action {
    Up(usize),
    Down(usize),
    Restart(usize),
    /// The next sampling request.
    Step,
    /// A call of the step that was captured so many steps ago; `None` names no environment.
    Call {
        ago: usize,
        target: Option<usize>,
    },
    /// Somebody waits for an environment in between.
    Wait(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let which = 0..IDS.len();
    prop_oneof![
        which.clone().prop_map(Action::Up),
        which.clone().prop_map(Action::Down),
        which.clone().prop_map(Action::Restart),
        Just(Action::Step),
        (0..3usize, prop::option::of(which.clone()))
            .prop_map(|(ago, target)| Action::Call { ago, target }),
        which.prop_map(Action::Wait),
    ]
}

/// What the plain model knows of one environment: the life it is in, if it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Starting,
    Up(u32),
    Down,
}

/// What a call without an id must find, by nothing but the rule's own words.
fn expected_primary(picture: &[Is; 3]) -> Result<(usize, u32), ()> {
    match picture[0] {
        Is::Down => return Err(()),
        Is::Up(life) => return Ok((0, life)),
        Is::Starting => {}
    }
    let first = picture.iter().enumerate().find_map(|(index, is)| match is {
        Is::Up(life) => Some((index, *life)),
        _ => None,
    });
    first.ok_or(())
}

async fn play(actions: Vec<Action>) -> Result<(), TestCaseError> {
    let set = FakeSet::starting(&IDS);
    let (events, signals) = crate::events::Events::channel();
    // Nobody reads events here, and nobody needs to.
    drop(signals);
    let mut selection = Selection::new(Arc::clone(&set) as _, SelectionOptions::default(), events);
    let turn = turn(true, OnPrimaryFailure::Error);
    let mut now = [Is::Starting; 3];
    let mut machines: HashMap<(usize, u32), Arc<FakeMachine>> = HashMap::new();
    let mut lives = 0;
    let mut steps: Vec<(Arc<StepSnapshot>, [Is; 3])> = Vec::new();
    for action in actions {
        match action {
            Action::Up(index) | Action::Restart(index) => {
                lives += 1;
                let machine = FakeMachine::named(IDS[index]);
                set.up(&machine);
                machines.insert((index, lives), machine);
                now[index] = Is::Up(lives);
            }
            Action::Down(index) => {
                set.set(IDS[index], failed("down"));
                now[index] = Is::Down;
            }
            Action::Step => steps.push((selection.capture(&turn).await, now)),
            Action::Wait(index) => {
                use crate::machine::EnvironmentSet as _;
                if now[index] != Is::Starting {
                    let _ = set.wait(IDS[index]).await;
                }
            }
            Action::Call { ago, target } => {
                let Some((step, picture)) = steps.iter().rev().nth(ago) else {
                    continue;
                };
                let route = step.route(target.map(|index| IDS[index]));
                let expected = match target {
                    None => expected_primary(picture),
                    Some(index) => match picture[index] {
                        Is::Up(life) => Ok((index, life)),
                        _ => Err(()),
                    },
                };
                match (route, expected) {
                    (Ok(route), Ok(place)) => {
                        // The very machine of that life, not merely one of the same name.
                        let machine: Arc<dyn Machine> = machines[&place].clone();
                        prop_assert!(Arc::ptr_eq(&route.machine, &machine));
                        prop_assert_eq!(&*route.id, IDS[place.0]);
                    }
                    (Err(error), Err(())) => {
                        prop_assert!(!matches!(error, RouteError::Unknown(_)), "{}", error);
                    }
                    (route, expected) => {
                        prop_assert!(false, "{:?} where {:?} was due", route, expected);
                    }
                }
            }
        }
    }
    // What was told is what each step held, also when all is long past.
    let today = Today {
        date: "d".into(),
        timezone: "z".into(),
    };
    for (step, picture) in &steps {
        let section = step.section(&today);
        for (index, is) in picture.iter().enumerate() {
            let entry = &section.environments[IDS[index]];
            let same = matches!(
                (is, &entry.state),
                (Is::Up(_), crate::world::State::Available { .. })
                    | (Is::Starting, crate::world::State::Starting)
                    | (Is::Down, crate::world::State::Failed { .. })
            );
            prop_assert!(same, "{} was told as {:?}", IDS[index], entry);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_call_runs_where_its_step_said(actions in prop::collection::vec(action(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(actions))?;
    }
}
