//! A worker that stands still past its lease while another takes its thread over, and then goes on.

use std::collections::BTreeSet;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::types::Value as Cell;

use super::check::{WriteFate, writes};
use super::lane::{End, Lane, end_of};
use super::order::Order;
use super::points::{Blow, Fate};
use super::scenario::Receiver;
use super::tampered::Red;
use super::template::Template;
use super::trace::{self, Line, Moment};
use crate::payment_server::log::Account;
use crate::signal::{self, Change, Signal};

/// How long a claim of these runs stands.
pub const LEASE_MS: u64 = 200;
/// Longest time of an attempt in these runs: after it, an intent's request no longer leaves.
pub const TIMEOUT_MS: u64 = 400;

/// What happened.
#[derive(Debug)]
pub struct Zombie {
    /// Where it stood still.
    pub stopped_at: Moment,
    /// The lines of its trace after that.
    pub afterwards: Vec<Line>,
    /// How the zombie ended.
    pub end: End,
    /// How the one that took over ended.
    pub successor: End,
    /// Every row of the store before it went on, and after it had ended.
    pub rows: [Vec<String>; 2],
    /// What the receivers that forget saw before it went on, and after it had ended. To one that de-duplicates it may send again.
    pub accounts: [Vec<(String, Account)>; 2],
    /// The operations whose sending had begun before it stopped.
    pub sending: BTreeSet<String>,
}

impl Zombie {
    /// Whether nobody could take its thread over, because it stood still while it held the file's own lock: SQLite lets no other process write
    /// then. It still owns its thread, and goes on.
    pub fn held_the_file(&self) -> bool {
        matches!(&self.successor, End::Reported(report) if report.error.as_deref() == Some("HP0610"))
    }

    /// Everything that a zombie must not do.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if self.accounts[1].iter().any(|(_, account)| account.applied > 1) {
            violations.push(format!("effect-once: {:?}", self.accounts[1]));
        }
        if let End::Broken(how) = &self.end {
            violations.push(format!("no life breaks: {how}"));
        }
        if self.held_the_file() {
            return violations;
        }
        if self.rows[0] != self.rows[1] {
            let new: Vec<&String> = self.rows[1].iter().filter(|row| !self.rows[0].contains(row)).collect();
            violations.push(format!("one-writer: the zombie wrote {new:?}"));
        }
        // A write that was under way when it stopped may have been done by then.
        let taken = writes(&self.afterwards).filter(|(_, fate)| *fate == WriteFate::Done).count();
        if taken > 0 {
            violations.push(format!("one-writer: the store took {taken} of its writes"));
        }
        // A send that had begun lies behind the last look at the clock; nothing can stop it there.
        let late = self.accounts[0].iter().zip(&self.accounts[1]).filter(|(before, after)| before != after);
        for (_, (operation, account)) in late.filter(|(_, (operation, _))| !self.sending.contains(operation)) {
            violations.push(format!("effect-once: {operation} was sent after its time: {account:?}"));
        }
        let refused = writes(&self.afterwards).any(|(_, fate)| fate == WriteFate::NotDone);
        if refused && !matches!(&self.end, End::Reported(report) if report.error.is_some()) {
            violations.push(format!("one-writer: it was refused, and ended with {:?}", self.end));
        }
        violations
    }
}

/// Has a worker stop at a point, another take its thread over, and the first go on. None when its life has no such point.
pub fn zombie(lane: &mut Lane, template: &Template, point: u32, red: Option<Red>) -> Option<Zombie> {
    let run = lane.next_run();
    template.copy_to(&lane.store());
    let order = Order { lease_ms: LEASE_MS, red, ..lane.order(template.scenario, &template.graph, &run) };
    let sleeper = Order { fate: Some(Fate { point, blow: Blow::Stop }), ..order.clone() };
    let child = Guarded(Some(lane.begin(&sleeper)));
    if signal::wait_for_change(child.id()).unwrap() == Change::Ended {
        lane.forget(&run);
        return None;
    }
    let stopped = Instant::now();
    let before = trace::read(&order.trace).unwrap().pop().unwrap_or_default();
    // Nothing to wait for but the time itself: its claim ends, and the moment until which its requests may leave passes.
    sleep_until(stopped + Duration::from_millis(LEASE_MS.max(TIMEOUT_MS) + 100));
    let heir = Order { trace: lane.path(&format!("{run}.heir")), ..order.clone() };
    let successor = lane.live(&heir);
    let rows_before = rows(&order.store);
    let accounts_before = accounts(lane, template, &run);
    signal::send(child.id(), Signal::Continue).unwrap();
    let end = end_of(child.into_inner().wait_with_output().unwrap());
    let whole = trace::read(&order.trace).unwrap().pop().unwrap_or_default();
    let zombie = Zombie {
        stopped_at: before.last().map_or(Moment::LifeBegins, |line| line.moment.clone()),
        afterwards: whole[before.len()..].to_vec(),
        end,
        successor,
        rows: [rows_before, rows(&order.store)],
        accounts: [accounts_before, accounts(lane, template, &run)],
        sending: before.iter().filter_map(sent).collect(),
    };
    let _ = std::fs::remove_file(&heir.trace);
    lane.forget(&run);
    Some(zombie)
}

fn sleep_until(moment: Instant) {
    sleep(moment.saturating_duration_since(Instant::now()));
}

fn sent(line: &Line) -> Option<String> {
    match &line.moment {
        Moment::BeforeSend { operation } => Some(operation.clone()),
        _ => None,
    }
}

fn accounts(lane: &mut Lane, template: &Template, run: &str) -> Vec<(String, Account)> {
    let effects = template.scenario.effects(run).into_iter().filter(|effect| effect.receiver == Receiver::Forgetful);
    effects.map(|effect| (effect.operation.clone(), lane.account(run, &effect))).collect()
}

/// Every row of every table, as text.
fn rows(store: &std::path::Path) -> Vec<String> {
    let connection = Connection::open(store).unwrap();
    let names = "select name from sqlite_schema where type = 'table' order by name";
    let mut tables = connection.prepare(names).unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut rows = Vec::new();
    for table in tables {
        let mut all = connection.prepare(&format!("select * from \"{table}\"")).unwrap();
        let columns = all.column_count();
        let found = all.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap();
        let found: Vec<Vec<Cell>> = found.map(Result::unwrap).collect();
        rows.extend(found.into_iter().map(|row| format!("{table} {}", shown(&row))));
    }
    rows.sort();
    rows
}

fn shown(row: &[Cell]) -> String {
    let cells = row.iter().map(|cell| match cell {
        Cell::Blob(bytes) if bytes.len() > 256 => format!("{} bytes", bytes.len()),
        cell => format!("{cell:?}"),
    });
    cells.collect::<Vec<_>>().join(" ")
}

/// A child that does not outlive a failed test, standing still.
struct Guarded(Option<Child>);

impl Guarded {
    fn id(&self) -> u32 {
        self.0.as_ref().expect("it is there until it is taken").id()
    }

    fn into_inner(mut self) -> Child {
        self.0.take().expect("it is there until it is taken")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
