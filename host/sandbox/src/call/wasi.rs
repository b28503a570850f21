//! `wasi` 0.2 with nothing in it: no files, no environment, no arguments, no sockets. What is printed becomes log lines; clocks and randomness are
//! the task's own, the same as `recorded` gives.
//!
//! Sleeps return at once: a timer is ready as soon as nothing else is, and the task's clock then stands where the sleep would have ended.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::{clocks, random};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamError, StreamResult, subscribe};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, async_trait};

use crate::call::recorded::{TICK_NS, TaskClock};
use crate::call::report::{Reporter, Stream};
use crate::call::state::{Ended, Exceeded, State};

/// What a guest that uses `wasi` needs.
pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
}

/// Adds `wasi` to a linker.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // Ours take the place of those that read the machine's clock and randomness.
    linker.allow_shadowing(true);
    clocks::wall_clock::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    clocks::monotonic_clock::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    random::random::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    random::insecure::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    random::insecure_seed::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (reporter, handles) = (&self.reporter, self.limits.handles);
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Wasi::new(reporter, handles)));
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

impl Wasi {
    fn new(reporter: &Arc<Reporter>, handles: usize) -> Self {
        let context = WasiCtx::builder()
            .stdin(MemoryInputPipe::new(""))
            .stdout(Printed { reporter: Arc::clone(reporter), stream: Stream::Output })
            .stderr(Printed { reporter: Arc::clone(reporter), stream: Stream::Error })
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .socket_addr_check(|_, _| Box::pin(async { false }))
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles);
        Self { context, table }
    }
}

/// Standard output or standard error.
#[derive(Clone)]
struct Printed {
    reporter: Arc<Reporter>,
    stream: Stream,
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Asked for by `wasi` 0.3 only, which is not served.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        // The reporter remembers which limit it was.
        self.reporter.print(self.stream, &bytes).map_err(|_| StreamError::Trap(Ended.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

/// A timer.
struct Sleep {
    clock: TaskClock,
    until_ns: u64,
}

#[async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        // One turn behind everything else that the guest waits for, so that a time-out loses against what is ready.
        tokio::task::yield_now().await;
        self.clock.advance_to(self.until_ns);
    }
}

impl State {
    fn sleep(&mut self, until_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let sleep = Sleep { clock: self.recorded.clock.clone(), until_ns };
        let table = self.ctx().table;
        let sleep = table.push(sleep)?;
        subscribe(table, sleep)
    }

    fn wasi_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        let count_max = self.limits.random_bytes;
        if count > u64::from(count_max) {
            let message = format!("the node asked for {count} random bytes at once; the limit is {count_max}");
            return self.end(Exceeded { limit: "random-bytes", message });
        }
        Ok(self.recorded.random_bytes(count as usize))
    }
}

impl clocks::wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<clocks::wall_clock::Datetime> {
        let now = Duration::from_nanos(self.recorded.clock.read_ns());
        Ok(clocks::wall_clock::Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn resolution(&mut self) -> wasmtime::Result<clocks::wall_clock::Datetime> {
        let resolution = Duration::from_nanos(TICK_NS);
        Ok(clocks::wall_clock::Datetime { seconds: resolution.as_secs(), nanoseconds: resolution.subsec_nanos() })
    }
}

impl clocks::monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.recorded.clock.read_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(TICK_NS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.sleep(when)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let until_ns = self.recorded.clock.now_ns().saturating_add(duration);
        self.sleep(until_ns)
    }
}

impl random::random::Host for State {
    fn get_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        self.wasi_random_bytes(count)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.recorded.random().next_u64())
    }
}

impl random::insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        self.wasi_random_bytes(count)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.recorded.random().next_u64())
    }
}

impl random::insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.recorded.random().next_u64(), self.recorded.random().next_u64()))
    }
}
