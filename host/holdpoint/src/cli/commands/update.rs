//! `holdpoint update`.

use holdpoint_engine::{AsNode, RunOptions, Update};
use holdpoint_graph::nodes::Destination;
use serde_json::Value;

use crate::cli::context::{Context, checkpoint_of, json_argument, object_argument, thread_id};
use crate::cli::output;
use crate::cli::run_flags::not_a_node;
use crate::cli::time_arguments::UpdateArguments;
use crate::failure::{EXIT_DONE, Failure};

/// Writes into a thread's state and shows what came of it.
///
/// # Errors
/// Every refusal of an update; then nothing was written.
pub async fn run(context: &Context, arguments: UpdateArguments) -> Result<u8, Failure> {
    let thread = thread_id(&arguments.thread)?;
    let supersteps = match &arguments.supersteps {
        Some(text) => supersteps(&json_argument("--supersteps", text)?)?,
        None => vec![vec![one_update(arguments.set.as_deref(), arguments.as_node.as_deref())?]],
    };
    let metadata = arguments.metadata.as_deref().map(|text| object_argument("--metadata", text)).transpose()?;
    let host = context.existing_host()?;
    let at = match &arguments.at {
        Some(text) => Some(checkpoint_of(&host, &thread, text).await?),
        None => None,
    };
    let options =
        RunOptions { metadata: metadata.unwrap_or_default(), effects: arguments.effects, ..RunOptions::default() };
    let engine = host.engine.with_options(context.options(options));
    let view = engine.update(&thread, at.as_ref(), &supersteps).await.map_err(|error| Failure::from_engine(&error))?;
    output::report_thread(&view, context.json);
    Ok(EXIT_DONE)
}

/// What `--set` and `--as-node` say. `null` writes nothing.
///
/// # Errors
/// A value that is no object, and a name that no node can have.
pub(super) fn one_update(set: Option<&str>, as_node: Option<&str>) -> Result<Update, Failure> {
    let values = match set.map(|text| json_argument("--set", text)).transpose()? {
        None | Some(Value::Null) => None,
        Some(Value::Object(values)) => Some(values),
        Some(_) => {
            return Err(Failure::invalid(
                "HP0720",
                "--set is not an object",
                "give a JSON object of channels, such as '{\"amount_cents\": 4000}'",
            ));
        }
    };
    let as_node = as_node.map(AsNode::parse).transpose().map_err(|error| not_a_node("--as-node", &error))?;
    Ok(Update { values, as_node, ..Update::default() })
}

/// Reads `[[{"values": …, "as_node": …}, …], …]`.
fn supersteps(given: &Value) -> Result<Vec<Vec<Update>>, Failure> {
    let steps = given.as_array().ok_or_else(|| misshapen("it is not a list"))?;
    let step = |(index, step): (usize, &Value)| {
        let updates = step.as_array().ok_or_else(|| misshapen(&format!("superstep {index} is not a list")))?;
        updates.iter().map(|update| bulk_update(index, update)).collect()
    };
    steps.iter().enumerate().map(step).collect()
}

fn bulk_update(index: usize, given: &Value) -> Result<Update, Failure> {
    let wrong = |what: &str| misshapen(&format!("superstep {index}: {what}"));
    let members = given.as_object().ok_or_else(|| wrong("an update is not an object"))?;
    if let Some(other) = members.keys().find(|key| !matches!(key.as_str(), "values" | "as_node" | "goto")) {
        return Err(wrong(&format!("an update has the member {other:?}")));
    }
    let values = match members.get("values") {
        None | Some(Value::Null) => None,
        Some(Value::Object(values)) => Some(values.clone()),
        Some(_) => return Err(wrong("the values of an update are not an object")),
    };
    let as_node = match members.get("as_node") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(AsNode::parse(name).map_err(|error| not_a_node("--supersteps", &error))?),
        Some(_) => return Err(wrong("the as_node of an update is not a name")),
    };
    let goto = match members.get("goto") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(places)) => places
            .iter()
            .map(|place| {
                destination(place)
                    .ok_or_else(|| wrong("a place in goto is neither a node nor {\"node\", \"argument\"}"))
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong("the goto of an update is not a list")),
    };
    Ok(Update { values, goto, as_node })
}

/// A node's name, or `{"node": …, "argument": …}` for a task of its own (LangGraph's `Send`).
fn destination(given: &Value) -> Option<Destination> {
    match given {
        Value::String(node) => Some(Destination::Node(node.clone())),
        Value::Object(members) if members.len() == 2 => {
            let node = members.get("node")?.as_str()?.to_owned();
            Some(Destination::Send { node, argument: members.get("argument")?.clone() })
        }
        _ => None,
    }
}

fn misshapen(what: &str) -> Failure {
    Failure::invalid(
        "HP0723",
        format!("--supersteps has another form: {what}"),
        "give a list of supersteps, each a list of updates: [[{\"values\": {\"amount_cents\": 4000}, \"as_node\": \"NODE\"}]]",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn supersteps_are_read_and_refused() {
        let read = supersteps(&json!([[{ "values": { "a": 1 }, "as_node": "__input__" }], [{ "as_node": "n" }, {}]]));
        let read = read.expect("well-formed");
        assert_eq!(read[0][0].as_node, Some(AsNode::Input));
        assert_eq!(read[0][0].values.as_ref().map(|values| values["a"].clone()), Some(json!(1)));
        assert_eq!((read[1].len(), &read[1][1]), (2, &Update::default()));
        let sends = supersteps(&json!([[{ "goto": ["a", { "node": "b", "argument": 1 }] }]])).expect("well-formed");
        let send = Destination::Send { node: "b".into(), argument: json!(1) };
        assert_eq!(sends[0][0].goto, [Destination::Node("a".into()), send]);
        for wrong in [
            json!({}),
            json!([{}]),
            json!([["x"]]),
            json!([[{ "value": {} }]]),
            json!([[{ "values": [] }]]),
            json!([[{ "as_node": 1 }]]),
            json!([[{ "goto": "a" }]]),
            json!([[{ "goto": [{ "node": "b" }] }]]),
        ] {
            assert_eq!(supersteps(&wrong).expect_err("misshapen").code, "HP0723", "{wrong}");
        }
        assert_eq!(supersteps(&json!([[{ "as_node": "a b" }]])).expect_err("no name").code, "HP0722");
    }

    #[test]
    fn null_writes_nothing() {
        let update = one_update(Some("null"), Some("END")).expect("valid");
        assert_eq!(update, Update { as_node: Some(AsNode::End), ..Update::default() });
        assert_eq!(one_update(Some("[]"), None).expect_err("a list").code, "HP0720");
    }
}
