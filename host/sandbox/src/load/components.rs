//! Components ready to be instantiated, by digest: in memory, else on disk, else compiled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::nodes::NodeOutcome;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::bindings::{Node, NodePre};
use crate::call::state::State;
use crate::call::{execute, wasi};
use crate::engine;
use crate::error::Error;
use crate::load::disk::DiskCache;
use crate::load::shape::Shape;
use crate::load::wrap;
use crate::options::Options;

/// Compilations at a time. One uses all processors already; a second fills the gaps.
const COMPILING_MAX: usize = 2;

/// Fuel for starting a guest once to look at it: bounded by time instead.
const PROBE_FUEL: u64 = u64::MAX / 2;

/// Part of the name of compiled files, raised when the way from a component's bytes to code changes.
const CODE_VERSION: u32 = 1;

/// Where the bytes of components come from.
#[async_trait]
pub trait ComponentSource: Send + Sync {
    /// The component or core module with this digest; `None` when it is not there.
    ///
    /// # Errors
    /// Why it could not be read, a lower-case fragment.
    async fn bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, String>;
}

/// One engine with everything that belongs to it.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) pooled: bool,
    fuel: Option<u64>,
    linker: Linker<State>,
    compatibility: String,
    /// One for each memory that may exist at a time.
    slots: Semaphore,
    slots_max: u32,
    ready: Mutex<Ready>,
    compiling: Semaphore,
    source: Arc<dyn ComponentSource>,
    disk: Option<Arc<DiskCache>>,
    options: Arc<Options>,
}

/// A component that is ready to be instantiated.
pub(crate) struct Prepared {
    pub(crate) node: NodePre<State>,
    slots: u32,
}

impl Runtime {
    pub(crate) fn new(
        options: &Arc<Options>,
        fuel: bool,
        source: &Arc<dyn ComponentSource>,
        disk: Option<Arc<DiskCache>>,
    ) -> Result<Self, Error> {
        let built = engine::build(options, fuel)?;
        let unavailable = |error: wasmtime::Error| Error::Unavailable(format!("{error:#}"));
        let mut linker = Linker::new(&built.engine);
        Node::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state).map_err(unavailable)?;
        wasi::add_to_linker(&mut linker).map_err(unavailable)?;
        let slots_max = options.concurrency_max.clamp(1, Semaphore::MAX_PERMITS.try_into().unwrap_or(u32::MAX));
        Ok(Self {
            compatibility: engine::compatibility(&built.engine),
            engine: built.engine,
            pooled: built.pooled,
            fuel: fuel.then_some(PROBE_FUEL),
            linker,
            slots: Semaphore::new(slots_max as usize),
            slots_max,
            ready: Mutex::new(Ready { entries: HashMap::new(), uses: 0, entries_max: options.components_max.max(1) }),
            compiling: Semaphore::new(COMPILING_MAX),
            source: Arc::clone(source),
            disk,
            options: Arc::clone(options),
        })
    }

    /// The component, compiled at most once however many ask at the same time. `bytes` saves asking the source; the caller has checked that
    /// they have this digest.
    pub(crate) async fn prepared(&self, digest: &Digest, bytes: Option<Vec<u8>>) -> Result<Arc<Prepared>, Error> {
        let cell = self.ready.lock().unwrap_or_else(PoisonError::into_inner).cell(digest);
        // A failure leaves the cell empty: whoever asks next tries again.
        cell.get_or_try_init(|| self.prepare(digest, bytes)).await.cloned()
    }

    /// Waits until the memories of one instance are free.
    pub(crate) async fn slots(&self, prepared: &Prepared) -> SemaphorePermit<'_> {
        self.slots.acquire_many(prepared.slots).await.expect("invariant: the semaphore is never closed")
    }

    async fn prepare(&self, digest: &Digest, bytes: Option<Vec<u8>>) -> Result<Arc<Prepared>, Error> {
        let _compiling = self.compiling.acquire().await.expect("invariant: the semaphore is never closed");
        let name = format!("{}-{}-{CODE_VERSION}", digest.hex_digits(), self.compatibility);
        let component = match self.load(&name).await? {
            Some(component) => component,
            None => self.compile(name, self.bytes(digest, bytes).await?).await?,
        };
        let slots = self.slots_of(&component)?;
        let mismatch = |error: wasmtime::Error| Error::WrongWorld { problems: vec![format!("{error:#}")] };
        let instance = self.linker.instantiate_pre(&component).map_err(mismatch)?;
        let prepared = Prepared { node: NodePre::new(instance).map_err(mismatch)?, slots };
        self.probe(&prepared).await?;
        Ok(Arc::new(prepared))
    }

    async fn bytes(&self, digest: &Digest, bytes: Option<Vec<u8>>) -> Result<Vec<u8>, Error> {
        if let Some(bytes) = bytes {
            return Ok(bytes);
        }
        let bytes = match self.source.bytes(digest).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(Error::ComponentMissing(digest.clone())),
            Err(reason) => return Err(Error::Source { digest: digest.clone(), reason }),
        };
        let found = Digest::of_bytes(&bytes);
        if found == *digest { Ok(bytes) } else { Err(Error::DigestMismatch { expected: digest.clone(), found }) }
    }

    async fn load(&self, name: &str) -> Result<Option<Component>, Error> {
        let Some(disk) = self.disk.clone() else { return Ok(None) };
        let (engine, name) = (self.engine.clone(), name.to_owned());
        blocking(move || Ok(disk.load(&engine, &name))).await
    }

    async fn compile(&self, name: String, bytes: Vec<u8>) -> Result<Component, Error> {
        if bytes.len() > self.options.component_bytes_max {
            let message =
                format!("{} bytes; `component_bytes_max` is {}", bytes.len(), self.options.component_bytes_max);
            return Err(Error::TooLarge(message));
        }
        let (engine, disk) = (self.engine.clone(), self.disk.clone());
        blocking(move || {
            let shape = Shape::read(&bytes)?;
            shape.check_imports()?;
            shape.check_exports()?;
            let component = wrap::as_component(&bytes, &shape)?;
            let component =
                Component::from_binary(&engine, &component).map_err(|error| Error::NotWasm(format!("{error:#}")))?;
            if let Some(disk) = disk {
                match component.serialize() {
                    Ok(code) => disk.store(&name, &code),
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "compiled code could not be written down");
                    }
                }
            }
            Ok(component)
        })
        .await
    }

    /// How many slots an instance takes. Memories and tables come from pools of that many.
    fn slots_of(&self, component: &Component) -> Result<u32, Error> {
        let Some(required) = component.resources_required() else {
            return Err(Error::TooLarge(
                "it instantiates modules that it imports, so that its needs are not known".to_owned(),
            ));
        };
        let slots = required.num_memories.max(required.num_tables).max(1);
        if slots > self.slots_max {
            let message = format!("it needs {slots} memories or tables; `concurrency_max` is {}", self.slots_max);
            return Err(Error::TooLarge(message));
        }
        Ok(slots)
    }

    /// Starts the component once, so that one that cannot start or has exports of other types is refused here and not in the middle of a run.
    async fn probe(&self, prepared: &Prepared) -> Result<(), Error> {
        let _slots = self.slots(prepared).await;
        let mut store = self.store(State::describe(&self.options.limits))?;
        match execute::probe(&mut store, &prepared.node).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(difference)) => Err(Error::WrongWorld { problems: vec![difference] }),
            Err(outcome) => Err(Error::Description(explain(&outcome))),
        }
    }

    /// A store for looking at a component.
    pub(crate) fn store(&self, state: State) -> Result<wasmtime::Store<State>, Error> {
        execute::store(&self.engine, state, self.fuel).map_err(|error| Error::Unavailable(format!("{error:#}")))
    }
}

