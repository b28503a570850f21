//! DESIGN section 3: which crate may import which. Read from Cargo's own description of the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use holdpoint_tests::program::repository;
use serde_json::Value;

/// Crate, our crates that it may import, libraries that it may never see.
const RULES: [(&str, &[&str], &[&str]); 8] = [
    ("holdpoint-graph", &[], &["tokio", "rusqlite", "sqlx", "wasmtime", "axum", "reqwest"]),
    ("holdpoint-store", &["holdpoint-graph"], &["wasmtime", "axum", "reqwest"]),
    (
        "holdpoint-engine",
        &["holdpoint-graph", "holdpoint-store"],
        &["wasmtime", "wasmtime-wasi", "rusqlite", "sqlx", "axum"],
    ),
    ("holdpoint-effects", &["holdpoint-graph", "holdpoint-store"], &["wasmtime", "wasmtime-wasi", "axum"]),
    ("holdpoint-sandbox", &["holdpoint-graph", "holdpoint-effects"], &["rusqlite", "sqlx", "axum", "reqwest"]),
    (
        "holdpoint-server",
        &["holdpoint-graph", "holdpoint-store", "holdpoint-engine"],
        &["wasmtime", "wasmtime-wasi", "rusqlite", "sqlx"],
    ),
    ("holdpoint-node", &["holdpoint-node-macros"], &["tokio", "wasmtime", "rusqlite"]),
    ("holdpoint-node-macros", &[], &["tokio", "wasmtime", "rusqlite"]),
];

/// Crates that see everything and are seen by none but the tests.
const UNBOUND: [&str; 2] = ["holdpoint", "holdpoint-tests"];

fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(repository())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
            let names = normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect();
            (package["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

/// What breaks the rules, one line each.
fn breaches(dependencies: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut breaches = Vec::new();
    for (name, imports) in dependencies {
        if UNBOUND.contains(&name.as_str()) {
            continue;
        }
        let Some((_, ours, never)) = RULES.iter().find(|(rule, _, _)| rule == name) else {
            breaches.push(format!("{name} has no rule: add one"));
            continue;
        };
        for import in imports {
            if import.starts_with("holdpoint") && !ours.contains(&import.as_str()) {
                breaches.push(format!("{name} imports {import}"));
            }
            if never.contains(&import.as_str()) {
                breaches.push(format!("{name} sees {import}"));
            }
        }
    }
    breaches
}

#[test]
fn every_crate_keeps_to_it() {
    let dependencies = normal_dependencies();
    for (rule, _, _) in RULES {
        assert!(dependencies.contains_key(rule), "the rule for {rule} has lost its crate");
    }
    assert_eq!(breaches(&dependencies), Vec::<String>::new());
}

#[test]
fn a_breach_is_seen() {
    let mut dependencies = normal_dependencies();
    dependencies.get_mut("holdpoint-engine").unwrap().insert("wasmtime".into());
    dependencies.get_mut("holdpoint-graph").unwrap().insert("holdpoint-store".into());
    dependencies.insert("holdpoint-new".into(), BTreeSet::new());
    assert_eq!(
        breaches(&dependencies),
        [
            "holdpoint-engine sees wasmtime",
            "holdpoint-graph imports holdpoint-store",
            "holdpoint-new has no rule: add one"
        ]
    );
}
