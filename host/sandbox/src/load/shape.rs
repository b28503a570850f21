//! What WebAssembly bytes are and want, read before anything is compiled.

use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload};

use crate::error::Error;

/// The interfaces of `holdpoint:node` that the host serves, in every version 0.1.x.
const NODE_INTERFACES: [&str; 5] = ["interrupt", "side-effect", "recorded", "report", "types"];

/// The packages of `wasi` 0.2 that the host serves, with nothing in them.
const WASI_PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// What a node exports.
const EXPORTS: [&str; 2] = ["describe", "run"];

/// What kind of WebAssembly bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A component.
    Component,
    /// A core module, which is wrapped as a component at load.
    CoreModule,
}

impl Kind {
    /// The spoken name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::CoreModule => "core-module",
        }
    }
}

/// The outside of WebAssembly bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    /// Names of what it imports, each once: interfaces of a component, module names of a core module.
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    /// Whether a core module says which component it is meant to be.
    pub(crate) has_component_type: bool,
}

impl Shape {
    /// Reads the outermost level of the bytes. Does not validate what lies inside.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let broken = |error: wasmparser::BinaryReaderError| Error::NotWasm(error.to_string());
        let mut shape =
            Self { kind: Kind::CoreModule, imports: Vec::new(), exports: Vec::new(), has_component_type: false };
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(broken)? {
                Payload::Version { encoding, .. } => {
                    if depth == 0 {
                        shape.kind = if encoding == Encoding::Component { Kind::Component } else { Kind::CoreModule };
                    }
                    depth += 1;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                // Modules and components inside are the component's own affair.
                _ if depth != 1 => {}
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        let import = import.map_err(broken)?;
                        // A type that the world uses is a name for something, not something to call.
                        if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                            push_once(&mut shape.imports, import.name.name);
                        }
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        push_once(&mut shape.exports, export.map_err(broken)?.name.name);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        push_once(&mut shape.imports, import.map_err(broken)?.module);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        push_once(&mut shape.exports, export.map_err(broken)?.name);
                    }
                }
                Payload::CustomSection(section) => {
                    shape.has_component_type |= section.name().starts_with("component-type");
                }
                _ => {}
            }
        }
        if depth == 0 && !bytes.is_empty() { Ok(shape) } else { Err(Error::NotWasm("it ends too early".to_owned())) }
    }

    /// Refuses imports that no node gets.
    pub(crate) fn check_imports(&self) -> Result<(), Error> {
        let imports: Vec<String> =
            self.imports.iter().filter(|import| !is_served(self.kind, import)).cloned().collect();
        if imports.is_empty() { Ok(()) } else { Err(Error::ForeignImports { imports }) }
    }

    /// Refuses components without the exports of a node. Their types are checked when it has been compiled.
    pub(crate) fn check_exports(&self) -> Result<(), Error> {
        let problems: Vec<String> = EXPORTS
            .iter()
            .filter(|wanted| {
                !self.exports.iter().any(|export| export == *wanted || export.strip_prefix("cm32p2||") == Some(wanted))
            })
            .map(|wanted| format!("it does not export `{wanted}`"))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(Error::WrongWorld { problems }) }
    }
}

fn push_once(names: &mut Vec<String>, name: &str) {
    if names.last().is_none_or(|last| last != name) && !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

fn is_served(kind: Kind, import: &str) -> bool {
    // Newer core modules carry the naming scheme in front and only the compatible part of the version.
    let (import, scheme) = match import.strip_prefix("cm32p2|") {
        Some(rest) if kind == Kind::CoreModule => (rest, true),
        _ => (import, false),
    };
    let Some((path, version)) = import.split_once('@') else { return false };
    let Some((package, interface)) = path.split_once('/') else { return false };
    let is_version = |compatible: &str| {
        version.strip_prefix(compatible).is_some_and(|rest| {
            (scheme && rest.is_empty())
                || rest
                    .strip_prefix('.')
                    .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    match package.split_once(':') {
        Some(("holdpoint", "node")) => NODE_INTERFACES.contains(&interface) && is_version("0.1"),
        Some(("wasi", package)) => WASI_PACKAGES.contains(&package) && is_version("0.2"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_imports() {
        let check = |import: &str, served: bool| assert_eq!(is_served(Kind::Component, import), served, "{import}");
        check("holdpoint:node/interrupt@0.1.0", true);
        check("holdpoint:node/types@0.1.17", true);
        check("holdpoint:node/interrupt@0.2.0", false);
        check("holdpoint:node/interrupt@0.1.", false);
        check("holdpoint:node/interrupt@0.1.0-evil", false);
        check("holdpoint:node/interrupt", false);
        check("holdpoint:node/secrets@0.1.0", false);
        check("holdpoint:other/report@0.1.0", false);
        check("wasi:clocks/wall-clock@0.2.9", true);
        check("wasi:http/outgoing-handler@0.2.0", false);
        check("wasi:clocks/wall-clock@0.3.0", false);
        check("cm32p2|holdpoint:node/report@0.1", false);
        check("env", false);
        check("", false);
        assert!(is_served(Kind::CoreModule, "cm32p2|holdpoint:node/report@0.1"));
        assert!(!is_served(Kind::CoreModule, "wasi_snapshot_preview1"));
    }

    #[test]
    fn broken_bytes_are_refused() {
        let module = wat::parse_str("(module (memory 1) (func (export \"f\")))").expect("valid");
        let component =
            wat::parse_str("(component (import \"a:b/c@1.0.0\" (instance)) (core module (import \"x\" \"y\" (func))))")
                .expect("valid");
        let shape = Shape::read(&component).expect("whole");
        assert_eq!((shape.kind, shape.imports), (Kind::Component, vec!["a:b/c@1.0.0".to_owned()]));
        for bytes in [&module, &component] {
            assert!(Shape::read(bytes).is_ok());
            for end in 0..bytes.len() {
                // Must not panic; most cuts are found here already, the rest by the compiler.
                let _ = Shape::read(&bytes[..end]);
            }
            assert!(matches!(Shape::read(&bytes[..bytes.len() - 1]), Err(Error::NotWasm(_))));
        }
        for bytes in [b"".as_slice(), b"\0", b"not wasm at all", b"\0asm", b"\0asm\x09\0\0\0"] {
            assert!(matches!(Shape::read(bytes), Err(Error::NotWasm(_))), "{bytes:?}");
        }
    }
}
