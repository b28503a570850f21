//! The record of a real server's decisions, checked by `tests/audit_verifier.py`: a second reader of the same description.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{APPROVAL, Setup};
use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::ids::{Tenant, ThreadId};
use holdpoint_store::audit::Verifier;
use holdpoint_store::{AuditEntry, AuditFilter, AuditRecord};
use serde_json::{Map, Value, json};

/// What our own verifier says of a file, in the words of the other one.
fn ours(text: &str, one_thread: bool) -> String {
    let mut verifier = if one_thread { Verifier::of_one_thread() } else { Verifier::default() };
    let mut count = 0;
    for (index, line) in text.lines().enumerate() {
        let malformed = || format!("malformed {}", index + 1);
        let Ok(value) = serde_json::from_str::<Value>(line) else { return malformed() };
        let Ok(record) = AuditRecord::from_json(&value) else { return malformed() };
        if record.to_json() != value {
            return malformed();
        }
        use holdpoint_store::audit::Breach;
        match verifier.check(&record) {
            Ok(()) => count += 1,
            Err(Breach::Changed { sequence }) => return format!("changed {sequence}"),
            Err(Breach::Broken { found, .. }) => return format!("broken {found}"),
            Err(Breach::ThreadBroken { sequence }) => return format!("thread-broken {sequence}"),
            Err(Breach::OtherEnd { found, .. }) => return format!("cut {found}"),
        }
    }
    let head = verifier.head().as_ref().map_or("nothing", |(_, digest)| digest.hex_digits()).to_owned();
    format!("ok {count} {head}")
}

