//! What commands print: tables for people, JSON for programs.

use std::io::Write as _;

use comfy_table::{Cell, ContentArrangement, Table, presets};
use holdpoint_engine::{Interrupt, InterruptKind, ThreadView};
use holdpoint_graph::nodes::Answer;
use holdpoint_store::{QuestionRecord, ThreadError, ThreadRecord, ThreadStatus};
use serde_json::{Value, json};

use super::state_output::withheld_text;
use crate::failure::{EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, Failure};
use crate::host::Host;
use crate::remote::served;
use holdpoint_engine::tree::short_id;

/// Prints one JSON document on standard output. Here and below: of a command that runs for somebody else, theirs.
pub fn print_json(value: &Value) {
    print_text(&format!("{value:#}"));
}

/// Prints text for people on standard output. A reader that has gone away is no error of ours.
pub fn print_text(text: &str) {
    if let Some(served) = served::current() {
        return served.out(text);
    }
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints progress and remarks on standard error, so that standard output stays the result.
pub fn print_note(text: &str) {
    if let Some(served) = served::current() {
        return served.note(text);
    }
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Waits until there is room for more, where somebody reads over the network what is printed. For those who print without end.
pub async fn room() {
    if let Some(served) = served::current() {
        served.output.room().await;
    }
}

/// Prints an error on standard error.
pub fn print_error(failure: &Failure) {
    print_note(&failure.to_string());
}

/// Shows on a terminal that work is going on, until it is dropped. Nothing is shown elsewhere, nor with `--json`.
pub struct Progress(Option<indicatif::ProgressBar>);

impl Progress {
    /// Begins to show `text`.
    pub fn begin(text: impl Into<String>, json: bool) -> Self {
        const FRAME: std::time::Duration = std::time::Duration::from_millis(120);
        if json || served::current().is_some() {
            return Self(None);
        }
        let bar = indicatif::ProgressBar::new_spinner().with_message(text.into());
        bar.enable_steady_tick(FRAME);
        Self(Some(bar))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

/// A table with a header.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(Cell::new));
    for row in rows {
        table.add_row(row.into_iter().map(|text| Cell::new(visible(&text))));
    }
    table.to_string()
}

/// A thread as `run` and `resume` report it; gives the exit code.
pub fn report_thread(view: &ThreadView, json: bool) -> u8 {
    if json {
        print_json(&thread_json(view));
    } else {
        print_text(&thread_text(view));
    }
    exit_of(view.status)
}

/// The exit code of a run that left a thread so. One that was stopped between two supersteps waits to be continued.
pub fn exit_of(status: ThreadStatus) -> u8 {
    match status {
        ThreadStatus::Done => EXIT_DONE,
        ThreadStatus::Interrupted | ThreadStatus::Running => EXIT_INTERRUPTED,
        ThreadStatus::Failed => EXIT_FAILED,
    }
}

/// The reply of `run`, `resume` and `threads show`.
pub fn thread_json(view: &ThreadView) -> Value {
    let interrupts: Vec<Value> = view
        .interrupts
        .iter()
        .map(|interrupt| {
            json!({
                "id": interrupt.id,
                "kind": interrupt.kind.name(),
                "node": interrupt.node.as_str(),
                "namespace": interrupt.namespace.as_str(),
                "value": interrupt.value,
                "digest": interrupt.digest.as_ref().map(|digest| digest.as_str()),
                "evidence": interrupt.evidence,
            })
        })
        .collect();
    json!({
        "thread_id": view.thread.as_str(),
        "status": view.status.name(),
        "values": view.values,
        "next": view.next.iter().map(|node| node.as_str()).collect::<Vec<_>>(),
        "interrupts": interrupts,
        "paused": view.paused,
        "checkpoint_id": view.checkpoint.as_str(),
        "error": view.error.as_ref().map(error_json),
    })
}

/// One row of `threads list`.
pub fn thread_row_json(thread: &ThreadRecord) -> Value {
    json!({
        "thread_id": thread.id.as_str(),
        "status": thread.status.name(),
        "graph": thread.graph_name.as_str(),
        "graph_digest": thread.graph.as_str(),
        "checkpoint_id": thread.head.as_str(),
        "error": thread.error.as_ref().map(error_json),
        "created_at": time_text(thread.created_at_ms),
        "updated_at": time_text(thread.updated_at_ms),
    })
}

pub(super) fn error_json(error: &ThreadError) -> Value {
    json!({
        "code": error.code,
        "message": error.message,
        "node": error.node.as_ref().map(|node| node.as_str()),
        "details": error.details,
    })
}

pub(super) fn question_json(question: &QuestionRecord) -> Value {
    json!({
        "id": question.id.as_str(),
        "value": question.payload,
        "digest": question.payload_digest.as_str(),
        "status": question.status.name(),
        "answer": question.answer.as_ref().map(answer_json),
    })
}

fn answer_json(answer: &Answer) -> Value {
    json!({
        "verdict": answer.verdict.name(),
        "value": answer.value,
        "answered_by": answer.answered_by,
        "answered_at": time_text(answer.answered_at_ms),
    })
}

/// A thread for people.
pub fn thread_text(view: &ThreadView) -> String {
    let mut text = format!("thread {} is {}\n", visible(view.thread.as_str()), view.status.name());
    text.push_str(&table(
        &["channel", "value"],
        view.values.iter().map(|(name, value)| vec![name.clone(), short(value)]),
    ));
    if let Some(error) = &view.error {
        let node = error.node.as_ref().map(|node| format!(" in node {node}")).unwrap_or_default();
        text.push_str(&format!("\nfailed{node}: {} {}", visible(&error.code), visible(&error.message)));
        let thread = quoted(view.thread.as_str());
        match withheld_text(error) {
            Some(withheld) => text.push_str(&format!(
                "\nit would have done this, and nothing was sent:\n{withheld}\n\
                 to have it done when you agree: holdpoint replay {thread} --from {} --effects ask",
                short_id(&view.checkpoint)
            )),
            None => text.push_str(&format!("\ncontinue with: holdpoint resume --thread {thread}")),
        }
    }
    if view.paused {
        let next: Vec<&str> = view.next.iter().map(|node| node.as_str()).collect();
        text.push_str(&format!(
            "\npaused; next: {}\ncontinue with: holdpoint resume --thread {}",
            next.join(", "),
            quoted(view.thread.as_str())
        ));
    }
    if !view.interrupts.is_empty() {
        text.push_str("\nwaits for:\n");
        text.push_str(&table(
            &["id", "kind", "node", "asks"],
            view.interrupts.iter().map(|interrupt| {
                vec![interrupt.id.clone(), interrupt.kind.name().into(), interrupt.node.to_string(), asked(interrupt)]
            }),
        ));
        for doubt in view.interrupts.iter().filter(|interrupt| interrupt.kind == InterruptKind::InDoubt) {
            text.push_str(&format!("\nsettle with: holdpoint operations show {}", quoted(&doubt.id)));
        }
        let questions = view.interrupts.iter().any(|interrupt| interrupt.kind != InterruptKind::InDoubt);
        if questions && view.status == ThreadStatus::Interrupted {
            text.push_str(&format!(
                "\nanswer with: holdpoint resume --thread {} --answer JSON",
                quoted(view.thread.as_str())
            ));
        }
    }
    text
}

/// What is asked, and for the host's own questions why.
fn asked(interrupt: &Interrupt) -> String {
    match &interrupt.evidence {
        Some(evidence) => format!("{}\n{}", pretty(&interrupt.value), pretty(evidence)),
        None => pretty(&interrupt.value),
    }
}

/// Sends what is queued and due. What cannot be sent now stays queued: a remark, not a failure of the command.
pub async fn deliver_due(host: &Host) {
    match host.effects.deliver_due().await {
        Ok(delivered) if delivered.postponed + delivered.failed + delivered.in_doubt > 0 => print_note(&format!(
            "of what was to leave after the commit, {} will be tried again (`holdpoint operations deliver`), {} failed, {} is in doubt; \
             see `holdpoint operations list`",
            delivered.postponed, delivered.failed, delivered.in_doubt
        )),
        Ok(_) => {}
        Err(error) => print_note(&format!(
            "what was to leave after the commit is queued: {error} [{}]; try `holdpoint operations deliver`",
            error.code()
        )),
    }
}

/// A time as people and programs read it: RFC 3339 in UTC.
pub fn time_text(at_ms: u64) -> String {
    i64::try_from(at_ms)
        .ok()
        .and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok())
        .map_or_else(|| format!("{at_ms} ms since 1970"), |time| format!("{time:.3}"))
}

/// A value on one line, cut where it is long.
pub fn short(value: &Value) -> String {
    const LONGEST_CHARS: usize = 100;
    let text = value.to_string();
    if text.chars().count() > LONGEST_CHARS { text.chars().take(LONGEST_CHARS).chain(['…']).collect() } else { text }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// Escapes what a terminal would hide or obey: control characters, and the marks that reorder or hide text. Payloads come from guests that nobody
/// has to trust, and a person decides by what is shown.
pub fn visible(text: &str) -> String {
    let hidden = |character: char| {
        (character.is_control() && character != '\n')
            || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        if hidden(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
        shown
    })
}

/// Quoted for a POSIX shell where that is needed.
pub fn quoted(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:@".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_in_a_payload() {
        assert_eq!(visible("pay \u{202e}001 \u{1b}[2Jx\u{200b}"), "pay \\u{202e}001 \\u{1b}[2Jx\\u{200b}");
        assert_eq!(visible("zwei\nZeilen: ä €"), "zwei\nZeilen: ä €");
    }

    #[test]
    fn shell_quotes() {
        assert_eq!(quoted("order-9241"), "order-9241");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time_text(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }
}
