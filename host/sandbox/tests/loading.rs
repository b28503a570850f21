//! What is accepted, what is refused and why, and the caches.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::PathBuf;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::nodes::NodeOutcome;
use holdpoint_sandbox::{Error, Kind, Options, componentize};
use serde_json::json;
use support::guest::{embed, run};
use support::{Bench, call, update};

fn simple() -> Vec<u8> {
    run("(call $done @u)").text("u", "{\"ok\":true}").build()
}

#[tokio::test]
async fn components_and_core_modules_are_loaded() {
    let bench = Bench::new();
    let module = simple();
    let component = componentize(&module).unwrap();
    assert_eq!(componentize(&component).unwrap(), component, "components pass through");
    assert_eq!(componentize(&module).unwrap(), component, "the same every time");
    for (bytes, kind) in [(&module, Kind::CoreModule), (&component, Kind::Component)] {
        let inspection = bench.sandbox.inspect(bytes).await.unwrap();
        assert_eq!(
            (inspection.kind, inspection.size_bytes, &inspection.digest),
            (kind, bytes.len(), &Digest::of_bytes(bytes))
        );
        assert_eq!((inspection.description.name.as_str(), inspection.description.version.as_str()), ("guest", "1.0.0"));
        assert_eq!((inspection.description.state_schema, inspection.description.connectors), (None, Vec::new()));
        assert!(inspection.imports.contains(&"holdpoint:node/interrupt@0.1.0".to_owned()), "{:?}", inspection.imports);
        assert!(inspection.exports.contains(&"run".to_owned()), "{:?}", inspection.exports);
        assert_eq!(update(bench.outcome(bytes).await), json!({"ok": true}));
        assert_eq!(bench.sandbox.load(bytes).await.unwrap().digest, Digest::of_bytes(bytes));
    }
    assert_eq!(bench.shelf.asked(), 0, "what was loaded is kept");
}

#[tokio::test]
async fn foreign_imports_are_refused_with_the_list() {
    let bench = Bench::new();
    let guest = run("unreachable").import(
        r#"(import "test:foreign/disk" "read" (func (result i32))) (import "test:foreign/network" "send" (func (result i32)))"#,
    );
    let module = guest.build_for("test:foreign/node");
    let expected =
        Error::ForeignImports { imports: vec!["test:foreign/disk".to_owned(), "test:foreign/network".to_owned()] };
    assert_eq!(bench.sandbox.load(&module).await.unwrap_err(), expected);
    assert_eq!(componentize(&module).unwrap_err(), expected);
    let component = wit_component::ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    assert_eq!(bench.sandbox.load(&component).await.unwrap_err(), expected);
    let outcome = bench.outcome(&component).await;
    let NodeOutcome::HostFault(message) = outcome else { panic!("{outcome:?}") };
    assert!(message.starts_with("HP0202") && message.contains("test:foreign/disk, test:foreign/network"), "{message}");

    let preview1 =
        wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)) (import "env" "abort" (func)))"#)
            .unwrap();
    let Error::ForeignImports { imports } = bench.sandbox.load(&preview1).await.unwrap_err() else { panic!() };
    assert_eq!(imports, ["wasi_snapshot_preview1", "env"]);
}

#[tokio::test]
async fn other_worlds_are_refused_with_what_is_missing() {
    let bench = Bench::new();
    let load = async |bytes: &[u8]| bench.sandbox.load(bytes).await.unwrap_err();
    let empty = wat::parse_str("(component)").unwrap();
    let expected = ["it does not export `describe`".to_owned(), "it does not export `run`".to_owned()];
    assert_eq!(load(&empty).await, Error::WrongWorld { problems: expected.to_vec() });
    let half = embed(
        r#"(module (memory (export "memory") 1) (func (export "describe") (result i32) (i32.const 0)) (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))"#,
        "test:foreign/half",
    );
    assert_eq!(load(&half).await, Error::WrongWorld { problems: expected[1..].to_vec() });
    let other = embed(
        r#"(module (memory (export "memory") 1) (func (export "describe") (result i32) (i32.const 0)) (func (export "run") (result i32) (i32.const 0))
           (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))"#,
        "test:foreign/other",
    );
    let error = load(&other).await;
    assert_eq!(error.code(), "HP0203", "{error}");
    let NodeOutcome::HostFault(message) = bench.outcome(&other).await else { panic!() };
    assert!(message.starts_with("HP0203"), "{message}");
    let plain = wat::parse_str(r#"(module (func (export "run")) (func (export "describe")))"#).unwrap();
    assert_eq!(load(&plain).await.code(), "HP0204");
}

#[tokio::test]
async fn broken_bytes_are_refused() {
    let bench = Bench::new();
    let component = componentize(&simple()).unwrap();
    let mut torn = component.clone();
    let middle = torn.len() / 2;
    torn[middle..middle + 64].fill(0xee);
    for bytes in [&b""[..], b"hello", b"\0asm\x0d\0\x01\0", &component[..component.len() / 2], &torn] {
        let error = bench.sandbox.load(bytes).await.unwrap_err();
        assert!(["HP0201", "HP0203"].contains(&error.code()), "{error}");
        assert!(!error.cure().is_empty());
    }
    assert!(bench.sandbox.inspect(b"hello").await.is_err());
}

#[tokio::test]
async fn sizes_are_bounded() {
    let bench = Bench::with(Options { component_bytes_max: 1000, ..Options::default() });
    assert_eq!(bench.sandbox.load(&simple()).await.unwrap_err().code(), "HP0205");
    let bench = Bench::with(Options { concurrency_max: 1, ..Options::default() });
    let memories = run("unreachable").item("(memory 1) (memory 1)").build();
    assert_eq!(bench.sandbox.load(&memories).await.unwrap_err().code(), "HP0205");
}