/// What the other one says of files, one verdict for each.
fn theirs(files: &[PathBuf], options: &[&str]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/audit_verifier.py");
    let output =
        Command::new("python3").arg("-I").arg(script).args(options).args(files).output().expect("python3 runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let verdicts: Vec<String> =
        text.lines().map(|line| line.split_once(' ').expect("a verdict").1.to_owned()).collect();
    assert_eq!(verdicts.len(), files.len());
    verdicts
}

fn lines(records: &[AuditRecord]) -> Vec<String> {
    records.iter().map(|record| record.to_json().to_string()).collect()
}

fn entry(thread: Option<&str>, body: Value) -> AuditEntry {
    let Value::Object(body) = body else { panic!("a body is an object") };
    AuditEntry {
        thread: thread.map(|thread| ThreadId::parse(thread).unwrap()),
        tenant: Tenant::default(),
        at_ms: 1_700_000_000_000,
        actor: Actor { id: "user:\u{e9}\u{1f600}\u{fb33}\"\\\u{7f}".into(), basis: Basis::Token },
        kind: "test.written",
        body,
    }
}

/// Numbers in every form, names that sort differently in UTF-8 and UTF-16, and characters that have to be escaped.
fn odd_values() -> Map<String, Value> {
    let numbers = "[0, -0, -0.0, 1, 1.0, -1.5, 1e0, 1E30, 1e21, 1e20, 123456789012345680000, 1e-6, 1e-7, 0.000001, 1.5e-9, 4.50, 2e-3, \
        0.1, 0.30000000000000004, 333333333.33333329, 5e-324, 1.7976931348623157e308, 9007199254740991, 9007199254740992, \
        9007199254740993, 9223372036854775807, -9223372036854775808, 18446744073709551615, 18446744073709551616, 100000000000000000000000]";
    let mut values = Map::new();
    values.insert("numbers".into(), serde_json::from_str(numbers).unwrap());
    values.insert("\u{20ac}\r\u{ff}\u{1f600}".into(), json!("\u{0}\u{8}\u{c}\n\r\t\u{1f}\u{7f}\u{2028}\"\\/"));
    for name in [
        "\u{20ac}",
        "\r",
        "\u{fb33}",
        "1",
        "\u{1f600}",
        "\u{80}",
        "\u{f6}",
        "",
        "a",
        "A",
        "10",
        "\u{10ffff}",
        "\u{ffff}",
    ] {
        values.insert(name.into(), json!({ "": [[], {}, null, true, false] }));
    }
    values
}

async fn trail() -> Vec<AuditRecord> {
    let server = Setup::default().start().await;
    let deployment = server.deploy("graph", APPROVAL).await;
    for thread in ["a", "b"] {
        let view = server.run(thread, &deployment, json!({})).await;
        let path = format!("/approvals/{}", view.interrupts[0].id);
        let shown = server.http.get(&path).await.expect(200);
        let body = json!({ "decision": "accept", "payload_digest": shown["digest"], "message": "fine \u{202e}" });
        server.http.post(&format!("{path}/answers"), body).await.expect(202);
    }
    let store = server.context.store();
    let odd = Value::Object(odd_values());
    store.put_audit(vec![entry(None, odd.clone()), entry(Some("a"), odd), entry(None, json!({}))]).await.unwrap();
    let filter = AuditFilter { limit: 1000, ..AuditFilter::default() };
    // The worker goes on in the meantime, and what it does is on the record too: what is read is a beginning of it.
    store.audit(&filter).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_verifiers_say_the_same() {
    let records = trail().await;
    assert!(records.len() >= 9, "{}", records.len());
    let good = lines(&records);
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let mut texts = Vec::new();
    let mut add = |lines: &[String]| {
        let path = folder.path().join(format!("{}.jsonl", files.len()));
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        std::fs::write(&path, &text).unwrap();
        files.push(path);
        texts.push(text);
    };
    let mut expected = Vec::new();
    add(&good);
    expected.push("ok");
    add(&[]);
    expected.push("ok");
    // Written another way, the content is the same.
    add(&records.iter().map(|record| format!(" {:#} ", record.to_json()).replace('\n', " ")).collect::<Vec<_>>());
    expected.push("ok");
    for (from, to, verdict) in [
        ("\"verdict\":\"accept\"", "\"verdict\":\"reject\"", "changed"),
        ("\"at_ms\":1700000000000", "\"at_ms\":1700000000001", "changed"),
        ("9007199254740993", "9007199254740992", "changed"),
        ("\"basis\":\"asserted\"", "\"basis\":\"token\"", "changed"),
        ("\"basis\":\"asserted\"", "\"basis\":\"sworn\"", "malformed"),
        ("\"basis\":\"asserted\"", "\"basis\":\"asserted\",\"extra\":1", "malformed"),
        ("\"thread_previous\":null", "\"thread_previous\":\"x\"", "malformed"),
        ("\"kind\":", "\"kinds\":", "malformed"),
        ("\"kind\":\"test.written\"", "\"kind\":NaN", "malformed"),
        ("\"sequence\":2,", "\"sequence\":2.5,", "malformed"),
    ] {
        let place = good.iter().position(|line| line.contains(from)).unwrap_or_else(|| panic!("no {from}"));
        let mut changed = good.clone();
        changed[place] = changed[place].replacen(from, to, 1);
        add(&changed);
        expected.push(verdict);
    }
    for place in 0..good.len() {
        let mut removed = good.clone();
        removed.remove(place);
        add(&removed);
        expected.push(if place + 1 == good.len() { "ok" } else { "broken" });
        if place > 0 {
            let mut swapped = good.clone();
            swapped.swap(place - 1, place);
            add(&swapped);
            expected.push("broken");
            let mut doubled = good.clone();
            doubled.insert(place, good[place - 1].clone());
            add(&doubled);
            expected.push("broken");
        }
    }
    for ((verdict, text), expected) in theirs(&files, &[]).iter().zip(&texts).zip(&expected) {
        assert!(verdict.starts_with(expected), "{verdict} instead of {expected}:\n{text}");
        assert_eq!(*verdict, ours(text, false));
    }
    let digest = records.last().unwrap().digest.hex_digits();
    assert!(theirs(&files[..1], &["--head", digest])[0].starts_with("ok"));
    let cut = &files[files.len() - 3..files.len() - 2];
    assert!(theirs(cut, &["--head", digest])[0].starts_with("cut"), "what is cut off at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_threads_records_stand_alone() {
    let records: Vec<AuditRecord> = trail()
        .await
        .into_iter()
        .filter(|record| record.thread.as_ref().is_some_and(|thread| thread.as_str() == "a"))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let good = lines(&records);
    let mut texts = vec![good.join("\n")];
    for place in 0..good.len() - 1 {
        let mut removed = good.clone();
        removed.remove(place);
        texts.push(removed.join("\n"));
    }
    let files: Vec<PathBuf> = (0..texts.len()).map(|number| folder.path().join(format!("{number}.jsonl"))).collect();
    for (file, text) in files.iter().zip(&texts) {
        std::fs::write(file, text).unwrap();
    }
    let verdicts = theirs(&files, &["--thread"]);
    assert!(
        verdicts[0].starts_with("ok") && verdicts[1..].iter().all(|verdict| verdict.starts_with("thread-broken")),
        "{verdicts:?}"
    );
    for (verdict, text) in verdicts.iter().zip(&texts) {
        assert_eq!(*verdict, ours(text, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_byte_passes_either() {
    let good = lines(&trail().await).join("\n");
    let folder = tempfile::tempdir().unwrap();
    let bytes = good.as_bytes();
    let flips: Vec<Vec<u8>> = (0..400)
        .map(|number| {
            // Spread over the file, each bit in its turn.
            let mut flipped = bytes.to_vec();
            flipped[number * bytes.len() / 400] ^= 1 << (number % 8);
            flipped
        })
        .collect();
    let files: Vec<PathBuf> = (0..flips.len()).map(|number| folder.path().join(format!("{number}.jsonl"))).collect();
    for (file, flipped) in files.iter().zip(&flips) {
        std::fs::write(file, flipped).unwrap();
    }
    for (verdict, flipped) in theirs(&files, &[]).iter().zip(&flips) {
        let ours = std::str::from_utf8(flipped).map_or("no text".to_owned(), |text| ours(text, false));
        assert!(
            !verdict.starts_with("ok") && !ours.starts_with("ok"),
            "{verdict}, {ours}:\n{}",
            String::from_utf8_lossy(flipped)
        );
    }
}
