//! `recorded`: time and randomness of the task.

use crate::bindings::holdpoint::node::recorded;
use crate::call::recorded::TICK_NS;
use crate::call::state::{Exceeded, State};

impl recorded::Host for State {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(self.recorded.clock.read_ns() / TICK_NS)
    }

    fn random_bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        let count_max = self.limits.random_bytes;
        if count > count_max {
            let message = format!("the node asked for {count} random bytes at once; the limit is {count_max}");
            return self.end(Exceeded { limit: "random-bytes", message });
        }
        Ok(self.recorded.random_bytes(count as usize))
    }
}
