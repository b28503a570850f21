//! The payload shapes that are in the wild: LangGraph's Agent Inbox (`HumanInterrupt`), LangChain's human-in-the-loop middleware (`HITLRequest`),
//! and everything else.

use holdpoint_graph::nodes::Verdict;
use serde_json::{Map, Value};

/// What a payload says about itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// `{ action_request: { action, args }, config: { allow_accept, … }, description? }`, alone, in an array of one, or as JSON text.
    AgentInbox(Request),
    /// `{ action_requests: [{ name, args, description? }], review_configs: [{ action_name, allowed_decisions, args_schema? }] }`.
    Middleware(Vec<Request>),
    /// Anything else.
    Plain,
}

/// One action that is asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its name.
    pub name: String,
    /// What it is to be done with.
    pub args: Value,
    /// What it is, for people.
    pub description: Option<String>,
    /// JSON Schema of `args`.
    pub args_schema: Option<Value>,
    /// What may be said of it.
    pub allowed: Vec<Verdict>,
}

impl Shape {
    /// The shape of a payload.
    pub fn of(payload: &Value) -> Self {
        let parsed = payload.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let payload = parsed.as_ref().unwrap_or(payload);
        let object = match payload {
            Value::Array(items) if items.len() == 1 => items.first().and_then(Value::as_object),
            other => other.as_object(),
        };
        let Some(object) = object else { return Self::Plain };
        agent_inbox(object)
            .map(Self::AgentInbox)
            .or_else(|| middleware(object).map(Self::Middleware))
            .unwrap_or(Self::Plain)
    }

    /// The actions that are asked about.
    pub fn requests(&self) -> &[Request] {
        match self {
            Self::AgentInbox(request) => std::slice::from_ref(request),
            Self::Middleware(requests) => requests,
            Self::Plain => &[],
        }
    }

    /// Whether the payload lets this be said of all that it asks about.
    pub fn allows(&self, verdict: Verdict) -> bool {
        match self {
            // Of several actions, some may be edited and others accepted.
            Self::Middleware(requests) if verdict == Verdict::Edit => {
                requests.iter().any(|request| request.allowed.contains(&verdict))
            }
            _ => self.requests().iter().all(|request| request.allowed.contains(&verdict)),
        }
    }
}

/// Agent Inbox knows no rejection: whoever does not want the action ignores it.
fn agent_inbox(object: &Map<String, Value>) -> Option<Request> {
    let request = object.get("action_request")?.as_object()?;
    let config = object.get("config")?.as_object()?;
    let flags: [(&str, &[Verdict]); 4] = [
        ("allow_accept", &[Verdict::Accept]),
        ("allow_edit", &[Verdict::Edit]),
        ("allow_respond", &[Verdict::Respond]),
        ("allow_ignore", &[Verdict::Ignore, Verdict::Reject]),
    ];
    let set = flags.iter().filter(|(flag, _)| config.get(*flag).and_then(Value::as_bool) == Some(true));
    Some(Request {
        name: request.get("action")?.as_str()?.to_owned(),
        args: request.get("args").cloned().unwrap_or(Value::Null),
        description: object.get("description").and_then(Value::as_str).map(str::to_owned),
        args_schema: None,
        allowed: set.flat_map(|(_, verdicts)| verdicts.iter().copied()).collect(),
    })
}

fn middleware(object: &Map<String, Value>) -> Option<Vec<Request>> {
    let requests = either(object, "action_requests", "actionRequests")?.as_array()?;
    let configs = either(object, "review_configs", "reviewConfigs")?.as_array()?;
    if requests.is_empty() {
        return None;
    }
    let config_of = |name: &str| {
        let mut configs = configs.iter().filter_map(Value::as_object);
        configs.find(|config| either(config, "action_name", "actionName").and_then(Value::as_str) == Some(name))
    };
    let request = |request: &Value| {
        let request = request.as_object()?;
        let name = request.get("name")?.as_str()?.to_owned();
        let config = config_of(&name);
        let decisions = config.and_then(|config| either(config, "allowed_decisions", "allowedDecisions"));
        let allowed = match decisions.map(Value::as_array) {
            // Nothing is said: nothing is restricted.
            None => DECISIONS.iter().map(|(_, verdict)| *verdict).collect(),
            Some(words) => words?.iter().filter_map(|word| verdict_of_decision(word.as_str()?)).collect(),
        };
        Some(Request {
            args: either(request, "args", "arguments").cloned().unwrap_or(Value::Null),
            description: request.get("description").and_then(Value::as_str).map(str::to_owned),
            args_schema: config.and_then(|config| either(config, "args_schema", "argsSchema")).cloned(),
            allowed,
            name,
        })
    };
    requests.iter().map(request).collect()
}

