//! `holdpoint doctor`.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::output;
use crate::failure::{EXIT_DONE, EXIT_FAILED, Failure};
use crate::host::{self, cache_dir};
use crate::node_build;

/// One thing that was looked at.
struct Finding {
    subject: &'static str,
    ok: bool,
    found: String,
    cure: String,
}

impl Finding {
    fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, ok: true, found: found.into(), cure: String::new() }
    }

    fn bad(subject: &'static str, failure: &Failure) -> Self {
        Self { subject, ok: false, found: format!("{}: {}", failure.code, failure.message), cure: failure.cure.clone() }
    }
}

/// Looks at everything that a run needs; changes nothing.
///
/// # Errors
/// None of its own: what is wrong is in the report, and the exit code says whether anything is.
pub async fn run(context: &Context) -> Result<u8, Failure> {
    let findings = [
        Finding::good("holdpoint", env!("CARGO_PKG_VERSION")),
        sandbox(),
        store(context),
        configuration(context),
        cache(),
        guest_toolchain(),
    ];
    let ok = findings.iter().all(|finding| finding.ok);
    if context.json {
        let checks: Vec<Value> = findings
            .iter()
            .map(|finding| json!({ "subject": finding.subject, "ok": finding.ok, "found": finding.found, "cure": finding.cure }))
            .collect();
        output::print_json(&json!({ "ok": ok, "checks": checks }));
    } else {
        let rows = findings.iter().map(|finding| {
            let mark = if finding.ok { "ok" } else { "wrong" };
            vec![finding.subject.into(), mark.into(), finding.found.clone(), finding.cure.clone()]
        });
        output::print_text(&output::table(&["what", "", "found", "cure"], rows));
    }
    Ok(if ok { EXIT_DONE } else { EXIT_FAILED })
}

fn sandbox() -> Finding {
    match host::checking_sandbox() {
        Ok(sandbox) if sandbox.is_pooled() => Finding::good("sandbox", "memory comes from a reserved pool"),
        Ok(_) => Finding::good(
            "sandbox",
            "memory comes from the system call by call: no pool could be reserved, calls are slower",
        ),
        Err(failure) => Finding::bad("sandbox", &failure),
    }
}

fn store(context: &Context) -> Finding {
    let path = match context.store_path() {
        Ok(path) => path,
        Err(failure) => return Finding::bad("store", &failure),
    };
    if !path.exists() {
        return Finding::good("store", format!("{} is not there yet; the first run makes it", path.display()));
    }
    match context.host() {
        Ok(_) => Finding::good(
            "store",
            format!("{} opens, SQLite {}", path.display(), holdpoint_store::sqlite::library_version()),
        ),
        Err(failure) => Finding::bad("store", &failure),
    }
}

fn configuration(context: &Context) -> Finding {
    let subject = "configuration";
    let configuration = match context.configuration() {
        Ok(configuration) => configuration,
        Err(failure) => return Finding { found: failure.to_string(), ..Finding::bad(subject, &failure) },
    };
    let Some(path) = context.configuration_path() else {
        return Finding::good(subject, "no file: nodes have no connectors");
    };
    let problems = configuration.check(&path);
    if !problems.is_empty() {
        let list: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.code, problem.message)).collect();
        let cures: Vec<&str> = problems.iter().map(|problem| problem.cure.as_str()).collect();
        return Finding { subject, ok: false, found: list.join("\n"), cure: cures.join("\n") };
    }
    let names: Vec<&str> = configuration.connectors.keys().map(|name| name.as_str()).collect();
    Finding::good(subject, format!("{}: {}", path.display(), names.join(", ")))
}

fn cache() -> Finding {
    match cache_dir() {
        Some(path) => Finding::good("compiled cache", path.display().to_string()),
        None => Finding::good("compiled cache", "no home folder: components are compiled anew by each process"),
    }
}

fn guest_toolchain() -> Finding {
    let subject = "guest toolchain";
    match node_build::detect() {
        Ok(found) => Finding::good(subject, found),
        Err(error) => Finding { subject, ok: false, found: format!("{}: {error}", error.code()), cure: error.cure() },
    }
}
