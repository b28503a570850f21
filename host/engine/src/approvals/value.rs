//! From verdicts to the values that nodes get, and back.
//!
//! | verdict | plain | Agent Inbox: array of one | middleware: `decisions`, one for each action |
//! |---|---|---|---|
//! | accept | `{"approved": true}` | `{"type": "accept", "args": null}` | `{"type": "approve"}` |
//! | edit | the value, or `{"approved": true, "args": …}` | `{"type": "edit", "args": {"action", "args"}}` | `{"type": "edit", "edited_action": {"name", "args"}}` |
//! | respond | the value, or the message | `{"type": "response", "args": …}` | `{"type": "respond", "message": …}` |
//! | reject | `{"approved": false}` | `{"type": "ignore", "args": null}` | `{"type": "reject", "message": …}` |
//! | ignore | `{"approved": false, "ignored": true}` | `{"type": "ignore", "args": null}` | – |
//!
//! A plain answer has `reason` too when a message is given. Of several actions of the middleware an edit names the arguments of each in an array,
//! null for those that stay as they are.

use holdpoint_graph::nodes::Verdict;
use serde_json::{Map, Value, json};

use super::shape::{DECISIONS, Request, Shape, either, verdict_of_decision};

/// What is given with a verdict.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// The whole value that the node gets.
    pub value: Option<&'a Value>,
    /// Other arguments for what is asked about.
    pub args: Option<&'a Value>,
    /// Why, or the response.
    pub message: Option<&'a str>,
}

/// The value that a verdict gives the node.
///
/// # Errors
/// What is missing, or does not go together.
pub fn value(shape: &Shape, verdict: Verdict, given: Given<'_>) -> Result<Value, String> {
    if let Some(value) = given.value {
        if given.args.is_some() {
            return Err("either `value` or `args` can be given".to_owned());
        }
        return check(shape, verdict, value).map(|()| value.clone());
    }
    if given.args.is_some() && verdict != Verdict::Edit {
        return Err(format!("{} takes no `args`", verdict.name()));
    }
    match shape {
        Shape::Plain => plain(verdict, given),
        Shape::AgentInbox(request) => agent_inbox(request, verdict, given),
        Shape::Middleware(requests) => middleware(requests, verdict, given),
    }
}

fn plain(verdict: Verdict, Given { args, message, .. }: Given<'_>) -> Result<Value, String> {
    let mut value = match (verdict, args) {
        (Verdict::Accept, _) => json!({ "approved": true }),
        (Verdict::Edit, Some(args)) => json!({ "approved": true, "args": args }),
        (Verdict::Edit, None) => return Err("an edit needs `value` or `args`".to_owned()),
        (Verdict::Respond, _) => {
            return response(message);
        }
        (Verdict::Reject, _) => json!({ "approved": false }),
        (Verdict::Ignore, _) => json!({ "approved": false, "ignored": true }),
        (Verdict::Expired, _) => return Err("only the deadline expires".to_owned()),
    };
    if let (Some(message), Some(members)) = (message, value.as_object_mut()) {
        members.insert("reason".into(), message.into());
    }
    Ok(value)
}

fn agent_inbox(request: &Request, verdict: Verdict, given: Given<'_>) -> Result<Value, String> {
    let one = |kind: &str, args: Value| Ok(json!([{ "type": kind, "args": args }]));
    match verdict {
        Verdict::Accept => one("accept", Value::Null),
        Verdict::Edit => {
            let args = given.args.ok_or("an edit needs `args` or `value`")?;
            one("edit", json!({ "action": request.name, "args": args }))
        }
        Verdict::Respond => one("response", response(given.message)?),
        Verdict::Reject | Verdict::Ignore => one("ignore", Value::Null),
        Verdict::Expired => Err("only the deadline expires".to_owned()),
    }
}

fn response(message: Option<&str>) -> Result<Value, String> {
    message.map(Value::from).ok_or_else(|| "a response needs `message` or `value`".to_owned())
}

fn middleware(requests: &[Request], verdict: Verdict, given: Given<'_>) -> Result<Value, String> {
    let all = |decision: Value| Ok(json!({ "decisions": vec![decision; requests.len()] }));
    match verdict {
        Verdict::Accept => all(json!({ "type": "approve" })),
        Verdict::Reject => match given.message {
            Some(message) => all(json!({ "type": "reject", "message": message })),
            None => all(json!({ "type": "reject" })),
        },
        Verdict::Respond => all(json!({ "type": "respond", "message": response(given.message)? })),
        Verdict::Edit => {
            let args = given.args.ok_or("an edit needs `args` or `value`")?;
            let each: Vec<&Value> = match (requests, args) {
                ([_], args) => vec![args],
                (_, Value::Array(each)) if each.len() == requests.len() => each.iter().collect(),
                _ => return Err(format!("`args` must be an array of {}, one for each action", requests.len())),
            };
            let decisions = requests.iter().zip(each).map(|(request, args)| match args {
                Value::Null => json!({ "type": "approve" }),
                args => json!({ "type": "edit", "edited_action": { "name": request.name, "args": args } }),
            });
            let value = json!({ "decisions": decisions.collect::<Vec<_>>() });
            check_decisions(requests, &value).map(|()| value)
        }
        Verdict::Ignore | Verdict::Expired => Err(format!("{} is unknown to the asker", verdict.name())),
    }
}

