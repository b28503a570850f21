//! `kill -9` at a hundred random moments of the refund run, from outside: `acknowledged-is-durable`, `effect-once`, and no thread is stuck.

use std::io::Read as _;
use std::process::Child;
use std::time::{Duration, Instant};

use holdpoint_tests::payments::Payments;
use holdpoint_tests::program::{Place, repository};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const INPUT: &str = r#"{"order_id":"9241","amount_cents":50000}"#;
const ANSWER: &str = r#"{"approved":true}"#;
/// Commands killed while they lived. Threads are run until there were as many.
const KILLS: u32 = 100;

/// What a command acknowledged before it died, if it did.
enum End {
    Finished(Value),
    Killed,
}

/// Runs a command and kills it after `delay`, wherever it is then.
fn killed_after(mut child: Child, delay: Duration) -> End {
    let deadline = Instant::now() + delay;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let mut text = String::new();
            child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
            assert!(status.code().is_some(), "it ended by itself");
            return End::Finished(serde_json::from_str(&text).unwrap());
        }
        if Instant::now() >= deadline {
            // SIGKILL: no handler, no flush, no farewell.
            child.kill().unwrap();
            child.wait().unwrap();
            return End::Killed;
        }
        std::thread::yield_now();
    }
}

/// How long the whole command takes here, so that kills fall all over it.
fn usual_duration(start: impl Fn() -> Child) -> Duration {
    let begun = Instant::now();
    start().wait().unwrap();
    begun.elapsed()
}

#[test]
fn killed_anywhere_every_thread_ends_with_one_payment() {
    let seed: u64 =
        std::env::var("HOLDPOINT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed}: repeat with HOLDPOINT_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let graph = repository().join("example-nodes/refund/refund.graph.toml").display().to_string();
    let payments = Payments::start();
    let warm = Place::with_refund_connectors(payments.url());
    let run_time = usual_duration(|| warm.start(&["run", &graph, "--thread", "w", "--input", INPUT]));
    let resume_time = usual_duration(|| warm.start(&["resume", "--thread", "w", "--answer", ANSWER]));
    let (mut kills, mut inputs_again, mut run) = (0, 0, 0);
    let place = Place::with_refund_connectors(payments.url());
    while kills < KILLS {
        run += 1;
        assert!(run <= 10 * KILLS, "seed {seed}: only {kills} of {run} commands were alive when they were killed");
        let thread = format!("t{run}");
        let key = format!("refund:{run}:50000");
        let input = json!({"order_id": run.to_string(), "amount_cents": 50000}).to_string();
        let start = || place.start(&["run", &graph, "--thread", &thread, "--input", &input]);
        let first = killed_after(start(), run_time.mul_f64(random.random_range(0.0..1.2)));
        let acknowledged = matches!(&first, End::Finished(_));
        kills += u32::from(!acknowledged);
        // Whatever was stored goes on; an input that was never acknowledged may be lost, and is then given again.
        let shown = place.run(&["resume", "--thread", &thread]);
        if shown.reply["error"]["code"] == "HP0401" || shown.reply["error"]["code"] == "HP0702" {
            assert!(!acknowledged, "seed {seed}: run {run} was acknowledged and is lost");
            inputs_again += 1;
            place.expect(3, &["run", &graph, "--thread", &thread, "--input", &input]);
        } else {
            assert_eq!(shown.exit, Some(3), "seed {seed}: run {run}: {} {}", shown.reply, shown.notes);
        }
        assert_eq!(payments.paid(&key), 0, "seed {seed}: run {run}: paid before the answer");

        // Answer, and die somewhere; then go on until it is done. An answer that took effect is never needed again.
        let mut answered = false;
        for attempt in 0.. {
            assert!(attempt < 20, "seed {seed}: run {run} is stuck");
            let arguments: &[&str] = &["resume", "--thread", &thread, "--answer", ANSWER];
            let arguments = if answered { &arguments[..3] } else { arguments };
            let delay =
                if attempt < 3 { resume_time.mul_f64(random.random_range(0.0..1.2)) } else { Duration::from_secs(60) };
            match killed_after(place.start(arguments), delay) {
                End::Killed => kills += 1,
                End::Finished(reply) if reply["status"] == "done" => break,
                End::Finished(reply) => {
                    assert!(reply["error"]["code"] == "HP0408", "seed {seed}: run {run}: {reply}");
                }
            }
            let view = place.expect(0, &["threads", "show", &thread]);
            answered = view["interrupts"] == json!([]);
            if view["status"] == "done" {
                break;
            }
        }
        let view = place.expect(0, &["threads", "show", &thread]);
        assert_eq!(view["status"], "done", "seed {seed}: run {run}: {view}");
        assert_eq!(payments.paid(&key), 1, "seed {seed}: run {run}: {:?}", payments.log());
    }
    println!("{run} threads, {kills} kills, {inputs_again} inputs given again, each paid exactly once");
}
