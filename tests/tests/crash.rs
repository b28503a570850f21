//! `kill -9` at random moments, from outside, of the real program on three graphs; the payments server's own log is the judge: `effect-once`,
//! `acknowledged-is-durable`, `no-silent-doubt`, and no thread is stuck.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use holdpoint_tests::graphs;
use holdpoint_tests::payment_server::{Judge, PaymentServer, Start};
use holdpoint_tests::program::{Place, repository};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const ANSWER: &str = r#"{"approved":true}"#;
/// Commands of one thread that are in danger.
const DANGEROUS: usize = 4;
/// Commands after which a thread must have come to its end.
const COMMANDS_MAX: usize = 60;

/// One graph and what a thread of it must have done, each exactly once.
struct Story {
    name: &'static str,
    graph: fn(&Place) -> PathBuf,
    input: fn(&str) -> Value,
    /// The id's beginning and end around the thread's name, and who gets it.
    effects: &'static [(&'static str, &'static str, Receiver)],
    /// What is done before the question is answered.
    before_answer: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiver {
    /// Pays as often as it is asked.
    Forgetful,
    /// Pays once for each id.
    Deduplicating,
    /// A file in the store's folder.
    File,
}

const REFUND: Story = Story {
    name: "refund",
    graph: |_| repository().join("example-nodes/refund/refund.graph.toml"),
    input: refund_input,
    effects: &[("refund:", ":500", Receiver::Forgetful)],
    before_answer: &[],
};

const DUPLICATE_WRITE: Story = Story {
    name: "duplicate-write",
    graph: |_| repository().join("example-nodes/refund/duplicate-write.graph.toml"),
    input: refund_input,
    effects: &[("refund:", ":500", Receiver::Forgetful), ("audit:refund:", ":500", Receiver::File)],
    before_answer: &["audit:refund:"],
};

const THREE_EFFECTS: Story = Story {
    name: "three-effects",
    graph: |place| graphs::three_effects().write(place),
    input: |thread| json!({ "order": thread }),
    effects: &[
        ("charge:", "", Receiver::Forgetful),
        ("book:", "", Receiver::Deduplicating),
        ("fee:", "", Receiver::Forgetful),
        ("tax:", "", Receiver::Forgetful),
        ("notice:", "", Receiver::File),
    ],
    before_answer: &[],
};

fn refund_input(thread: &str) -> Value {
    json!({ "order_id": thread, "amount_cents": 500 })
}

#[test]
fn killed_anywhere_the_refund_is_paid_once() {
    tell(&REFUND, 80);
}

#[test]
fn killed_anywhere_the_duplicate_write_writes_and_pays_once() {
    tell(&DUPLICATE_WRITE, 40);
}

#[test]
fn killed_anywhere_three_effects_happen_once() {
    tell(&THREE_EFFECTS, 80);
}

/// Runs threads until so many commands were killed while they lived.
fn tell(story: &Story, kills_wanted: usize) {
    let seed: u64 = std::env::var("HOLDPOINT_SEED").ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("{}: HOLDPOINT_SEED={seed}", story.name);
    let mut stage = Stage::new(story, seed);
    let mut threads = 0;
    while stage.kills < kills_wanted {
        threads += 1;
        assert!(threads <= 10 * kills_wanted, "seed {seed}: only {} kills met a living command", stage.kills);
        stage.thread(&format!("t{threads}"));
    }
    let Stage { kills, doubts, inputs_again, .. } = stage;
    println!(
        "{}: {threads} threads, {kills} kills, {doubts} doubts settled, {inputs_again} inputs given again, each effect exactly once",
        story.name
    );
}

/// A store, its receivers, and what was done so far.
struct Stage<'a> {
    story: &'a Story,
    seed: u64,
    random: ChaCha8Rng,
    place: Place,
    graph: String,
    /// How long a command takes here, so that kills fall all over it.
    usual: Duration,
    judges: [Judge; 2],
    _servers: [PaymentServer; 2],
    kills: usize,
    doubts: usize,
    inputs_again: usize,
}

/// What a command came to.
enum End {
    Finished,
    Killed,
}

impl<'a> Stage<'a> {
    fn new(story: &'a Story, seed: u64) -> Self {
        let mut place = Place::new();
        let servers = [false, true].map(|deduplicate| {
            PaymentServer::start(&place.path(&format!("{deduplicate}.log")), Start { deduplicate, ..Start::default() })
        });
        place.configure(&configuration(&place, &servers));
        let graph = (story.graph)(&place).display().to_string();
        let judges = [servers[0].judge(), servers[1].judge()];
        let random = ChaCha8Rng::seed_from_u64(seed);
        let mut stage = Self {
            story,
            seed,
            random,
            place,
            graph,
            usual: Duration::ZERO,
            judges,
            _servers: servers,
            kills: 0,
            doubts: 0,
            inputs_again: 0,
        };
        // The first thread compiles the nodes, the second shows how long a command takes.
        stage.safe_thread("warm");
        let begun = Instant::now();
        stage.safe_thread("timed");
        stage.usual = begun.elapsed() / 2;
        stage
    }

    fn safe_thread(&self, thread: &str) {
        let input = (self.story.input)(thread).to_string();
        self.place.expect(3, &["run", &self.graph, "--thread", thread, "--input", &input]);
        self.place.expect(0, &["resume", "--thread", thread, "--answer", ANSWER]);
    }