/// An outcome as the reason why a component does not describe itself.
pub(crate) fn explain(outcome: &NodeOutcome) -> String {
    match outcome {
        NodeOutcome::Trapped(message) | NodeOutcome::HostFault(message) => message.clone(),
        NodeOutcome::LimitExceeded { limit, message } => format!("limit `{limit}`: {message}"),
        NodeOutcome::Failed(failure) => failure.to_string(),
        other => format!("{other:?}"),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Unavailable(format!("the compiler did not finish: {error}"))),
    }
}

/// The most recently used components.
struct Ready {
    entries: HashMap<Digest, Entry>,
    uses: u64,
    entries_max: usize,
}

struct Entry {
    cell: Arc<OnceCell<Arc<Prepared>>>,
    used: u64,
}

impl Ready {
    fn cell(&mut self, digest: &Digest) -> Arc<OnceCell<Arc<Prepared>>> {
        self.uses += 1;
        if let Some(entry) = self.entries.get_mut(digest) {
            entry.used = self.uses;
            return Arc::clone(&entry.cell);
        }
        if self.entries.len() >= self.entries_max {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(digest, _)| digest.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        let cell = Arc::new(OnceCell::new());
        self.entries.insert(digest.clone(), Entry { cell: Arc::clone(&cell), used: self.uses });
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut ready = Ready { entries: HashMap::new(), uses: 0, entries_max: 2 };
        let digest = |text: &str| Digest::of_bytes(text.as_bytes());
        let first = ready.cell(&digest("first"));
        ready.cell(&digest("second"));
        assert!(Arc::ptr_eq(&first, &ready.cell(&digest("first"))));
        ready.cell(&digest("third"));
        assert!(Arc::ptr_eq(&first, &ready.cell(&digest("first"))), "used since");
        assert!(!ready.entries.contains_key(&digest("second")));
        assert_eq!(ready.entries.len(), 2);
    }
}
