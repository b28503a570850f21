//! Testing nodes on the host, without WebAssembly.
//!
//! [`FakeHost`] stands in for the host of one task: a test scripts answers and operation results, runs the node as often as it likes, and
//! looks at what the node asked, performed and said. It keeps the promises that the host keeps: a question without an answer ends the
//! execution, and another execution gets the recorded result of each operation instead of a second one.
//!
//! ```
//! use holdpoint_node::prelude::*;
//! use holdpoint_node::testing::FakeHost;
//!
//! fn gate(state: Value, cx: Cx) -> Result<Command> {
//!     cx.side_effect("ledger").request(json!({ "event": "asked" }))?;
//!     let approved: bool = cx.interrupt(&json!({ "amount": state["amount"] }))?;
//!     Ok(Command::update(json!({ "approved": approved })))
//! }
//!
//! let mut host = FakeHost::new();
//! host.reply("ledger", json!(null));
//!
//! // The first execution ends at the question …
//! let question = host.run(gate, json!({ "amount": 5 })).interrupted();
//! assert_eq!(question.payload, json!({ "amount": 5 }));
//!
//! // … and the one after the answer goes through, with one row in the ledger.
//! host.answer(json!(true));
//! let command = host.run(gate, json!({ "amount": 5 })).finished();
//! assert_eq!(command.update, json!({ "approved": true }));
//! assert_eq!(host.performed().len(), 1);
//! ```

mod fake_host;
mod outcome;
mod script;

pub use self::fake_host::FakeHost;
pub use self::outcome::Outcome;
pub use crate::side_effect::Operation;
