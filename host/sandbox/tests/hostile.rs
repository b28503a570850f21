//! Guests that try to crash, stall or fill the host (`isolated`).
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use holdpoint_graph::nodes::{NodeOutcome, Nodes as _};
use holdpoint_sandbox::{Allocation, Options};
use serde_json::json;
use support::guest::{Guest, run};
use support::{Bench, Journal, call, call_with, limit, update};

const SPIN: &str = "(loop $on (br $on)) unreachable";

fn quick() -> Bench {
    Bench::limited(|limits| limits.time_ms = 100)
}

/// Calls `function` with `length` bytes `fill` from the start of the heap.
fn says(length: usize, fill: u8, function: &str) -> Vec<u8> {
    run(&format!(
        "(local $at i32) (local.set $at (call $alloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.const {length})))
         (memory.fill (local.get $at) (i32.const {fill}) (i32.const {length})) {} unreachable",
        function.replace("SAID", &format!("(local.get $at) (i32.const {length})"))
    ))
    .build()
}

#[tokio::test]
async fn an_endless_loop_ends() {
    let bench = quick();
    let begun = Instant::now();
    assert_eq!(limit(bench.outcome(&run(SPIN).build()).await), "time");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let mut request = call(bench.shelf.put(&run(SPIN).build()));
    request.limits.time_ms = Some(0);
    assert_eq!(limit(bench.report(request).await.outcome), "time", "the node's own limit");
}

#[tokio::test]
async fn a_memory_bomb_is_named() {
    let bomb = run("(loop $on (drop (memory.grow (i32.const 16))) (br $on)) unreachable").build();
    for allocation in [Allocation::Pooled, Allocation::OnDemand] {
        let bench = Bench::with(Options { allocation, ..Options::default() });
        assert_eq!(bench.sandbox.is_pooled(), allocation == Allocation::Pooled);
        let outcome = bench.outcome(&bomb).await;
        assert_eq!(limit(outcome), "memory");
        let mut request = call(bench.shelf.put(&bomb));
        request.limits.memory_bytes = Some(1 << 20);
        let NodeOutcome::LimitExceeded { message, .. } = bench.report(request).await.outcome else { panic!() };
        assert!(message.contains("1048576"), "{message}");
        // All at once, and in a table.
        assert_eq!(
            limit(bench.outcome(&run("(drop (memory.grow (i32.const 65000))) unreachable").build()).await),
            "memory"
        );
        let table = run("(drop (table.grow $t (ref.null func) (i32.const 0x7fffffff))) unreachable")
            .item("(table $t 1 funcref)")
            .build();
        assert_eq!(limit(bench.outcome(&table).await), "memory");
    }
}

#[tokio::test]
async fn a_component_larger_than_its_memory_limit_does_not_start() {
    let bench = Bench::new();
    let mut request = call(bench.shelf.put(&run("(call $done @u)").text("u", "{}").build()));
    request.limits.memory_bytes = Some(65_536);
    assert_eq!(limit(bench.report(request).await.outcome), "memory");
}

#[tokio::test]
async fn a_stack_overflow_is_a_trap() {
    let bench = Bench::new();
    let guest = run("(call $deep (i64.const 1)) unreachable")
        .item("(func $deep (param i64) (call $deep (i64.add (local.get 0) (i64.const 1))) (drop (i64.const 2)))");
    let NodeOutcome::Trapped(message) = bench.outcome(&guest.build()).await else { panic!() };
    assert!(message.contains("call stack exhausted"), "{message}");
}

#[tokio::test]
async fn fuel_ends_at_the_same_point() {
    let bench = Bench::new();
    let spin = bench.shelf.put(&run(SPIN).build());
    let fueled = |fuel| {
        let mut request = call(spin.clone());
        request.limits.fuel = Some(fuel);
        request
    };
    assert_eq!(limit(bench.report(fueled(1_000_000)).await.outcome), "fuel");
    assert_eq!(limit(bench.report(fueled(0)).await.outcome), "fuel");
    let enough = run("(call $done @u)").text("u", "{}").build();
    let mut request = call(bench.shelf.put(&enough));
    request.limits.fuel = Some(1_000_000);
    assert_eq!(update(bench.report(request).await.outcome), json!({}));
}

