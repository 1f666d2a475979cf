//! The wire between the two, and what happens to it.
//!
//! A connection is two queues. It is lost at any point with all that is in them; either side
//! notices at once or much later. A message may overtake the one before it, where the protocol
//! lets it.

use std::collections::VecDeque;

use farstep_integration::Luck;
use farstep_protocol::rpc::RequestId;

use crate::caller::{Client, Phase};
use crate::server::{LIMITS, PIECE_MAX, Server};

/// Steps after which a world that still has something to say counts as stuck.
const STEPS_MAX: u64 = 50_000;

/// What a connection holds on its way to the caller: as much as may be lost without harm. Text is
/// a third longer than what it carries.
const UNDER_WAY_BYTES: usize = LIMITS.in_flight_bytes - 2 * PIECE_MAX as usize;

/// What came to pass in one world.
#[derive(Debug, Default)]
pub(crate) struct Days {
    worlds: u64,
    losses: u64,
    refused: u64,
    overtaken: u64,
    restarts: u64,
}

impl Days {
    pub(crate) fn add(&mut self, day: &Days) {
        self.worlds += 1;
        self.losses += day.losses;
        self.refused += day.refused;
        self.overtaken += day.overtaken;
        self.restarts += day.restarts;
    }

    pub(crate) fn is_bad_enough(&self) -> bool {
        self.losses > self.worlds && self.refused > 0 && self.overtaken > 0 && self.restarts > 0
    }
}

/// How this world is inclined. One in so many steps each.
struct Climate {
    loses: u64,
    overtakes: u64,
    restarts: u64,
    /// The caller reads this seldom.
    reads: u64,
}

#[derive(Default)]
struct Connection {
    to_client: VecDeque<String>,
    to_server: VecDeque<String>,
    /// Steps until the executor notices that it is gone; none while it lives.
    noticed_in: Option<u64>,
}

pub(crate) fn play(luck: &mut Luck) -> Result<Days, String> {
    let climate = Climate {
        loses: luck.between(20, 800),
        overtakes: luck.between(2, 40),
        restarts: luck.between(2_000, 40_000),
        reads: luck.between(1, 6),
    };
    let processes = luck.between(1, 4) as usize;
    let mut server = Server::start(0, processes, luck);
    let mut client = Client::new(processes, luck.between(1, 2_000));
    let mut connection = Connection::default();
    let mut day = Days::default();
    let life = server.life;

    for _ in 0..STEPS_MAX {
        server.run(luck)?;
        fail(
            &climate,
            &mut connection,
            &mut server,
            &mut client,
            &mut day,
            luck,
        );
        if server.life != life && client.phase == Phase::Forgotten {
            // All that was heard is true, though not all of it was heard.
            return Ok(day);
        }
        carry(
            &climate,
            &mut connection,
            &mut server,
            &mut client,
            &mut day,
            luck,
        )?;
        if server.life == life {
            for process in 0..processes {
                if !server.written(process).starts_with(client.heard(process)) {
                    return Err(format!("process {process} never said that"));
                }
            }
            if client.has_heard_all() {
                let whole = |process: usize| server.written(process) == client.heard(process);
                return match (0..processes).all(whole) {
                    true => Ok(day),
                    false => Err("closed, and not all was heard".to_owned()),
                };
            }
        }
    }
    Err(format!("stuck: {:?}", client.phase))
}

/// What goes wrong in this step.
fn fail(
    climate: &Climate,
    connection: &mut Connection,
    server: &mut Server,
    client: &mut Client,
    day: &mut Days,
    luck: &mut Luck,
) {
    let lives = connection.noticed_in.is_none();
    if lives && client.phase == Phase::Connected && luck.once_in(climate.loses) {
        day.losses += 1;
        connection.to_client.clear();
        connection.to_server.clear();
        client.lose();
        // A reset is noticed at once, a silent link late.
        connection.noticed_in = Some(if luck.once_in(2) {
            0
        } else {
            luck.between(1, 200)
        });
    }
    if luck.once_in(climate.restarts) {
        day.restarts += 1;
        *server = Server::start(server.life + 1, 1, luck);
        server.detach();
        *connection = Connection {
            noticed_in: Some(0),
            ..Connection::default()
        };
        client.lose();
    }
    match &mut connection.noticed_in {
        Some(0) if server.attached => server.detach(),
        Some(steps) => *steps = steps.saturating_sub(1),
        None => {}
    }
}

/// What moves in this step.
fn carry(
    climate: &Climate,
    connection: &mut Connection,
    server: &mut Server,
    client: &mut Client,
    day: &mut Days,
    luck: &mut Luck,
) -> Result<(), String> {
    if client.phase == Phase::Lost {
        // The new connection carries one question and one answer before anything else.
        let id: RequestId = client.ask_again()?;
        let answer = server.resume(&id, 0);
        day.refused += u64::from(answer.contains("-32010"));
        let mut questions = Vec::new();
        client.take(&answer, &mut questions)?;
        if client.phase == Phase::Connected {
            *connection = Connection::default();
            connection.to_server.extend(questions);
        }
        return Ok(());
    }
    if client.phase != Phase::Connected {
        return Ok(());
    }
    let under_way: usize = connection.to_client.iter().map(String::len).sum();
    if under_way < UNDER_WAY_BYTES {
        if let Some(question) = connection.to_server.pop_front() {
            connection.to_client.extend(server.answer(&question)?);
        } else if let Some(said) = server.say(luck) {
            connection.to_client.push_back(said);
            let last = connection.to_client.len() - 1;
            // Notifications of older servers overtake each other; answers stay where they are.
            let both = |at: usize| connection.to_client[at].starts_with("{\"method\"");
            if last > 0 && both(last) && both(last - 1) && luck.once_in(climate.overtakes) {
                connection.to_client.swap(last, last - 1);
                day.overtaken += 1;
            }
        }
    }
    if luck.once_in(climate.reads) {
        for _ in 0..luck.between(0, 4) {
            let Some(text) = connection.to_client.pop_front() else {
                break;
            };
            let mut questions = Vec::new();
            client.take(&text, &mut questions)?;
            connection.to_server.extend(questions);
        }
    }
    Ok(())
}