/// What the arguments of each action are in a value that edits, where it has a known form: as they were asked where nothing is said of them.
pub fn edited_args(shape: &Shape, value: &Value) -> Option<Vec<Value>> {
    match shape {
        Shape::Plain => Some(vec![value.get("args")?.clone()]),
        Shape::AgentInbox(_) => {
            let [response] = value.as_array()?.as_slice() else { return None };
            Some(vec![response.get("args")?.get("args")?.clone()])
        }
        Shape::Middleware(requests) => {
            let decisions = decisions(value)?;
            let edited = requests.iter().zip(decisions).map(|(request, decision)| {
                let action =
                    decision.as_object().and_then(|decision| either(decision, "edited_action", "editedAction"));
                action.and_then(|action| action.get("args")).unwrap_or(&request.args).clone()
            });
            Some(edited.collect())
        }
    }
}

/// The verdict that a value is, where it has one of the known forms.
pub fn verdict_of(shape: &Shape, value: &Value) -> Option<Verdict> {
    let of_shape = match shape {
        Shape::AgentInbox(_) => value.as_array().and_then(|items| match items.as_slice() {
            [only] => verdict_of_response(only),
            _ => None,
        }),
        Shape::Middleware(_) => decisions(value).and_then(|decisions| verdict_of_decisions(decisions)),
        Shape::Plain => None,
    };
    of_shape.or_else(|| verdict_of_plain(value.as_object()?))
}

fn verdict_of_plain(members: &Map<String, Value>) -> Option<Verdict> {
    match (members.get("approved")?.as_bool()?, members) {
        (true, members) if members.contains_key("args") => Some(Verdict::Edit),
        (true, _) => Some(Verdict::Accept),
        (false, members) if members.get("ignored") == Some(&Value::Bool(true)) => Some(Verdict::Ignore),
        (false, _) => Some(Verdict::Reject),
    }
}

fn verdict_of_response(response: &Value) -> Option<Verdict> {
    match response.get("type")?.as_str()? {
        "accept" => Some(Verdict::Accept),
        "edit" => Some(Verdict::Edit),
        "response" => Some(Verdict::Respond),
        "ignore" => Some(Verdict::Ignore),
        _ => None,
    }
}

fn decisions(value: &Value) -> Option<&Vec<Value>> {
    value.get("decisions")?.as_array().filter(|decisions| !decisions.is_empty())
}

/// Decisions that are not all alike change what is done: together they are an edit.
fn verdict_of_decisions(decisions: &[Value]) -> Option<Verdict> {
    let mut verdicts = decisions.iter().map(|decision| verdict_of_decision(decision.get("type")?.as_str()?));
    let first = verdicts.next()??;
    let rest: Vec<Verdict> = verdicts.collect::<Option<_>>()?;
    Some(if rest.iter().all(|verdict| *verdict == first) { first } else { Verdict::Edit })
}

/// Whether a value that somebody gives as a whole is what they say that it is, and what the asker lets be said.
///
/// # Errors
/// Why it is not.
pub fn check(shape: &Shape, verdict: Verdict, value: &Value) -> Result<(), String> {
    if let Some(says) = verdict_of(shape, value) {
        let fits = match (verdict, says) {
            (Verdict::Edit, Verdict::Accept) | (Verdict::Ignore, Verdict::Reject) => true,
            // Agent Inbox spells both alike.
            (Verdict::Reject, Verdict::Ignore) => matches!(shape, Shape::AgentInbox(_)),
            (verdict, says) => verdict == says,
        };
        if !fits {
            return Err(format!("the value says {} and the verdict {}", says.name(), verdict.name()));
        }
    }
    match shape {
        Shape::Plain => Ok(()),
        Shape::AgentInbox(request) => check_response(request, value),
        Shape::Middleware(requests) => check_decisions(requests, value),
    }
}

fn check_response(request: &Request, value: &Value) -> Result<(), String> {
    let Some([response]) = value.as_array().map(Vec::as_slice) else { return Ok(()) };
    let Some(verdict) = verdict_of_response(response) else { return Ok(()) };
    if !request.allowed.contains(&verdict) {
        return Err(format!("the asker does not allow to {}", verdict.name()));
    }
    let args = response.get("args").unwrap_or(&Value::Null);
    let as_asked = json!({ "action": request.name, "args": request.args });
    if verdict == Verdict::Accept && !args.is_null() && *args != as_asked {
        return Err("what is accepted is not what was asked: that is an edit".to_owned());
    }
    Ok(())
}

fn check_decisions(requests: &[Request], value: &Value) -> Result<(), String> {
    let Some(decisions) = decisions(value) else { return Ok(()) };
    if decisions.len() != requests.len() {
        return Err(format!("there are {} decisions for {} actions", decisions.len(), requests.len()));
    }
    for (request, decision) in requests.iter().zip(decisions) {
        let word = decision.get("type").and_then(Value::as_str).unwrap_or_default();
        let Some(verdict) = verdict_of_decision(word) else {
            let words: Vec<&str> = DECISIONS.iter().map(|(word, _)| *word).collect();
            return Err(format!("the decision on {} is {word:?}, none of {}", request.name, words.join(", ")));
        };
        if !request.allowed.contains(&verdict) {
            return Err(format!("the asker does not allow to {word} {}", request.name));
        }
        let edited = decision.as_object().and_then(|decision| either(decision, "edited_action", "editedAction"));
        let is_action = |action: &Value| action["name"].is_string() && action["args"].is_object();
        if verdict == Verdict::Edit && !edited.is_some_and(is_action) {
            return Err(format!("the edit of {} has no `edited_action` with `name` and `args`", request.name));
        }
    }
    Ok(())
}
