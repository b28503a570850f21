//! `holdpoint resume`.

use holdpoint_engine::{Answers, Input};
use holdpoint_graph::ids::is_answer_map;
use serde_json::Value;

use crate::cli::arguments::ResumeArguments;
use crate::cli::context::{Context, actor, json_argument, thread_id};
use crate::cli::output::{self, Progress};
use crate::failure::Failure;

/// Answers, gives input, or continues.
///
/// # Errors
/// Every refusal of strict resume; then nothing was written.
pub async fn run(context: &Context, arguments: ResumeArguments) -> Result<u8, Failure> {
    let thread = thread_id(&arguments.thread)?;
    let answers = answers(&arguments)?;
    let input = match &arguments.input {
        Some(text) => Some(Input { values: json_argument("--input", text)?, supersede: arguments.supersede }),
        None => None,
    };
    let host = context.existing_host()?;
    let progress = Progress::begin(format!("resuming thread {thread}"), context.json);
    let view = match (answers, input) {
        (Some(answers), _) => host.engine.answer(&thread, &answers, &actor(arguments.by)).await,
        (None, Some(input)) => host.engine.input(&thread, input).await,
        (None, None) => host.engine.proceed(&thread).await,
    };
    drop(progress);
    let view = view.map_err(|error| Failure::from_engine(&error))?;
    let exit = output::report_thread(&view, context.json);
    output::deliver_due(&host).await;
    Ok(exit)
}

/// An object whose every key is a question id is a map of answers in either option (LangGraph's rule); `--answers` takes nothing else.
fn answers(arguments: &ResumeArguments) -> Result<Option<Answers>, Failure> {
    let by_id = |map| Answers::from_map(map).map(Some).map_err(|error| Failure::from_engine(&error));
    match (&arguments.answer, &arguments.answers) {
        (Some(text), _) => match json_argument("--answer", text)? {
            Value::Object(map) if is_answer_map(&Value::Object(map.clone())) => by_id(map),
            value => Ok(Some(Answers::Bare(value))),
        },
        (None, Some(text)) => match json_argument("--answers", text)? {
            Value::Object(map) => by_id(map),
            _ => Err(Failure::invalid("HP0706", "--answers is not an object", "give {\"QUESTION ID\": ANSWER, …}")),
        },
        (None, None) => Ok(None),
    }
}
