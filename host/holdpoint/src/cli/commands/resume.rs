//! `holdpoint resume`.

use holdpoint_engine::{Answers, Input};
use holdpoint_graph::ids::{NodeName, is_answer_map};
use holdpoint_graph::nodes::{Command, Destination};
use serde_json::Value;

use crate::cli::arguments::ResumeArguments;
use crate::cli::context::{Context, actor, json_argument, object_argument, thread_id};
use crate::cli::run_flags::not_a_node;
use crate::cli::session;
use crate::failure::Failure;

/// Answers, commands, gives input, or continues.
///
/// # Errors
/// Every refusal of strict resume; then nothing was written.
pub async fn run(context: &Context, arguments: ResumeArguments) -> Result<u8, Failure> {
    let what = format!("resuming thread {}", arguments.thread);
    session::run(context, &arguments.run, None, what, async |options| {
        let thread = thread_id(&arguments.thread)?;
        let answers = answers(&arguments)?;
        let command = command(&arguments)?;
        let input = match &arguments.input {
            Some(text) => Some(Input { values: json_argument("--input", text)?, supersede: arguments.supersede }),
            None => None,
        };
        let host = context.existing_host()?;
        let engine = host.engine.with_options(options);
        let by = actor(arguments.by.clone());
        let view = match (answers, command, input) {
            (answers, Some(command), _) => engine.command(&thread, answers.as_ref(), command, &by).await,
            (Some(answers), None, _) => engine.answer(&thread, &answers, &by).await,
            (None, None, Some(input)) => engine.input(&thread, input).await,
            (None, None, None) => engine.proceed(&thread).await,
        };
        Ok((host, view.map_err(|error| Failure::from_engine(&error))?))
    })
    .await
}

/// What `--update` and `--goto` say.
fn command(arguments: &ResumeArguments) -> Result<Option<Command>, Failure> {
    if arguments.update.is_none() && arguments.goto.is_empty() {
        return Ok(None);
    }
    let update = arguments.update.as_deref().map(|text| object_argument("--update", text)).transpose()?;
    let goto = arguments.goto.iter().map(|name| match NodeName::parse(name.as_str()) {
        Ok(name) => Ok(Destination::Node(name.to_string())),
        Err(error) => Err(not_a_node("--goto", &error)),
    });
    Ok(Some(Command { update: update.unwrap_or_default(), goto: goto.collect::<Result<_, _>>()? }))
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