#[tokio::test]
async fn traps_are_named_with_the_last_words() {
    let bench = Bench::new();
    let NodeOutcome::Trapped(message) = bench.outcome(&run("unreachable").build()).await else { panic!() };
    assert_eq!(message, "wasm trap: wasm `unreachable` instruction executed");
    let panics = run("(call $log (i32.const 4) @words) unreachable")
        .text("words", "panicked at src/lib.rs:7:5: no order")
        .build();
    let NodeOutcome::Trapped(message) = bench.outcome(&panics).await else { panic!() };
    assert_eq!(
        message,
        "wasm trap: wasm `unreachable` instruction executed; the node's last error: panicked at src/lib.rs:7:5: no order"
    );
    for (code, words) in [
        ("(i32.load (i32.const -4)) ", "out of bounds memory access"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "integer divide by zero"),
        // What it returns or says lies outside of its memory, or is no UTF-8.
        ("(i32.const -8)", "out of bounds"),
        ("(call $done (i32.const 0) (i32.const -1))", "out of bounds"),
        ("(call $emit (i32.const 0x7ffffff0) (i32.const 100)) unreachable", "out of bounds"),
        ("(call $done @latin)", "utf-8"),
    ] {
        let outcome = bench.outcome(&run(code).text("latin", [0x7b, 0xff, 0x7d]).build()).await;
        let NodeOutcome::Trapped(message) = outcome else { panic!("{code}: {outcome:?}") };
        assert!(message.contains(words), "{code}: {message}");
    }
}

#[tokio::test]
async fn values_are_bounded_in_both_directions() {
    let bench = Bench::new();
    let mebibyte = 1 << 20;
    for function in [
        "(call $interrupt SAID (i32.const 512))",
        "(call $emit SAID)",
        "(drop (call $done SAID)) (return (i32.const 1024))",
    ] {
        assert_eq!(limit(bench.outcome(&says(mebibyte + 1, b'1', function)).await), "value-size", "{function}");
        // Refused while it is copied, before the host holds it.
        assert_eq!(limit(bench.outcome(&says(64 * mebibyte, b'1', function)).await), "value-size", "{function}");
    }
    assert_eq!(limit(bench.outcome(&says(mebibyte + 1, b'1', "(call $perform (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) SAID (i32.const 512))")).await), "value-size");

    let component = bench.shelf.put(&run("(call $done @u)").text("u", "{}").build());
    let large = json!("x".repeat(mebibyte));
    let mut requests = vec![call(component.clone()), call(component.clone()), call(component)];
    requests[0].state = support::state(json!({ "large": large }));
    requests[1].argument = Some(large.clone());
    requests[2].config = large;
    for request in requests {
        assert_eq!(limit(bench.report(request).await.outcome), "value-size");
    }
    let mut request =
        call(bench.shelf.put(&run("(call $interrupt @p (i32.const 512)) unreachable").text("p", "1").build()));
    request.answers = vec![support::answer(0, &json!(1), json!("x".repeat(mebibyte)))];
    assert_eq!(limit(bench.report(request).await.outcome), "value-size", "the answer");
}

#[tokio::test]
async fn json_is_bounded_in_depth() {
    let bench = Bench::new();
    for function in [
        "(call $interrupt SAID (i32.const 512))",
        "(call $emit SAID)",
        "(drop (call $done SAID)) (return (i32.const 1024))",
    ] {
        assert_eq!(limit(bench.outcome(&says(1 << 20, b'[', function)).await), "json-depth", "{function}");
    }
}

#[tokio::test]
async fn a_log_flood_ends() {
    let bench = Bench::new();
    for (code, reports_max) in [
        ("(loop $on (call $log (i32.const 1) @line) (br $on)) unreachable", 10_000),
        ("(loop $on (call $emit @event) (br $on)) unreachable", 10_000),
        ("(loop $on (call $log (i32.const 1) (i32.const 0) (i32.const 65536)) (br $on)) unreachable", 16),
    ] {
        let journal = Arc::new(Journal::default());
        let guest = run(code).text("line", "x").text("event", "1").build();
        let outcome = bench.report(call_with(bench.shelf.put(&guest), journal.clone())).await.outcome;
        assert_eq!(limit(outcome), "log-volume", "{code}");
        assert_eq!(journal.reports().len(), reports_max, "{code}");
        assert!(journal.reports().iter().all(|report| report.len() < 17_000));
    }
}

