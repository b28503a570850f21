//! What an operation is known by: its scope and the digest of its request.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{ConnectorName, GraphName, ThreadId};
use holdpoint_graph::operation::Scope;

use crate::configuration::ScopeRule;

/// The scope of an operation that a thread of `graph` asks for.
pub(crate) fn scope(rule: &ScopeRule, graph: &GraphName, lineage: &ThreadId) -> Scope {
    match rule {
        ScopeRule::Thread => Scope::Thread(lineage.clone()),
        ScopeRule::Global { shared_by } => {
            let name = shared_by.first().filter(|_| shared_by.contains(graph)).unwrap_or(graph);
            Scope::Global(name.to_string())
        }
    }
}

/// The digest of `{ connector, request }`, from the request's canonical form.
pub(crate) fn request_digest(connector: &ConnectorName, canonical_request: &str) -> Digest {
    Digest::of_bytes(format!("{{\"connector\":\"{connector}\",\"request\":{canonical_request}}}").as_bytes())
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::digest::canonical_json;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_digest_is_that_of_the_canonical_object() {
        let request = json!({ "b": [1.0, "é\n"], "a": null });
        let connector = ConnectorName::parse("pay-1").expect("valid");
        let whole = json!({ "request": request, "connector": "pay-1" });
        assert_eq!(request_digest(&connector, &canonical_json(&request)), Digest::of_json(&whole));
    }
}
