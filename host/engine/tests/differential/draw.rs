//! How steps are drawn.

use holdpoint_graph::nodes::EffectMode;
use holdpoint_store::faults::Fault;
use holdpoint_store::{Source, ThreadStatus};
use serde_json::{Value, json};

use super::action::{Action, Cut, Place, Reply, Said, Step, THREADS};
use super::actors::{BAD_WRITES, Weather};

/// What a draw looks at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fact {
    pub(crate) status: Option<ThreadStatus>,
    pub(crate) graph: usize,
    pub(crate) pending: usize,
    pub(crate) in_doubt: bool,
}

/// SplitMix64: all that is asked of it is to give the same again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// The nodes of each graph.
const NODES: [&[&str]; 4] = [
    &["draft", "gate", "rework", "publish", "notify", "spin"],
    &["fan", "work", "gather", "side", "risky", "rescue", "meet", "all", "last"],
    &["open", "call", "kept", "bare", "deep", "close"],
    &["side", "risky", "spin", "turn", "pay"],
];

impl Random {
    /// The next step. `at_once` says that tasks run at once: then a worker dies only where their order does not matter.
    pub(crate) fn step(&mut self, facts: &[Fact; 3], at_once: bool) -> Step {
        let thread = self.below(3);
        let mut fact = facts[thread];
        if fact.status.is_none() {
            fact.graph = self.graph();
        }
        let nodes = NODES[fact.graph];
        let (fault, at) =
            (self.pick(&[Fault::Before, Fault::After]), if at_once { 1 } else { 1 + self.below(6) as u64 });
        let mut breakpoints = |one_in: usize| match self.below(one_in) {
            0 => vec![self.pick(nodes)],
            1 if self.one_in(8) => vec![self.pick(&["*", "nope"])],
            _ => Vec::new(),
        };
        let (before, after) = (breakpoints(10), breakpoints(10));
        let action = match self.action(thread, fact, nodes) {
            // What else runs at once would race with the one that takes over.
            Action::Zombie if at_once => Action::Proceed,
            action => action,
        };
        let cut = Cut { at, fault, dies: !self.one_in(3) };
        let cut = self.one_in(5).then_some(cut);
        Step {
            advance_ms: self.pick(&[0, 1, 700, 700, 3_000, 3_000, 9_000, 40_000, 40_000, 4_000_000]),
            weather: self.weather(fact.graph),
            // Of two workers in a race, either may be the one that writes first.
            cut: cut.filter(|_| !matches!(action, Action::Race { .. })),
            gone: self.one_in(2),
            before,
            after,
            effects: self.one_in(8).then(|| self.pick(&[EffectMode::Live, EffectMode::Recorded, EffectMode::Ask])),
            metadata: if self.one_in(6) { json!({ "user": self.pick(&["ana", "bob"]) }) } else { json!({}) },
            drain: self.one_in(12),
            thread: THREADS[thread],
            action,
        }
    }

    /// What the nodes of the graph would notice.
    fn weather(&mut self, graph: usize) -> Weather {
        use Weather::{
            Astray, Broken, Contested, Endless, Faulty, Fine, Flaky, Limited, Lost, Moody, Odd, Shapeless, Trapped,
            Upward,
        };
        let odd = Odd(self.below(BAD_WRITES.len()));
        match (self.below(2), graph) {
            (0, _) => Fine,
            (_, 0) => self.pick(&[Lost, Lost, Moody, Endless, Endless, Endless, Astray, Upward, Upward, Upward]),
            (_, 1) => self.pick(&[odd, odd, Broken, Broken, Flaky, Trapped, Limited, Faulty, Lost, Astray, Shapeless]),
            (_, 3) => self.pick(&[odd, odd, odd, odd, odd, Lost, Lost, Astray, Upward, Endless, Trapped, Limited]),
            _ => self.pick(&[
                Lost, Lost, Lost, Moody, Contested, Contested, Shapeless, Shapeless, Shapeless, Astray, Astray, Upward,
                Upward, Upward,
            ]),
        }
    }