#[tokio::test]
async fn random_bytes_are_bounded() {
    let guest = |count: u32| {
        run(&format!("(call $random (i32.const {count}) (i32.const 512)) (call $done @u)")).text("u", "{}").build()
    };
    let bench = Bench::new();
    assert_eq!(limit(bench.outcome(&guest(u32::MAX)).await), "random-bytes");
    assert_eq!(update(bench.outcome(&guest(65_536)).await), json!({}));
}

#[tokio::test]
async fn start_functions_are_bounded_too() {
    let spins = |module: &str| format!("(module (func $start (loop $on (br $on))) (start $start) {module}");
    let bench = quick();
    let guest = run("unreachable").item("(func $start (loop $on (br $on))) (start $start)").build();
    let _ = spins;
    let outcome = bench.outcome(&guest).await;
    let NodeOutcome::HostFault(message) = outcome else { panic!("{outcome:?}") };
    assert!(message.starts_with("HP0209") && message.contains("time"), "{message}");
}

#[tokio::test]
async fn describe_may_not_ask_for_anything() {
    let bench = Bench::new();
    for code in [
        "(call $interrupt @p (i32.const 512)) unreachable",
        "(call $perform (i32.const 0) (i32.const 0) (i32.const 0) @p @p (i32.const 512)) unreachable",
    ] {
        let error = bench.sandbox.load(&run("unreachable").describe(code).text("p", "1").build()).await.unwrap_err();
        assert_eq!(error.code(), "HP0209");
        assert!(error.to_string().contains("outside of `run`"), "{error}");
    }
}

/// Many guests that never give way by themselves on few threads: others get their turn, and every call ends.
#[test]
fn spinning_guests_do_not_starve_others() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let bench = Arc::new(Bench::limited(|limits| limits.time_ms = 300));
        let spin = bench.shelf.put(&run(SPIN).build());
        let fine = bench
            .shelf
            .put(&run("(call $done (i32.load offset=48 (local.get 0)) (i32.load offset=52 (local.get 0)))").build());
        update(bench.report(call(fine.clone())).await.outcome);
        let (running, turns) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let heart = tokio::spawn({
            let (running, turns) = (running.clone(), turns.clone());
            async move {
                while running.load(Ordering::Relaxed) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        });
        let calls: Vec<_> = (0..64)
            .map(|index| {
                let bench = bench.clone();
                let mut request = call(if index % 2 == 0 { spin.clone() } else { fine.clone() });
                request.state = support::state(json!({ "index": index }));
                tokio::spawn(async move { bench.report(request).await.outcome })
            })
            .collect();
        for (index, call) in calls.into_iter().enumerate() {
            let outcome = call.await.expect("no panic");
            if index % 2 == 0 {
                assert_eq!(limit(outcome), "time");
            } else {
                assert_eq!(update(outcome), json!({"index": index}));
            }
        }
        running.store(false, Ordering::Relaxed);
        heart.await.unwrap();
        assert!(turns.load(Ordering::Relaxed) > 2);
    });
}

#[test]
fn sixty_four_calls_at_once_on_two_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // Fewer slots than calls: the others wait for theirs.
        for allocation in [Allocation::Pooled, Allocation::OnDemand] {
            let bench = Arc::new(Bench::with(Options { allocation, concurrency_max: 8, ..Options::default() }));
            let guest = run("(call $random (i32.const 8) (i32.const 512)) (call $done (i32.load offset=48 (local.get 0)) (i32.load offset=52 (local.get 0)))");
            let component = bench.shelf.put(&guest.build());
            let calls: Vec<_> = (0..64)
                .map(|index| {
                    let (bench, component) = (bench.clone(), component.clone());
                    tokio::spawn(async move {
                        for round in 0..10 {
                            let mut request = call(component.clone());
                            request.state = support::state(json!({ "index": [index, round] }));
                            assert_eq!(update(bench.report(request).await.outcome), json!({"index": [index, round]}));
                        }
                    })
                })
                .collect();
            for call in calls {
                call.await.expect("no panic");
            }
            assert_eq!(bench.shelf.asked(), 1, "compiled once");
        }
    });
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_behind() {
    let bench = Bench::new();
    let guest = run(&format!("(call $log (i32.const 2) @here) {SPIN}")).text("here", "here").build();
    let component = bench.shelf.put(&guest);
    let journal = Arc::new(Journal::default());
    let sandbox = bench.sandbox.clone();
    let request = call_with(component, journal.clone());
    let running = tokio::spawn(async move { sandbox.run(request).await });
    journal.heard.notified().await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&journal), 1, "the store is gone");
    assert_eq!(update(bench.outcome(&run("(call $done @u)").text("u", "{}").build()).await), json!({}));
}

