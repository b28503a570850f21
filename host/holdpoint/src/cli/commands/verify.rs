//! `holdpoint verify`.

use std::path::Path;

use holdpoint_engine::verify::{Difference, Place, Report};
use serde_json::{Map, Value, json};

use crate::cli::arguments::VerifyArguments;
use crate::cli::context::{Context, thread_id};
use crate::cli::output;
use crate::failure::{EXIT_DONE, EXIT_FAILED, Failure};
use crate::fixture::Fixture;

/// Verifies a thread, or a fixture where a file has the name.
///
/// # Errors
/// An unknown thread, a graph version that is not stored, a damaged fixture, and the store's. A difference is reported, and the exit code says so.
pub async fn run(context: &Context, arguments: VerifyArguments) -> Result<u8, Failure> {
    let path = Path::new(&arguments.subject);
    // A file of a server is nobody's to name.
    let (engine, thread) = if !context.is_served() && path.is_file() {
        let fixture = read_fixture(path)?;
        (fixture.engine().await?, fixture.transfer.thread.id)
    } else {
        (context.existing_host()?.engine, thread_id(&arguments.subject)?)
    };
    let bar = Bar::begin(context);
    let verified = engine.verify(&thread, |done, all| bar.show(done, all)).await;
    drop(bar);
    let report = verified.map_err(|error| Failure::from_engine(&error))?;
    let failure = report.difference.as_ref().map(|difference| failure(thread.as_str(), difference));
    if context.json {
        output::print_json(&report_json(thread.as_str(), &report, failure.as_ref()));
    } else {
        output::print_text(&report_text(thread.as_str(), &report));
        if let Some(failure) = &failure {
            output::print_error(failure);
        }
    }
    Ok(failure.map_or(EXIT_DONE, |_| EXIT_FAILED))
}

fn read_fixture(path: &Path) -> Result<Fixture, Failure> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| {
        Failure::invalid(
            "HP0730",
            format!("the fixture {shown} cannot be read: {error}"),
            "check the path and its permissions",
        )
    })?;
    Fixture::parse(&String::from_utf8_lossy(&text)).map_err(|error| {
        let failure = error.into_failure();
        Failure { message: format!("{shown}: {}", failure.message), ..failure }
    })
}

/// Shows how far a verification is, on a terminal.
pub(super) struct Bar(Option<indicatif::ProgressBar>);

impl Bar {
    pub(super) fn begin(context: &Context) -> Self {
        Self((!context.json && !context.is_served()).then(|| indicatif::ProgressBar::new(0).with_message("verifying")))
    }

    pub(super) fn show(&self, done: u64, all: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(all);
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

fn failure(thread: &str, difference: &Difference) -> Failure {
    let what = match difference.place.task {
        Some(_) => format!("the {} of {} is another", difference.what, difference.place),
        None => format!("{} is not what is recorded: {} differs", difference.place, difference.what),
    };
    Failure::host(
        "HP0733",
        format!("the history of thread {thread} cannot be reproduced: {what}"),
        "look whether the node depends on something that is not recorded, or whether somebody changed what is stored",
    )
}

fn report_json(thread: &str, report: &Report, failure: Option<&Failure>) -> Value {
    let skipped: Map<String, Value> =
        report.skipped.iter().map(|(reason, count)| (reason.name().to_owned(), (*count).into())).collect();
    let listed = report.skipped_first.iter().map(|skipped| {
        let mut place = place_json(&skipped.place);
        place["reason"] = skipped.reason.name().into();
        place
    });
    let difference = report.difference.as_ref().map(|difference| {
        let mut place = place_json(&difference.place);
        place["what"] = difference.what.into();
        place["expected"] = difference.expected.clone();
        place["found"] = difference.found.clone();
        place
    });
    let mut document = json!({
        "thread_id": thread,
        "ok": failure.is_none(),
        "checkpoints": report.checkpoints,
        "tasks": report.tasks,
        "transitions": report.transitions,
        "skipped": skipped,
        "skipped_first": listed.collect::<Vec<_>>(),
        "difference": difference,
    });
    if let Some(failure) = failure {
        document["error"] = failure.to_json()["error"].clone();
    }
    document
}

fn place_json(place: &Place) -> Value {
    json!({
        "checkpoint_id": place.checkpoint.as_str(),
        "namespace": place.namespace.as_str(),
        "step": place.step,
        "task_id": place.task.as_ref().map(|task| task.as_str()),
        "node": place.node.as_ref().map(|node| node.as_str()),
    })
}

fn report_text(thread: &str, report: &Report) -> String {
    let mut rows = vec![
        vec!["checkpoints".to_owned(), report.checkpoints.to_string()],
        vec!["tasks reproduced".to_owned(), report.tasks.to_string()],
        vec!["transitions reproduced".to_owned(), report.transitions.to_string()],
    ];
    rows.extend(report.skipped.iter().map(|(reason, count)| vec![format!("skipped: {reason}"), count.to_string()]));
    let counts = output::table(&["thread", &output::visible(thread)], rows);
    match &report.difference {
        None => format!("{counts}\nnothing differs"),
        Some(difference) => {
            let shown = |value: &Value| format!("{value:#}");
            let rows = [
                vec!["where".to_owned(), difference.place.to_string()],
                vec!["what".to_owned(), difference.what.to_owned()],
                vec!["recorded".to_owned(), shown(&difference.expected)],
                vec!["found".to_owned(), shown(&difference.found)],
            ];
            format!("{counts}\nthe first difference:\n{}", output::table(&["", ""], rows))
        }
    }
}
