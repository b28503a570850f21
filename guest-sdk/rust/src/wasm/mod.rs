//! The guest's side of the contract: bindings, and a component for each [`Node`].

pub mod bindings;
mod convert;

use std::marker::PhantomData;
use std::rc::Rc;

use crate::cx::Level;
use crate::error::Refusal;
use crate::host::{AnswerText, Host, OperationText, QuestionText};
use crate::node::Node;

use self::bindings::holdpoint::node::{interrupt, recorded, report, side_effect};

/// Exports `$component`, an alias of [`Component`], as the component's world.
#[doc(hidden)]
#[macro_export]
macro_rules! export_component {
    ($component:ident) => {
        $crate::wasm::bindings::export!($component with_types_in $crate::wasm::bindings);
    };
}

/// The exports of the world for the node `N`.
#[derive(Debug)]
pub struct Component<N>(PhantomData<N>);

impl<N: Node> bindings::Guest for Component<N> {
    fn describe() -> bindings::Description {
        N::describe().into()
    }

    fn run(input: bindings::Input) -> Result<bindings::Command, bindings::Failure> {
        report_panics();
        match N::execute(Rc::new(Imports), input.into()) {
            Ok(command) => Ok(command.into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends the text of a panic to the task's log. There is no standard error stream, so that it would be lost with the trap.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| report::log(report::Level::Error, &panic.to_string())));
}

/// The imports of the world.
struct Imports;

impl Host for Imports {
    fn interrupt(&self, payload: &str) -> String {
        interrupt::interrupt(payload)
    }

    fn ask(&self, question: QuestionText) -> AnswerText {
        interrupt::ask(&question.into()).into()
    }

    fn perform(&self, operation: OperationText) -> Result<String, Refusal> {
        side_effect::perform(&operation.into()).map_err(Refusal::from)
    }

    fn perform_all(&self, operations: Vec<OperationText>) -> Vec<Result<String, Refusal>> {
        let operations: Vec<_> = operations.into_iter().map(side_effect::Operation::from).collect();
        side_effect::perform_all(&operations).into_iter().map(|result| result.map_err(Refusal::from)).collect()
    }

    fn now_ms(&self) -> u64 {
        recorded::now_ms()
    }

    fn random_bytes(&self, count: u32) -> Vec<u8> {
        recorded::random_bytes(count)
    }

    fn log(&self, level: Level, message: &str) {
        report::log(level.into(), message);
    }

    fn emit(&self, event: &str) {
        report::emit(event);
    }
}