#[tokio::test]
async fn nothing_survives_a_call() {
    // Writes where the next call would read, also beyond what stays resident.
    let code = "(drop (memory.grow (i32.const 16))) (i32.store (i32.const 640) (i32.add (i32.load (i32.const 640)) (i32.load (i32.const 1000000))))
      (call $hex (i32.const 640) (i32.const 4)) (i32.store (i32.const 640) (i32.const 7)) (i32.store (i32.const 1000000) (i32.const 7)) (call $done)";
    let bench = Bench::with(Options { concurrency_max: 1, ..Options::default() });
    let component = bench.shelf.put(&run(code).build());
    for _ in 0..5 {
        assert_eq!(update(bench.report(call(component.clone())).await.outcome), json!({"hex": "00000000"}));
    }
}

/// Counts what it finds in its memory and table beyond what is its own, fills both, and answers the count and the memory's last bytes. Has this many
/// pages more than others begin with.
fn filler(pages: u32) -> Vec<u8> {
    run(&format!(
        "(local $at i32) (local $found i32) (drop (memory.grow (i32.const {pages})))
         (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
         (loop $next
           (local.set $found (i32.add (local.get $found) (i64.ne (i64.load (local.get $at)) (i64.const 0))))
           (i64.store (local.get $at) (i64.const -1))
           (local.set $at (i32.add (local.get $at) (i32.const 8)))
           (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
         (local.set $at (i32.const 0))
         (loop $next
           (local.set $found (i32.add (local.get $found) (i32.eqz (ref.is_null (table.get $t (local.get $at))))))
           (table.set $t (local.get $at) (ref.func $done))
           (local.set $at (i32.add (local.get $at) (i32.const 1)))
           (br_if $next (i32.lt_u (local.get $at) (table.size $t))))
         (i32.store (i32.const 640) (local.get $found))
         (i32.store (i32.const 644) (i32.load (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8))))
         (call $hex (i32.const 640) (i32.const 8)) (call $done)"
    ))
    .item("(table $t 5000 funcref) (elem declare func $done)")
    .build()
}

/// Few slots for several components, one call at a time: whatever a call leaves there, neither its own component nor another sees it, with as much
/// memory or more.
#[tokio::test]
async fn a_call_that_fills_its_memory_leaves_it_empty() {
    for allocation in [Allocation::Pooled, Allocation::OnDemand] {
        // A memory and two tables each: the slots of one instance.
        let bench = Bench::with(Options { allocation, concurrency_max: 2, ..Options::default() });
        let components: Vec<_> = [0, 1, 3, 64].map(|pages| bench.shelf.put(&filler(pages))).into();
        for index in [3, 3, 0, 0, 2, 1, 2, 0, 3, 1] {
            let outcome = bench.report(call(components[index].clone())).await.outcome;
            assert_eq!(update(outcome), json!({"hex": "00000000ffffffff"}), "{allocation:?}, component {index}");
        }
    }
}

fn wasi(code: &str) -> Guest {
    run(code).import(
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $clock (result i64)))
           (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $sleep (param i64) (result i32)))
           (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
           (import "wasi:random/random@0.2.0" "get-random-u64" (func $wasi_random (result i64)))
           (import "wasi:random/random@0.2.0" "get-random-bytes" (func $wasi_random_bytes (param i64 i32)))
           (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
           (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
           (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
           (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
           (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
           (import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $tcp (param i32 i32)))
           (import "wasi:sockets/udp-create-socket@0.2.0" "create-udp-socket" (func $udp (param i32 i32)))
           (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#,
    )
}

const WASI_WORLD: &str = "test:wasi/node";

#[tokio::test]
async fn wasi_has_nothing_in_it() {
    let bench = Bench::new();
    // Lengths of environment, arguments and directories; a sleep of an hour; the clock afterwards in hours since the start.
    let code = "(call $environment (i32.const 512)) (i32.store8 (i32.const 600) (i32.load (i32.const 516)))
      (call $arguments (i32.const 512)) (i32.store8 offset=1 (i32.const 600) (i32.load (i32.const 516)))
      (call $directories (i32.const 512)) (i32.store8 offset=2 (i32.const 600) (i32.load (i32.const 516)))
      (i64.store (i32.const 700) (call $clock)) (call $block (call $sleep (i64.const 3600000000000)))
      (i64.store8 offset=3 (i32.const 600) (i64.div_u (i64.sub (call $clock) (i64.load (i32.const 700))) (i64.const 3600000000000)))
      (i64.store offset=4 (i32.const 600) (call $wasi_random))
      (call $hex (i32.const 600) (i32.const 12)) (call $done)";
    let component = bench.shelf.put(&wasi(code).build_for(WASI_WORLD));
    let begun = Instant::now();
    let first = update(bench.report(call(component.clone())).await.outcome);
    assert!(begun.elapsed() < Duration::from_secs(600), "sleeps return at once");
    assert_eq!(&first["hex"].as_str().unwrap()[..8], "00000001");
    assert_eq!(update(bench.report(call(component)).await.outcome), first, "repeats");
    // The same stream of randomness as the contract's own.
    let code = "(call $random (i32.const 8) (i32.const 512)) (call $hex (i32.load (i32.const 512)) (i32.const 8)) (call $done)";
    let own = update(bench.outcome(&run(code).build()).await);
    assert_eq!(own["hex"].as_str().unwrap(), &first["hex"].as_str().unwrap()[8..]);
}

#[tokio::test]
async fn there_are_no_sockets() {
    // Each result: whether it failed, and at 4 the error.
    let code = "(call $tcp (i32.const 0) (i32.const 512)) (call $udp (i32.const 1) (i32.const 520))
      (i32.store8 (i32.const 600) (i32.load8_u (i32.const 512))) (i32.store8 offset=1 (i32.const 600) (i32.load8_u (i32.const 516)))
      (i32.store8 offset=2 (i32.const 600) (i32.load8_u (i32.const 520))) (i32.store8 offset=3 (i32.const 600) (i32.load8_u (i32.const 524)))
      (call $hex (i32.const 600) (i32.const 4)) (call $done)";
    let outcome = Bench::new().outcome(&wasi(code).build_for(WASI_WORLD)).await;
    assert_eq!(update(outcome), json!({"hex": "01010101"}), "access denied, twice");
}

#[tokio::test]
async fn what_is_printed_is_logged() {
    let bench = Bench::new();
    let code = "(call $write (call $stderr) @words (i32.const 512)) (call $exit (i32.const 1)) unreachable";
    let guest = wasi(code).text("words", "Traceback\nValueError: no order\nunfinished").build_for(WASI_WORLD);
    let journal = Arc::new(Journal::default());
    let outcome = bench.report(call_with(bench.shelf.put(&guest), journal.clone())).await.outcome;
    let NodeOutcome::Trapped(message) = outcome else { panic!("{outcome:?}") };
    assert_eq!(message, "the node called exit(1); the node's last error: ValueError: no order");
    assert_eq!(journal.reports(), ["Warn: Traceback", "Warn: ValueError: no order", "Warn: unfinished"]);
    let flood = wasi("(local i32) (local.set 1 (call $stderr)) (loop $on (call $write (local.get 1) @words (i32.const 512)) (br $on)) unreachable").text("words", "x\n");
    assert_eq!(limit(bench.outcome(&flood.build_for(WASI_WORLD)).await), "log-volume");
}

#[tokio::test]
async fn wasi_is_bounded() {
    let bench = Bench::new();
    let handles = wasi("(loop $on (drop (call $sleep (i64.const 1))) (br $on)) unreachable").build_for(WASI_WORLD);
    assert_eq!(limit(bench.outcome(&handles).await), "handles");
    let random = wasi("(call $wasi_random_bytes (i64.const -1) (i32.const 512)) unreachable").build_for(WASI_WORLD);
    assert_eq!(limit(bench.outcome(&random).await), "random-bytes");
    let naps = wasi(
        "(local i32) (local.set 1 (call $sleep (i64.const 0))) (loop $on (call $block (local.get 1)) (br $on)) unreachable",
    );
    assert_eq!(limit(quick().outcome(&naps.build_for(WASI_WORLD)).await), "time");
}
