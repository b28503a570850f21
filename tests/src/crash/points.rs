//! Where a life can die, or stand still. Points are counted as they are reached.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::trace::{Line, Moment, Writer};
use crate::signal::{self, Signal};

/// The end, or the pause, of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// The number of the point, from 1.
    pub point: u32,
    /// What happens there.
    pub blow: Blow,
}

/// What happens at the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blow {
    /// The process kills itself.
    Kill,
    /// The process stands still until somebody continues it.
    Stop,
}

/// The points of one life.
pub struct Points {
    fate: Option<Fate>,
    /// Held for one line: the order of lines is the order of points.
    reached: Mutex<Reached>,
}

struct Reached {
    points: u32,
    writes: u32,
    /// Somebody has been told to kill this process.
    doomed: bool,
    trace: Writer,
}

impl Points {
    /// Begins a life.
    ///
    /// # Errors
    /// The trace cannot be written.
    pub fn begin(trace: &Path, fate: Option<Fate>) -> io::Result<Self> {
        let mut trace = Writer::open(trace)?;
        trace.write(&Line { point: 0, moment: Moment::LifeBegins })?;
        Ok(Self { fate, reached: Mutex::new(Reached { points: 0, writes: 0, doomed: false, trace }) })
    }

    /// A point. Does not return if the life ends here.
    pub async fn reach(&self, moment: Moment) {
        match self.pass(moment) {
            Step::On => {}
            Step::Struck(blow) => strike(blow),
            Step::Doomed => std::future::pending().await,
        }
    }

    /// The point between a request's arrival and its answer: only the receiver can strike there. True when it is to kill this process; until it
    /// does, whatever else goes on here gets no further than its next point.
    pub async fn reach_in_flight(&self, operation: String) -> bool {
        match self.pass(Moment::InFlight { operation }) {
            Step::On => false,
            Step::Struck(Blow::Stop) => {
                strike(Blow::Stop);
                false
            }
            Step::Struck(Blow::Kill) => {
                self.lock().doomed = true;
                true
            }
            Step::Doomed => std::future::pending().await,
        }
    }

    /// The number of the next write.
    pub fn next_write(&self) -> u32 {
        let mut reached = self.lock();
        reached.writes += 1;
        reached.writes
    }

    /// How many were reached.
    pub fn count(&self) -> u32 {
        self.lock().points
    }

    fn pass(&self, moment: Moment) -> Step {
        let mut reached = self.lock();
        if reached.doomed {
            return Step::Doomed;
        }
        reached.points += 1;
        let point = reached.points;
        reached.trace.write(&Line { point, moment }).expect("the trace can be written");
        self.fate.filter(|fate| fate.point == point).map_or(Step::On, |fate| Step::Struck(fate.blow))
    }

    fn lock(&self) -> MutexGuard<'_, Reached> {
        self.reached.lock().expect("nobody panics while a line is written")
    }
}

/// What follows a point.
enum Step {
    On,
    Struck(Blow),
    Doomed,
}

fn strike(blow: Blow) {
    match blow {
        Blow::Kill => signal::kill_self(),
        Blow::Stop => signal::send(std::process::id(), Signal::Stop).expect("a process may stop itself"),
    }
}
