//! Builds nodes for WebAssembly, also on machines whose toolchain has no such target (DESIGN section 15).
//!
//! # Layout
//!
//! * [`toolchain`]: which toolchain builds, decided from what the machine has.
//! * `cargo`: runs cargo and reads which files it made.
//! * [`error`]: what can go wrong, with codes and cures.

pub mod toolchain;

mod cargo;
pub mod error;

use std::io::Write as _;
use std::path::{Path, PathBuf};

pub use error::BuildError;
use toolchain::Environment;

/// What to build, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// The folder of a Cargo package or workspace.
    pub path: PathBuf,
    /// Where the components are put, each as `PACKAGE.wasm`.
    pub out: PathBuf,
}

/// One node that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its package's name.
    pub name: String,
    /// The component.
    pub component: PathBuf,
}

/// Wraps a core module as a component, or says why it is no node.
pub type Wrap<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<u8>, String>;

/// Builds every node of a package or workspace: compiles, wraps each core module as a component with `wrap`, writes them to the folder asked for.
/// Says through `progress` what it does, and what it installs before it does so.
///
/// # Errors
/// [`BuildError`]; files that were there before are replaced only by whole new ones.
pub fn build(request: &BuildRequest, wrap: Wrap<'_>, progress: &mut dyn FnMut(&str)) -> Result<Vec<Built>, BuildError> {
    let manifest = request.path.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(BuildError::NoPackage(request.path.clone()));
    }
    let toolchain = toolchain::provide(progress)?;
    progress(&format!("building {} with {toolchain}", request.path.display()));
    if toolchain.builds_standard_library() {
        progress("the first build takes about a minute and a half: it compiles the standard library");
    }
    let modules = cargo::build(&manifest, &toolchain)?;
    if modules.is_empty() {
        return Err(BuildError::NoNode(request.path.clone()));
    }
    let folder_unusable =
        |error: std::io::Error| BuildError::Output { path: request.out.clone(), reason: error.to_string() };
    std::fs::create_dir_all(&request.out).map_err(folder_unusable)?;
    let mut built = Vec::new();
    for module in modules {
        let bytes = std::fs::read(&module.path)
            .map_err(|error| BuildError::Output { path: module.path.clone(), reason: error.to_string() })?;
        let component =
            wrap(&bytes).map_err(|reason| BuildError::NotAComponent { name: module.name.clone(), reason })?;
        let path = request.out.join(format!("{}.wasm", module.name));
        replace(&path, &component)
            .map_err(|error| BuildError::Output { path: path.clone(), reason: error.to_string() })?;
        built.push(Built { name: module.name, component: path });
    }
    Ok(built)
}

/// What would build nodes here, for `doctor`. Installs nothing.
///
/// # Errors
/// [`BuildError::NoToolchain`] when something has to be installed by hand.
pub fn detect() -> Result<String, BuildError> {
    toolchain::choose(&Environment::of_this_machine()).map(|toolchain| toolchain.to_string())
}

/// Writes beside the file and renames, so that a reader sees the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension(format!("wasm.{}", std::process::id()));
    let written = std::fs::File::create(&fresh).and_then(|mut file| file.write_all(bytes));
    written.and_then(|()| std::fs::rename(&fresh, path)).inspect_err(|_| {
        // The half-written file is of no use to anybody.
        let _ = std::fs::remove_file(&fresh);
    })
}
