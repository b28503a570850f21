//! A few graphs that between them use every feature.

use holdpoint_engine::{Deployment, Engine};
use holdpoint_graph::definition::{Graph, GraphReference, Persist, Subgraph, Work};
use holdpoint_graph::ids::NodeName;

use crate::support::graph;

/// A chain with a cached node, two questions in a loop, conditional edges, breakpoints, a shared payment, mail, and a loop on managed values.
const REVIEW: &str = r#"start = "draft"
recursion_limit = 8
[state]
log = { type = "array", reducer = "append" }
x = { type = ["integer", "null"], default = 0, maximum = 1000 }
left = { managed = "remaining_steps" }
last = { managed = "is_last_step" }
[nodes.draft]
with = { do = "log" }
reads = ["x"]
cache = { ttl = "1h" }
next = "gate"
[nodes.gate]
with = { do = "ask", questions = 2, keeps = true }
next = [{ when = "state.x >= 2", to = ["publish", "notify"] }, { when = "state.x == 1", to = "rework" }, { when = "state.x == 0", to = "END" }]
[nodes.gate.interrupt]
answer_schema = { type = "integer" }
[nodes.rework]
with = { do = "wander" }
interrupt_before = true
next = "gate"
[nodes.publish]
with = { do = "pay", scope = "global" }
next = "spin"
[nodes.notify]
with = { do = "mail" }
interrupt_after = true
[nodes.spin]
with = { do = "spin" }
"#;

/// Sends, joins of all and of some, retries, an error handler that asks, writes that conflict, a deferred node.
const SPREAD: &str = r#"start = ["fan", "side", "risky"]
recursion_limit = 12
[state]
log = { type = "array", reducer = "append" }
x = { type = "integer", default = 0 }
sum = { type = "integer", reducer = "add" }
same = { type = ["integer", "null"], reducer = "any" }
left = { managed = "remaining_steps" }
[nodes.fan]
with = { do = "fan", to = "work", count = 3 }
[nodes.work]
with = { do = "work" }
next = "gather"
[nodes.gather]
with = { do = "risky" }
[nodes.side]
with = { do = "write", values = { x = 1, same = 1, sum = 2 } }
[nodes.risky]
with = { do = "risky" }
retry = { attempts_max = 2, backoff = "0s" }
error_handler = "rescue"
[nodes.rescue]
with = { do = "ask" }
[nodes.meet]
with = { do = "log" }
join = { of = ["side", "risky", "rescue"], need = 2, within = "10s" }
next = "last"
[nodes.all]
with = { do = "pay", class = "idempotent", scope = "global" }
join = ["side", "gather"]
next = "last"
[nodes.last]
with = { do = "wander" }
defer = true
"#;

/// Where a step can go wrong at once, in every way in which it can.
const WILD: &str = r#"start = ["side", "risky", "spin", "turn"]
recursion_limit = 6
[state]
log = { type = "array", reducer = "append" }
x = { type = "integer", default = 0 }
y = { type = ["integer", "null"], default = 2 }
sum = { type = "integer", reducer = "add" }
same = { type = ["integer", "null"], reducer = "any" }
left = { managed = "remaining_steps" }
last = { managed = "is_last_step" }
[nodes.side]
with = { do = "write", values = { sum = 2 } }
[nodes.risky]
with = { do = "risky" }
[nodes.spin]
with = { do = "spin" }
[nodes.turn]
with = { do = "wander" }
next = [{ when = "state.y > 3", to = "END" }, { when = "state.y > 1", to = "pay" }]
[nodes.pay]
with = { do = "pay" }
"#;

/// Subgraphs of all three modes, sent and reached by edges.
const NEST: &str = r#"start = "open"
[state]
log = { type = "array", reducer = "append" }
x = { type = "integer", default = 0 }
[nodes.open]
with = { do = "fan", to = "call", contested = "kept", count = 2 }
next = ["kept", "bare", "deep"]
[nodes.call]
[nodes.kept]
[nodes.bare]
[nodes.deep]
[nodes.close]
with = { do = "log" }
join = ["kept", "bare", "deep"]
"#;

const MIDDLE: &str = r#"start = "before"
[state]
log = { type = "array", reducer = "append" }
[nodes.before]
with = { do = "leave" }
next = ["inner", "counter"]
[nodes.inner]
[nodes.counter]
[nodes.close]
with = { do = "log" }
"#;

const INNER: &str = r#"start = "first"
[state]
log = { type = "array", reducer = "append" }
prompt = { type = ["integer", "null"], default = 0 }
own = { type = "array", reducer = "append" }
[nodes.first]
with = { do = "log" }
next = "second"
[nodes.second]
with = { do = "ask" }
interrupt_before = true
next = "third"
[nodes.third]
with = { do = "leave" }
"#;

const COUNTER: &str = r#"start = "tick"
[state]
log = { type = "array", reducer = "append" }
x = { type = "integer", default = 0 }
prompt = { type = ["integer", "null"], default = 0 }
own = { type = "integer", default = 0 }
[nodes.tick]
with = { do = "tick" }
next = [{ when = "state.own == 2", to = "tock" }, { to = "END" }]
[nodes.tock]
with = { do = "ask" }
"#;

const PLAIN: &str = r#"start = "one"
[state]
log = { type = "array", reducer = "append" }
x = { type = "integer", default = 0 }
[nodes.one]
with = { do = "pay", scope = "global" }
next = "two"
[nodes.two]
with = { do = "shy" }
"#;

/// Deploys them.
pub(crate) async fn deploy(engine: &Engine) -> Vec<Deployment> {
    let inner = engine.deploy(graph(INNER)).await.unwrap();
    let counter = engine.deploy(graph(COUNTER)).await.unwrap();
    let plain = engine.deploy(graph(PLAIN)).await.unwrap();
    let middle = with(MIDDLE, &[("inner", &inner, Persist::PerCall), ("counter", &counter, Persist::PerThread)]);
    let middle = engine.deploy(middle).await.unwrap();
    let nest = with(
        NEST,
        &[
            ("call", &inner, Persist::PerCall),
            ("kept", &counter, Persist::PerThread),
            ("bare", &plain, Persist::None),
            ("deep", &middle, Persist::PerCall),
        ],
    );
    vec![
        engine.deploy(graph(REVIEW)).await.unwrap(),
        engine.deploy(graph(SPREAD)).await.unwrap(),
        engine.deploy(nest).await.unwrap(),
        engine.deploy(graph(WILD)).await.unwrap(),
    ]
}

/// A graph some of whose nodes are graphs.
pub(crate) fn with(text: &str, children: &[(&str, &Deployment, Persist)]) -> Graph {
    let mut parent = graph(text);
    for (name, child, persist) in children {
        let node = parent.nodes.get_mut(&NodeName::parse(*name).unwrap()).unwrap();
        node.work = Work::Subgraph(Subgraph { graph: GraphReference::Digest(child.digest.clone()), persist: *persist });
    }
    parent
}
