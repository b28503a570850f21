//! Which toolchain builds nodes: the first that works, in the order of DESIGN section 15.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::BuildError;

/// The target of nodes: it has no operating system that they could ask anything.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's packages of a compiler that can build the standard library for the target, and of a linker.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// What builds nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The active toolchain, which has the target.
    Active,
    /// The active toolchain, once rustup has added the target.
    AddTarget,
    /// Debian's compiler beside rustup's, building the standard library too.
    System {
        /// The linker's name.
        linker: String,
    },
    /// The same, once its packages are installed.
    InstallSystem,
}

/// What a machine has, as far as the choice depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// The active toolchain has the target's standard library.
    pub target_installed: bool,
    /// rustup is there.
    pub rustup: bool,
    /// rustup may install: `RUSTUP_AUTO_INSTALL` is not `0`.
    pub rustup_may_install: bool,
    /// Debian's compiler, cargo and standard library sources are there.
    pub system_compiler: bool,
    /// A linker for WebAssembly.
    pub linker: Option<String>,
    /// `apt-get` is there.
    pub apt: bool,
    /// This process may install packages.
    pub root: bool,
}

impl Environment {
    /// Looks at this machine.
    pub fn of_this_machine() -> Self {
        Self {
            target_installed: active_has_target(),
            rustup: find("rustup").is_some(),
            rustup_may_install: std::env::var("RUSTUP_AUTO_INSTALL").map_or(true, |value| value != "0"),
            system_compiler: ["/usr/bin/rustc", "/usr/bin/cargo"].iter().all(|path| Path::new(path).exists())
                && system_sources(),
            linker: (14..=30)
                .rev()
                .map(|version| format!("wasm-ld-{version}"))
                .chain(["wasm-ld".into()])
                .find(|name| find(name).is_some()),
            apt: find("apt-get").is_some(),
            root: is_root(),
        }
    }
}

/// Chooses. Pure.
///
/// # Errors
/// [`BuildError::NoToolchain`] says what is missing.
pub fn choose(environment: &Environment) -> Result<Toolchain, BuildError> {
    if environment.target_installed {
        return Ok(Toolchain::Active);
    }
    if environment.rustup && environment.rustup_may_install {
        return Ok(Toolchain::AddTarget);
    }
    match &environment.linker {
        Some(linker) if environment.system_compiler => Ok(Toolchain::System { linker: linker.clone() }),
        _ if environment.apt && environment.root => Ok(Toolchain::InstallSystem),
        _ if environment.apt => {
            Err(BuildError::NoToolchain("packages are missing, and only root may install them".into()))
        }
        _ => Err(BuildError::NoToolchain(
            "the active toolchain lacks the target, and neither rustup nor apt-get may add it".into(),
        )),
    }
}

/// Chooses, and installs what the choice needs.
///
/// # Errors
/// [`BuildError::NoToolchain`], [`BuildError::Program`].
pub fn provide(progress: &mut dyn FnMut(&str)) -> Result<Toolchain, BuildError> {
    match choose(&Environment::of_this_machine())? {
        Toolchain::AddTarget => {
            progress(&format!("installing the target {TARGET} with rustup"));
            run(Command::new("rustup").args(["target", "add", TARGET]))?;
            Ok(Toolchain::Active)
        }
        Toolchain::InstallSystem => {
            progress(&format!(
                "installing {} with apt-get (about 500 MB; they do not disturb rustup)",
                PACKAGES.join(" ")
            ));
            run(Command::new("apt-get").args(["update", "-qq"]))?;
            run(Command::new("apt-get")
                .args(["install", "-y", "-qq"])
                .args(PACKAGES)
                .env("DEBIAN_FRONTEND", "noninteractive"))?;
            match choose(&Environment::of_this_machine())? {
                system @ Toolchain::System { .. } => Ok(system),
                _ => Err(BuildError::NoToolchain(
                    "the packages were installed, and still no compiler or linker is found".into(),
                )),
            }
        }
        ready => Ok(ready),
    }
}

impl Toolchain {
    /// Whether the standard library is built along with the nodes.
    pub fn builds_standard_library(&self) -> bool {
        matches!(self, Self::System { .. } | Self::InstallSystem)
    }

    /// The cargo command that builds, without its arguments about what to build.
    pub fn cargo(&self) -> Command {
        let mut command = match self {
            Self::System { linker } => {
                let mut command = Command::new("/usr/bin/cargo");
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                    .args(["build", "-Zbuild-std=std,panic_abort"]);
                command
            }
            _ => {
                let mut command = Command::new("cargo");
                command.arg("build");
                command
            }
        };
        // The flags of an outer cargo are for its own target. The small stack makes calls cheaper: less memory to touch.
        command
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Clink-arg=-zstack-size=131072")
            .args(["--release", "--target", TARGET]);
        command
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => write!(formatter, "the active toolchain, which has {TARGET}"),
            Self::AddTarget => write!(formatter, "the active toolchain, once rustup has added {TARGET}"),
            Self::System { linker } => {
                write!(formatter, "the system's compiler with its own standard library and {linker}")
            }
            Self::InstallSystem => {
                write!(formatter, "the system's compiler, once apt-get has installed {}", PACKAGES.join(" "))
            }
        }
    }
}

fn active_has_target() -> bool {
    let output =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).stderr(Stdio::null()).output();
    let Ok(output) = output else { return false };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn system_sources() -> bool {
    let output = Command::new("/usr/bin/rustc").args(["--print", "sysroot"]).stderr(Stdio::null()).output();
    let Ok(output) = output else { return false };
    let root = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    root.join("lib/rustlib/src/rust/library/std/Cargo.toml").exists()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn run(command: &mut Command) -> Result<(), BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| BuildError::Program { program: program.clone(), reason: error.to_string() })?;
    if output.status.success() {
        Ok(())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        let reason = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        Err(BuildError::Program { program, reason: format!("{}: {reason}", output.status) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(environment: Environment, expected: Result<Toolchain, &str>) {
        match (choose(&environment), expected) {
            (Ok(chosen), Ok(expected)) => assert_eq!(chosen, expected, "{environment:?}"),
            (Err(error), Err(code)) => assert_eq!(error.code(), code, "{environment:?}"),
            (found, expected) => panic!("{environment:?}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn the_first_that_works_is_chosen() {
        let nothing = Environment::default;
        let linker = || Some("wasm-ld-22".to_owned());
        let system = || Toolchain::System { linker: "wasm-ld-22".into() };
        check(
            Environment { target_installed: true, rustup: true, rustup_may_install: true, ..nothing() },
            Ok(Toolchain::Active),
        );
        check(
            Environment {
                rustup: true,
                rustup_may_install: true,
                system_compiler: true,
                linker: linker(),
                ..nothing()
            },
            Ok(Toolchain::AddTarget),
        );
        check(Environment { rustup: true, system_compiler: true, linker: linker(), ..nothing() }, Ok(system()));
        check(
            Environment { rustup: true, system_compiler: true, apt: true, root: true, ..nothing() },
            Ok(Toolchain::InstallSystem),
        );
        check(Environment { rustup: true, apt: true, root: true, ..nothing() }, Ok(Toolchain::InstallSystem));
        check(Environment { rustup: true, apt: true, ..nothing() }, Err("HP0742"));
        check(nothing(), Err("HP0742"));
    }
}
