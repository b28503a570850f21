//! The one place where wasmtime is configured.

use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use crate::error::Error;
use crate::options::{Allocation, Options};

/// 48.0.3 to 48.0.8 closed holes through which a guest reaches its host.
const VERSION_FLOOR: [u64; 3] = [48, 0, 8];

/// Memory of a slot that is cleared by hand and stays resident when its call ends. Giving pages back instead costs two to three times a small call,
/// and more with every processor, as each must forget them. Covers all that a small node of the SDK has, so that this also holds where the kernel
/// cannot say which pages were written. Not larger, as every slot that was ever used may hold so much.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// An engine, and whether its memories come from a pool.
pub(crate) struct Built {
    pub(crate) engine: Engine,
    pub(crate) pooled: bool,
}

/// Makes an engine. Fuel is a property of the compiled code, so calls with a fuel limit have an engine of their own.
pub(crate) fn build(options: &Options, fuel: bool) -> Result<Built, Error> {
    if options.allocation == Allocation::Pooled {
        match Engine::new(&config(options, fuel, true)) {
            Ok(engine) => return Ok(Built { engine, pooled: true }),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "the memory pool could not be reserved; memories are made on demand, which is slower"
            ),
        }
    }
    match Engine::new(&config(options, fuel, false)) {
        Ok(engine) => Ok(Built { engine, pooled: false }),
        Err(error) => Err(Error::Unavailable(format!("{error:#}"))),
    }
}

fn config(options: &Options, fuel: bool, pooled: bool) -> Config {
    let mut config = Config::new();
    // Deterministic: what a node computes depends on nothing but its inputs. Threads are not compiled in at all.
    config
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_component_model(true)
        // Without component-model-async; host calls may wait all the same, on a stack of their own.
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .epoch_interruption(true)
        .consume_fuel(fuel);
    // Interpreters recurse deeply. Host functions run on the same stack and keep 2 MiB of it.
    config.max_wasm_stack(1 << 20).async_stack_size(3 << 20);
    if pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    }
    config
}

fn pool(options: &Options) -> PoolingAllocationConfig {
    let slots = options.concurrency_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_memories(slots)
        .total_tables(slots)
        .total_stacks(slots)
        // Only counted, never reserved. A Python component has about a hundred.
        .total_core_instances(slots.saturating_mul(1024))
        // Room for what interpreters need; the bounds that matter are those of the call.
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .max_memories_per_module(8)
        .max_tables_per_module(8)
        .table_elements(100_000)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        // Where the kernel can say which pages a call wrote (Linux 6.7), only those are cleared, wherever they lie: the one system call of a small call.
        .pagemap_scan(Enabled::Auto)
        // Tables are small: without this, they alone would cost more than the rest of a call.
        .table_keep_resident(16 << 10);
    pool
}

/// Digest of everything that compiled code depends on besides the component: wasmtime's version, the configuration, the processor.
pub(crate) fn compatibility(engine: &Engine) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    holdpoint_graph::digest::hex(&hasher.0.finalize()[..16])
}

/// Refuses a wasmtime that is older than the oldest safe one.
pub(crate) fn check_version() -> Result<(), Error> {
    let found = linked_version();
    let mut parts = found.split(['.', '-', '+']).map(|part| part.parse::<u64>().unwrap_or(0));
    let version = [parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0)];
    if version < VERSION_FLOOR {
        return Err(Error::RuntimeOutdated { found, floor: VERSION_FLOOR.map(|part| part.to_string()).join(".") });
    }
    Ok(())
}

/// The version of the wasmtime that is linked. It has no constant for it, but hashes its version text as part of what makes compiled code fit.
fn linked_version() -> String {
    let mut recorder = Recorder(Vec::new());
    ModuleVersionStrategy::WasmtimeVersion.hash(&mut recorder);
    recorder.0.into_iter().map(char::from).filter(char::is_ascii_graphic).collect()
}

/// SHA-256 behind the standard hashing trait: more bits than the standard hasher's, and the same in every build.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        u64::from_be_bytes(self.0.clone().finalize()[..8].try_into().expect("a SHA-256 has 32 bytes"))
    }
}

/// Keeps what is hashed.
struct Recorder(Vec<u8>);

impl Hasher for Recorder {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linked_version_is_known_and_safe() {
        let version = linked_version();
        assert!(version.split('.').count() == 3 && version.starts_with("48."), "{version:?}");
        assert_eq!(check_version(), Ok(()));
    }

    #[test]
    fn the_lock_file_has_the_same_version() {
        let lock = include_str!("../../../Cargo.lock");
        let lock: toml::Table = lock.parse().expect("the lock file is TOML");
        let packages = lock["package"].as_array().expect("packages");
        for name in ["wasmtime", "wasmtime-wasi"] {
            let versions: Vec<_> = packages.iter().filter(|package| package["name"].as_str() == Some(name)).collect();
            assert_eq!(versions.len(), 1, "one {name}");
            assert_eq!(versions[0]["version"].as_str(), Some(linked_version().as_str()), "{name}");
        }
    }

    #[test]
    fn a_pool_that_cannot_be_reserved_falls_back() {
        let options = Options { concurrency_max: 1 << 20, ..Options::default() };
        let built = build(&options, false).expect("on demand");
        assert!(!built.pooled);
    }

    #[test]
    fn fuel_and_plain_code_are_told_apart() {
        let options = Options { allocation: Allocation::OnDemand, ..Options::default() };
        let plain = build(&options, false).expect("plain");
        let fuel = build(&options, true).expect("fuel");
        assert_ne!(compatibility(&plain.engine), compatibility(&fuel.engine));
        assert_eq!(compatibility(&plain.engine), compatibility(&build(&options, false).expect("again").engine));
    }
}
