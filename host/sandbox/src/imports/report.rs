//! `report`: log lines and events of the custom stream.

use holdpoint_graph::nodes::LogLevel;

use crate::bindings::holdpoint::node::{report, types};
use crate::call::json;
use crate::call::state::State;

impl report::Host for State {
    fn log(&mut self, level: report::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            report::Level::Trace => LogLevel::Trace,
            report::Level::Debug => LogLevel::Debug,
            report::Level::Info => LogLevel::Info,
            report::Level::Warn => LogLevel::Warn,
            report::Level::Error => LogLevel::Error,
        };
        match self.reporter.log(level, &message) {
            Ok(()) => Ok(()),
            Err(exceeded) => self.end(exceeded),
        }
    }

    fn emit(&mut self, event: String) -> wasmtime::Result<()> {
        let value = match json::read(&event, "the event", "invalid-event", self.limits.value_bytes) {
            Ok(value) => value,
            Err(outcome) => return self.end(outcome),
        };
        match self.reporter.emit(value, event.len()) {
            Ok(()) => Ok(()),
            Err(exceeded) => self.end(exceeded),
        }
    }
}

impl types::Host for State {}
