//! Checkpoints as commands print them: with their tasks, the questions of these, and the runs of subgraphs inside them.

use holdpoint_engine::{HistoryEntry, TaskView};
use holdpoint_graph::ids::{Namespace, ThreadId};
use holdpoint_graph::nodes::EffectMode;
use holdpoint_store::{QuestionRecord, ThreadError};
use serde_json::{Value, json};

use super::output::{self, error_json, question_json, table, time_text, visible};

/// Which of the two views of a state is shown (R38).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateView {
    /// As the thread stands now.
    Live,
    /// As recorded at a checkpoint.
    Record,
}

/// One checkpoint for programs.
pub fn entry_json(entry: &HistoryEntry) -> Value {
    json!({
        "checkpoint_id": entry.checkpoint.as_str(),
        "parent_id": entry.parent.as_ref().map(|parent| parent.as_str()),
        "namespace": entry.namespace.as_str(),
        "graph_digest": entry.graph.as_str(),
        "step": entry.step,
        "source": entry.source.name(),
        "writers": entry.writers.iter().map(|node| node.as_str()).collect::<Vec<_>>(),
        "next": entry.next,
        "values": entry.values,
        "tasks": entry.tasks.iter().map(task_json).collect::<Vec<_>>(),
        "effects": entry.effects.name(),
        "metadata": entry.metadata,
        "created_at": time_text(entry.created_at_ms),
    })
}

/// A thread's state for programs.
pub fn state_json(thread: &ThreadId, entry: &HistoryEntry, view: StateView) -> Value {
    let mut state = entry_json(entry);
    let interrupts: Vec<Value> = questions(entry)
        .into_iter()
        .map(|(namespace, question)| {
            let mut interrupt = question_json(question);
            interrupt["node"] = json!(question.node.as_str());
            interrupt["namespace"] = json!(namespace.as_str());
            interrupt
        })
        .collect();
    state["thread_id"] = json!(thread.as_str());
    state["view"] = json!(match view {
        StateView::Live => "live",
        StateView::Record => "record",
    });
    state["interrupts"] = Value::Array(interrupts);
    state
}

/// A thread's state for people.
pub fn state_text(thread: &ThreadId, entry: &HistoryEntry, view: StateView) -> String {
    let shown = visible(thread.as_str());
    let mut text = match view {
        StateView::Live => format!(
            "thread {shown} as it stands now: what finished tasks of the unfinished step wrote is in the values, and only questions that wait are shown\n"
        ),
        StateView::Record => format!(
            "thread {shown} as recorded at checkpoint {}: nothing of later steps is in it, and every question is shown\n",
            entry.checkpoint
        ),
    };
    text.push_str(&entry_text(entry));
    let questions = questions(entry);
    if !questions.is_empty() {
        let rows = questions.into_iter().map(|(namespace, question)| {
            let answer = question.answer.as_ref().map(|answer| format!("{} by {}", answer.value, answer.answered_by));
            vec![
                question.id.to_string(),
                place(namespace, question.node.as_str()),
                question.status.name().into(),
                format!("{:#}", question.payload),
                answer.unwrap_or_default(),
            ]
        });
        text.push_str("\nquestions:\n");
        text.push_str(&table(&["id", "node", "status", "asks", "answer"], rows));
    }
    text
}

/// What a thread on a branch that performs nothing would have done; none when that is not why it stopped.
pub fn withheld_text(error: &ThreadError) -> Option<String> {
    let operations = error.details.as_ref()?.get("operations")?.as_array().filter(|_| error.code == "HP0445")?;
    let rows = operations.iter().map(|operation| {
        let text = |key: &str| operation[key].as_str().unwrap_or_default().to_owned();
        vec![text("connector"), text("operation_id"), format!("{:#}", operation["request"])]
    });
    Some(table(&["connector", "operation", "would have sent"], rows))
}

fn task_json(task: &TaskView) -> Value {
    json!({
        "id": task.id.as_str(),
        "node": task.node.as_str(),
        "path": task.path,
        "status": task.status.map(|status| status.name()),
        "executions": task.executions,
        "interrupts": task.questions.iter().map(question_json).collect::<Vec<_>>(),
        "result": task.result.as_ref().map(|command| &command.update),
        "error": task.error.as_ref().map(error_json),
        "child_checkpoint_id": task.child.as_ref().map(|child| child.as_str()),
        "state": task.state.as_deref().map(entry_json),
    })
}

fn entry_text(entry: &HistoryEntry) -> String {
    let writers: Vec<&str> = entry.writers.iter().map(|node| node.as_str()).collect();
    let by = if writers.is_empty() { String::new() } else { format!(" by {}", writers.join(", ")) };
    let effects = match entry.effects {
        EffectMode::Live => String::new(),
        mode => format!("; effects: {}", mode.name()),
    };
    let mut text = format!(
        "checkpoint {}, step {}, {}{by}, {}{effects}\n",
        entry.checkpoint,
        entry.step,
        entry.source.name(),
        time_text(entry.created_at_ms)
    );
    text.push_str(&table(
        &["channel", "value"],
        entry.values.iter().map(|(name, value)| vec![name.clone(), output::short(value)]),
    ));
    text.push_str(&match entry.next.as_slice() {
        [] => "\nnext: nothing".to_owned(),
        next => format!("\nnext: {}", next.join(", ")),
    });
    if !entry.tasks.is_empty() {
        text.push_str("\ntasks:\n");
        text.push_str(&table(&["node", "path", "status", "runs", "came to"], entry.tasks.iter().map(task_row)));
    }
    for task in &entry.tasks {
        if let Some(withheld) = task.error.as_ref().and_then(withheld_text) {
            text.push_str(&format!("\n{} would have done:\n{withheld}", task.node));
        }
        if let Some(state) = &task.state {
            let inner = entry_text(state).replace('\n', "\n  ");
            text.push_str(&format!("\nin {} ({}):\n  {inner}", task.node, state.namespace));
        }
    }
    text
}

fn task_row(task: &TaskView) -> Vec<String> {
    let came_to = match (&task.result, &task.error) {
        (Some(command), _) => output::short(&Value::Object(command.update.clone())),
        (None, Some(error)) => format!("{} {}", error.code, error.message),
        (None, None) => String::new(),
    };
    let status = task.status.map_or("to run", |status| status.name());
    vec![task.node.to_string(), task.path.clone(), status.into(), task.executions.to_string(), came_to]
}

/// The questions of a state's tasks, those of running subgraphs included.
fn questions(entry: &HistoryEntry) -> Vec<(&Namespace, &QuestionRecord)> {
    let mut all = Vec::new();
    for task in &entry.tasks {
        all.extend(task.questions.iter().map(|question| (&entry.namespace, question)));
        all.extend(task.state.as_deref().map(questions).unwrap_or_default());
    }
    all
}

fn place(namespace: &Namespace, node: &str) -> String {
    let graphs = namespace.parts().map(|part| part.split_once(':').map_or(part, |(node, _)| node));
    graphs.chain([node]).collect::<Vec<_>>().join(" › ")
}