    /// One thread, from its input to its end, whatever dies.
    fn thread(&mut self, thread: &str) {
        let seed = self.seed;
        let input = (self.story.input)(thread).to_string();
        let graph = self.graph.clone();
        let run = ["run", &graph, "--thread", thread, "--input", &input];
        let (mut started, mut answered, mut dangers) = (false, false, DANGEROUS);
        for _ in 0..COMMANDS_MAX {
            let view = self.place.run(&["threads", "show", thread]).reply;
            if matches!(view["error"]["code"].as_str(), Some("HP0401" | "HP0702")) {
                assert!(!started, "seed {seed}: {thread} was acknowledged and is lost");
                self.inputs_again += usize::from(dangers < DANGEROUS);
                started = matches!(self.dangerous(&run, &mut dangers), End::Finished);
                continue;
            }
            let interrupt = &view["interrupts"][0];
            match (view["status"].as_str(), interrupt["kind"].as_str()) {
                (Some("done"), _) => return self.judge(thread),
                (_, Some("question")) => {
                    assert!(!answered, "seed {seed}: {thread}'s answer was acknowledged and is lost");
                    self.nothing_before_the_answer(thread);
                    let answer = ["resume", "--thread", thread, "--answer", ANSWER];
                    answered = matches!(self.dangerous(&answer, &mut dangers), End::Finished);
                }
                (Some("interrupted"), Some("in-doubt")) => self.settle(thread, interrupt["id"].as_str().unwrap()),
                _ => drop(self.dangerous(&["resume", "--thread", thread], &mut dangers)),
            }
        }
        panic!("seed {seed}: {thread} is stuck: {}", self.place.run(&["threads", "show", thread]).reply);
    }

    /// Runs a command, and kills it at a random moment while there is danger left.
    fn dangerous(&mut self, arguments: &[&str], dangers: &mut usize) -> End {
        let mut child = self.place.start(arguments);
        if *dangers == 0 {
            return finished(child);
        }
        *dangers -= 1;
        let deadline = Instant::now() + self.usual.mul_f64(self.random.random_range(0.0..1.2));
        loop {
            if child.try_wait().unwrap().is_some() {
                return finished(child);
            }
            if Instant::now() >= deadline {
                // SIGKILL: no handler, no flush, no farewell.
                child.kill().unwrap();
                child.wait().unwrap();
                self.kills += 1;
                return End::Killed;
            }
            std::thread::yield_now();
        }
    }

    fn nothing_before_the_answer(&mut self, thread: &str) {
        for (before, after, receiver) in self.story.effects {
            let done_early = usize::from(self.story.before_answer.contains(before));
            let applied = self.applied(&format!("{before}{thread}{after}"), *receiver).1;
            assert_eq!(applied, done_early, "seed {}: {thread}: {before} before the answer", self.seed);
        }
    }

    /// As a person would: by the receiver's log. What has not happened is sent once it cannot arrive any more.
    fn settle(&mut self, thread: &str, operation: &str) {
        self.doubts += 1;
        let receipt = self.judges[0].settled(operation).receipts.pop();
        let happened = receipt.map(|receipt| json!({ "status": 201, "headers": {}, "body": receipt }).to_string());
        let mut arguments = vec!["operations", "resolve", operation, "--by", "ana", "--reason", "the receiver's log"];
        match &happened {
            Some(answer) => arguments.extend(["--happened", answer]),
            None => arguments.push("--send"),
        }
        let begun = Instant::now();
        loop {
            let outcome = self.place.run(&arguments);
            // Refused while it may still arrive.
            if outcome.reply["error"]["code"] != "HP0432" {
                assert!(matches!(outcome.exit, Some(0 | 3)), "seed {}: {thread}: {outcome:?}", self.seed);
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{outcome:?}");
        }
    }

    fn judge(&mut self, thread: &str) {
        for (before, after, receiver) in self.story.effects {
            let operation = format!("{before}{thread}{after}");
            let (received, applied) = self.applied(&operation, *receiver);
            assert_eq!(applied, 1, "seed {}: {operation}", self.seed);
            assert!(received == 1 || *receiver != Receiver::Forgetful, "seed {}: {operation}: {received}", self.seed);
        }
    }

    /// How often an operation was received and applied.
    fn applied(&mut self, operation: &str, receiver: Receiver) -> (usize, usize) {
        if receiver == Receiver::File {
            let text = std::fs::read_to_string(self.place.path("lines.jsonl")).unwrap_or_default();
            let id = format!("\"id\":\"{operation}\"");
            let lines = text.lines().filter(|line| line.contains(&id)).count();
            return (lines, lines);
        }
        let account = self.judges[usize::from(receiver == Receiver::Deduplicating)].settled(operation);
        (account.received, account.applied)
    }
}

fn finished(child: Child) -> End {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.code().is_some(), "it ended by itself: {}", output.status);
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reply.get("error").unwrap_or(&Value::Null), &Value::Null, "nothing but death goes wrong");
    End::Finished
}

fn configuration(place: &Place, servers: &[PaymentServer; 2]) -> String {
    let lines = place.path("lines.jsonl");
    let http = |name: &str, server: &PaymentServer, path: &str, class: &str| {
        format!(
            "[connectors.{name}]\nkind = \"http\"\nbase_url = \"{}\"\nallow = [\"POST {path}\"]\nclass = {class}\nscope = \"global\"\n\
             addresses = \"any\"\ntimeout = \"1s\"\nclock_skew = \"100ms\"\n",
            server.url()
        )
    };
    let file = |name: &str| format!("[connectors.{name}]\nkind = \"file\"\nscope = \"global\"\npath = {lines:?}\n");
    let window = "{ idempotent = { window = \"24h\" } }";
    http("payments", &servers[0], "/refunds", "\"at-most-once\"")
        + &http("bookings", &servers[1], "/bookings", window)
        + &file("ledger")
        + &file("notices")
}