#[tokio::test]
async fn a_component_that_is_missing_or_another_is_a_host_fault() {
    let bench = Bench::new();
    let digest = Digest::of_bytes(b"somewhere else");
    let outcome = bench.report(call(digest.clone())).await.outcome;
    let NodeOutcome::HostFault(message) = outcome else { panic!() };
    assert!(message.starts_with("HP0206") && message.contains(digest.as_str()), "{message}");
    bench.shelf.put_as(&digest, &simple());
    let NodeOutcome::HostFault(message) = bench.report(call(digest)).await.outcome else { panic!() };
    assert!(message.starts_with("HP0208"), "a failure is not kept: {message}");
}

#[tokio::test]
async fn descriptions_are_checked() {
    let bench = Bench::new();
    let describing = |schema: &str| {
        run("unreachable")
            .describe(
                "(memory.fill (i32.const 1024) (i32.const 0) (i32.const 72)) (i32.store8 offset=24 (i32.const 1024) (i32.const 1))
                 (call $set @schema) (i32.const 1024)",
            )
            .item("(func $set (param i32 i32) (i32.store offset=28 (i32.const 1024) (local.get 0)) (i32.store offset=32 (i32.const 1024) (local.get 1)))")
            .text("schema", schema)
            .build()
    };
    let description = bench.sandbox.load(&describing(r#"{"type":"object"}"#)).await.unwrap().description;
    assert_eq!(description.state_schema, Some(json!({"type": "object"})));
    assert_eq!(bench.sandbox.load(&describing("{")).await.unwrap_err().code(), "HP0209");
    let traps = run("unreachable").describe("unreachable").build();
    assert_eq!(bench.sandbox.load(&traps).await.unwrap_err().code(), "HP0209");
}

#[tokio::test]
async fn the_least_used_component_is_compiled_again() {
    let bench = Bench::with(Options { components_max: 1, ..Options::default() });
    let one = bench.shelf.put(&simple());
    let two = bench.shelf.put(&run("(call $done @u)").text("u", "{}").build());
    for component in [&one, &one, &two, &one] {
        update(bench.report(call(component.clone())).await.outcome);
    }
    assert_eq!(bench.shelf.asked(), 3);
}

#[tokio::test]
async fn compiled_code_is_kept_and_verified() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { cache_dir: Some(directory.path().join("code")), ..Options::default() };
    let module = simple();
    let digest = Digest::of_bytes(&module);
    let files = || -> Vec<PathBuf> {
        let mut files: Vec<_> =
            std::fs::read_dir(directory.path().join("code")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.file_name().unwrap() != "key");
        files
    };
    let first = Bench::with(options.clone());
    assert_eq!(update(first.outcome(&module).await), json!({"ok": true}));
    assert_eq!((first.shelf.asked(), files().len()), (1, 1));
    let path = files().remove(0);
    let sealed = std::fs::read(&path).unwrap();

    // Another process: the source is not even asked.
    let second = Bench::with(options.clone());
    assert_eq!(update(second.report(call(digest.clone())).await.outcome), json!({"ok": true}));
    assert_eq!(second.shelf.asked(), 0);

    let mut changed = sealed.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let other_engine = {
        let component = wasmtime::Engine::default().precompile_component(&componentize(&module).unwrap()).unwrap();
        [b"holdpoint-code-1".as_slice(), &[0; 32], &component].concat()
    };
    for tampered in [changed, sealed[..100].to_vec(), Vec::new(), other_engine] {
        std::fs::write(&path, &tampered).unwrap();
        let bench = Bench::with(options.clone());
        bench.shelf.put(&module);
        assert_eq!(update(bench.report(call(digest.clone())).await.outcome), json!({"ok": true}));
        assert_eq!(bench.shelf.asked(), 1, "compiled again");
        assert_eq!(std::fs::read(&path).unwrap().len(), sealed.len(), "replaced");
        assert_ne!(std::fs::read(&path).unwrap(), tampered);
    }

    // A file under the name of another component is not taken for it.
    let other = run("(call $done @u)").text("u", "{\"other\":1}").build();
    let bench = Bench::with(options.clone());
    assert_eq!(update(bench.outcome(&other).await), json!({"other": 1}));
    let other_path = files().into_iter().find(|file| *file != path).unwrap();
    std::fs::copy(&other_path, &path).unwrap();
    let bench = Bench::with(options);
    bench.shelf.put(&module);
    assert_eq!(update(bench.report(call(digest)).await.outcome), json!({"ok": true}));
}

#[tokio::test]
async fn fuel_has_compiled_code_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::with(Options { cache_dir: Some(directory.path().to_owned()), ..Options::default() });
    let component = bench.shelf.put(&simple());
    for fuel in [None, Some(1_000_000), None] {
        let mut request = call(component.clone());
        request.limits.fuel = fuel;
        assert_eq!(update(bench.report(request).await.outcome), json!({"ok": true}));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3, "two files and the key");
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_is_done_without() {
    let bench = Bench::with(Options { cache_dir: Some("/dev/null/code".into()), ..Options::default() });
    assert_eq!(update(bench.outcome(&simple()).await), json!({"ok": true}));
}

#[tokio::test]
async fn a_pool_that_cannot_be_reserved_is_done_without() {
    let bench = Bench::with(Options { concurrency_max: 1 << 20, ..Options::default() });
    assert!(!bench.sandbox.is_pooled());
    assert_eq!(update(bench.outcome(&simple()).await), json!({"ok": true}));
}