    fn action(&mut self, thread: usize, fact: Fact, nodes: &[&'static str]) -> Action {
        let Some(status) = fact.status else {
            return match self.below(12) {
                0 => Action::Build { graph: fact.graph, supersteps: self.supersteps(nodes, true) },
                1 => Action::Proceed,
                2 => Action::Delete,
                3 => Action::Copy { to: THREADS[(thread + 1) % 3] },
                4 => Action::State { at: Place::Head },
                _ => Action::Run { graph: fact.graph, input: self.input(), supersede: false },
            };
        };
        // What the thread waits for comes first, or scripts come nowhere.
        match (status, self.below(10)) {
            (_, ..=1) if fact.in_doubt => return Action::Delete,
            (_, ..=6) if fact.in_doubt => return self.settle(),
            (_, ..=2) if fact.pending > 0 => return self.answer(),
            (ThreadStatus::Interrupted, ..=2) if fact.pending == 0 => return Action::Proceed,
            (ThreadStatus::Running | ThreadStatus::Failed, ..=3) => return Action::Proceed,
            _ => {}
        }
        match self.below(48) {
            0..4 => Action::Input { input: self.input(), supersede: self.one_in(2) },
            4..6 => Action::Run {
                graph: if self.one_in(3) { 9 } else { self.graph() },
                input: self.input(),
                supersede: true,
            },
            6..11 => self.answer(),
            11..15 => {
                let value = self.value();
                let answer = (!self.one_in(3)).then(|| (self.pick(&[Reply::Bare, Reply::One(0), Reply::All]), value));
                Action::Command {
                    answer,
                    update: if self.one_in(5) { json!({ "x": "no" }) } else { json!({ "log": ["said"] }) },
                    goto: (!self.one_in(4)).then(|| if self.one_in(6) { "nope" } else { self.pick(nodes) }),
                    sent: self.one_in(2).then(|| json!({ "prompt": 1 })),
                }
            }
            15..18 => Action::Proceed,
            18..23 => Action::Update { at: self.place(true), supersteps: self.supersteps(nodes, false) },
            23..27 => Action::Replay { at: self.place(false) },
            27..30 => Action::Fork { at: self.place(false), update: self.said(nodes) },
            30..32 => Action::Copy { to: self.pick(&THREADS) },
            32..34 => self.settle(),
            34 => Action::Delete,
            35..37 => Action::Prune {
                delete: self.one_in(3),
                older_than_ms: self.pick(&[None, Some(5_000)]),
                dry_run: self.one_in(4),
            },
            37..39 => Action::State { at: self.place(true) },
            39..41 => Action::Search {
                source: self.pick(&[None, Some(Source::Loop), Some(Source::Fork), Some(Source::Update)]),
                step: self.pick(&[None, None, Some(1)]),
                metadata: self.pick(&[json!({}), json!({ "user": "ana" })]),
                before: self.one_in(2).then(|| self.below(20)),
            },
            41 => Action::Race { value: self.value() },
            42..45 => Action::Zombie,
            45 => Action::Delete,
            _ => Action::Build { graph: self.graph(), supersteps: self.supersteps(nodes, true) },
        }
    }

    fn graph(&mut self) -> usize {
        self.below(NODES.len())
    }

    fn input(&mut self) -> Value {
        match self.below(12) {
            0 => json!("no object"),
            1 => json!({ "x": "text" }),
            2 => json!({ "nowhere": 1 }),
            3 => json!({}),
            4..6 => json!({ "y": self.pick(&[json!(1), json!(5), Value::Null]) }),
            _ => json!({ "log": ["in"], "x": self.below(4) }),
        }
    }

    fn value(&mut self) -> Value {
        match self.below(16) {
            0 => Value::Null,
            1..3 => json!("text"),
            3..5 => json!(-1),
            5..7 => json!(13),
            _ => json!(self.below(5)),
        }
    }

    fn answer(&mut self) -> Action {
        let answer = match self.below(16) {
            0 => Reply::Unknown,
            1 => Reply::Stale(self.below(50)),
            2 => Reply::Foreign(self.below(50)),
            3 => Reply::EmptyMap,
            4 => Reply::NoMap,
            5..8 => Reply::Bare,
            8..11 => Reply::All,
            _ => Reply::One(self.below(8)),
        };
        Action::Answer { answer, value: self.value() }
    }

    fn settle(&mut self) -> Action {
        Action::Settle { pick: self.below(4), word: self.below(5), reason: self.pick(&["seen", "seen", "seen", " "]) }
    }

    fn place(&mut self, head: bool) -> Place {
        match self.below(14) {
            0 => Place::Unknown,
            1 => Place::Foreign(self.below(50)),
            2 => Place::Inner(self.below(50)),
            3 => Place::Start(self.below(50)),
            4..9 if head => Place::Head,
            _ => Place::Own(self.below(50)),
        }
    }

    /// Updates; those that make a thread begin with an input.
    fn supersteps(&mut self, nodes: &[&'static str], begins: bool) -> Vec<Vec<Said>> {
        let one = |as_node, values| vec![Said { values, as_node: Some(as_node), goto: None }];
        match self.below(16) {
            0 => return Vec::new(),
            1 => return vec![Vec::new()],
            2 if !begins => return vec![one("__copy__", None)],
            3 if !begins => return vec![one("END", None)],
            4 if !begins => return vec![one("__input__", Some(self.input_object()))],
            _ => {}
        }
        let mut all = if begins { vec![one("__input__", Some(self.input_object()))] } else { Vec::new() };
        for _ in 0..1 + self.below(2) {
            all.push((0..1 + self.below(2)).map(|_| self.said(nodes)).collect());
        }
        all
    }

    fn input_object(&mut self) -> Value {
        match self.input() {
            object @ Value::Object(_) => object,
            _ => json!({}),
        }
    }

    fn said(&mut self, nodes: &[&'static str]) -> Said {
        let values = match self.below(16) {
            0 => json!({ "x": "no" }),
            1 => json!({ "x": null }),
            2 => json!({ "x": -1 }),
            3 => json!({ "log": { "__overwrite__": [] } }),
            _ => json!({ "log": ["by hand"] }),
        };
        let as_node = match self.below(12) {
            0..3 => None,
            3 => Some("nope"),
            4 => self.pick(&[Some("END"), Some("__copy__"), Some("__input__"), None]),
            _ => Some(self.pick(nodes)),
        };
        let goto = self.one_in(3).then(|| if self.one_in(8) { "nope" } else { self.pick(nodes) });
        Said { values: (!self.one_in(6)).then_some(values), as_node, goto }
    }
}
