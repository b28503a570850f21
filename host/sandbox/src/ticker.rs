//! The clock that interrupts guests: one thread that advances the epoch of every engine.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

use crate::error::Error;

/// A guest that computes gives way, and is checked for its deadline, this often.
const TICK: Duration = Duration::from_millis(10);

/// Ticks until it is dropped.
pub(crate) struct Ticker {
    engines: Arc<Mutex<Vec<EngineWeak>>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start() -> Result<Self, Error> {
        let engines = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = channel();
        let ticked = Arc::clone(&engines);
        let thread = std::thread::Builder::new()
            .name("holdpoint-ticker".to_owned())
            .spawn(move || tick(&ticked, &stopped))
            .map_err(|error| Error::Unavailable(format!("no thread for the clock: {error}")))?;
        Ok(Self { engines, stop: Some(stop), thread: Some(thread) })
    }

    /// Engines are made here only, so none can be forgotten.
    pub(crate) fn add(&self, engine: &Engine) {
        lock(&self.engines).push(engine.weak());
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // Hanging up wakes the thread, which then ends: the join does not wait for a tick.
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the clock thread panicked");
        }
    }
}

fn tick(engines: &Mutex<Vec<EngineWeak>>, stopped: &Receiver<()>) {
    while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        for engine in lock(engines).iter().filter_map(EngineWeak::upgrade) {
            engine.increment_epoch();
        }
    }
}

fn lock(engines: &Mutex<Vec<EngineWeak>>) -> MutexGuard<'_, Vec<EngineWeak>> {
    engines.lock().unwrap_or_else(PoisonError::into_inner)
}
