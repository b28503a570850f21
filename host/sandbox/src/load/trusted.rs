//! The only unsafe line of the crate.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Compiled code whose origin is proven: [`super::disk::DiskCache`] makes it only from bytes that carry its key's seal.
pub(super) struct SealedCode<'a>(pub(super) &'a [u8]);

/// Loads compiled code. wasmtime itself refuses code of another version, configuration or processor.
pub(super) fn load(engine: &Engine, code: &SealedCode<'_>) -> wasmtime::Result<Component> {
    #[expect(
        unsafe_code,
        reason = "machine code cannot be checked. It was written by this host on this machine: its HMAC-SHA256 under a key that only this user \
                  can read was verified over exactly these bytes in memory, and users cannot hand in compiled code by any other way"
    )]
    // SAFETY: the bytes are, unchanged, what `Component::serialize` returned in a process that held the same key.
    unsafe {
        Component::deserialize(engine, code.0)
    }
}
