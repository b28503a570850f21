//! The probe: one node that does what its `with` table says, so that graphs for tests are data.
//!
//! `with = { script = [step, …] }`; steps run in order. Each is a table with one of these keys, and beside it those in brackets:
//!
//! | step | what it does |
//! |---|---|
//! | `set = { channel = value }` | adds to the update; for a channel set twice the last value counts |
//! | `ask = payload` (`as`, `answer_schema`, `deadline_ms`, `decision_as`) | asks a person; `as` names the answer's value, `decision_as` the whole decision |
//! | `effect = { connector, request, id? }` (`as`, `catch`) | performs one operation |
//! | `effects = [{ connector, request, id? }, …]` (`as`, `catch`) | performs several at once; `as` names the list of their results |
//! | `goto = ["n", { send = { node, argument } }, { parent = "n" }, "END"]` | adds destinations; the script goes on |
//! | `send_each = { over, node, argument? }` | adds a send for each item of the list `over`, or for each number below it; `$item` and `$index` stand for the item and its position, also in `node`; without `argument` the item itself is sent |
//! | `fail = { code, message, retryable?, retry_after_ms?, details? }` | returns this failure |
//! | `trap = true` · `spin = true` · `allocate = bytes` | traps, loops for ever, takes memory and keeps it |
//! | `log = text` (`level`) · `emit = value` | reports |
//! | `now = "name"` · `random = { bytes, as }` | names the recorded time in milliseconds, or recorded random bytes as hex |
//! | `if = { eq = [a, b] }, then = […], else = […]` | runs one of two lists |
//! | `repeat = { times }` or `repeat = { until = { eq = […] }, max? }, do = […]` | runs a list again and again; `$index` counts from 0 |
//!
//! In every value a string `"$state.x"`, `"$argument.x"`, `"$config.x"`, `"$task.x"` or `"$name.x"` stands for that value, dotted as deep as
//! needed, with numbers for positions in lists; what is not there is null. Inside a longer string `"${state.x}"` puts its text.
//! `set = { channel = { "__overwrite__" = value } }` replaces the channel whatever its reducer: it is passed on like any value.
//! `$state` is what the node was given: a `set` does not change it. `until` is looked at after each round, so there is at least one.
//!
//! A refused operation is the node's failure, with the refusal's code; with `catch = true` the name given by `as` is `{ "error": { code,
//! message, retryable, details } }` instead. A script that cannot be read is the failure `invalid-script`, before anything happens.
//!
//! Layout: [`script`] reads the table into steps, [`value`] resolves references, [`interpreter`] runs the steps.

mod interpreter;
mod script;
mod value;

#[cfg(test)]
mod tests;

use holdpoint_node::prelude::*;

/// Does what its `with` table says.
#[node]
fn probe(state: Value, cx: Cx) -> Result<Command> {
    let config: Value = cx.config()?;
    let steps = script::read(&config)?;
    interpreter::run(&steps, state, config, &cx)
}