/// The words of the middleware. It knows no ignoring.
pub(super) const DECISIONS: [(&str, Verdict); 4] =
    [("approve", Verdict::Accept), ("edit", Verdict::Edit), ("reject", Verdict::Reject), ("respond", Verdict::Respond)];

pub(super) fn verdict_of_decision(word: &str) -> Option<Verdict> {
    DECISIONS.iter().find(|(known, _)| *known == word).map(|(_, verdict)| *verdict)
}

/// The JavaScript tools write the same in camel case.
pub(super) fn either<'a>(object: &'a Map<String, Value>, snake: &str, camel: &str) -> Option<&'a Value> {
    object.get(snake).or_else(|| object.get(camel))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inbox() -> Value {
        json!({
            "action_request": { "action": "refund", "args": { "amount": 5 } },
            "config": { "allow_accept": true, "allow_edit": false, "allow_respond": true, "allow_ignore": true },
            "description": "a refund",
        })
    }

    #[test]
    fn agent_inbox_in_its_three_forms() {
        let forms =
            [inbox(), json!([inbox()]), Value::from(inbox().to_string()), Value::from(json!([inbox()]).to_string())];
        for form in forms {
            let shape = Shape::of(&form);
            let [request] = shape.requests() else { panic!("{form}") };
            assert_eq!((request.name.as_str(), &request.args), ("refund", &json!({ "amount": 5 })), "{form}");
            let allowed = super::super::policy::VERDICTS.map(|verdict| shape.allows(verdict));
            assert_eq!(allowed, [true, false, true, true, true], "accept, edit, respond, reject, ignore");
        }
    }

    #[test]
    fn middleware_in_both_cases() {
        let snake = json!({
            "action_requests": [{ "name": "a", "args": { "x": 1 } }, { "name": "b", "arguments": {} }],
            "review_configs": [
                { "action_name": "a", "allowed_decisions": ["approve", "edit", "reject"], "args_schema": { "type": "object" } },
                { "action_name": "b", "allowed_decisions": ["approve", "reject"] },
            ],
        });
        let camel = json!({
            "actionRequests": [{ "name": "a", "args": { "x": 1 } }, { "name": "b", "args": {} }],
            "reviewConfigs": [
                { "actionName": "a", "allowedDecisions": ["approve", "edit", "reject"], "argsSchema": { "type": "object" } },
                { "actionName": "b", "allowedDecisions": ["approve", "reject"] },
            ],
        });
        assert_eq!(Shape::of(&snake), Shape::of(&camel));
        let shape = Shape::of(&snake);
        let allowed = super::super::policy::VERDICTS.map(|verdict| shape.allows(verdict));
        assert_eq!(allowed, [true, true, false, true, false], "accept, edit, respond, reject, ignore");
    }

    #[test]
    fn what_only_looks_like_one_is_plain() {
        for payload in [
            json!({ "action_request": "refund", "config": {} }),
            json!({ "action_request": { "action": "refund" } }),
            json!([inbox(), inbox()]),
            json!({ "action_requests": [], "review_configs": [] }),
            json!({ "action_requests": [{ "args": {} }], "review_configs": [] }),
            json!({ "action_requests": [{ "name": "a" }] }),
            json!("approve?"),
            Value::Null,
        ] {
            assert_eq!(Shape::of(&payload), Shape::Plain, "{payload}");
        }
    }
}
