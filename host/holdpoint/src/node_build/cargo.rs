//! Runs cargo and reads which files it made.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::error::BuildError;
use super::toolchain::Toolchain;

/// A core module that cargo made.
pub(super) struct Module {
    /// Its package's name.
    pub(super) name: String,
    /// The file.
    pub(super) path: PathBuf,
}

/// Builds every package of a manifest. Cargo's own messages go to standard error, so that an author sees what the compiler says.
pub(super) fn build(manifest: &Path, toolchain: &Toolchain) -> Result<Vec<Module>, BuildError> {
    let mut command = toolchain.cargo();
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| BuildError::Program { program, reason: error.to_string() })?;
    if !output.status.success() {
        return Err(BuildError::Compile(
            output.status.code().map_or_else(|| "by signal".into(), |code| code.to_string()),
        ));
    }
    Ok(modules(&String::from_utf8_lossy(&output.stdout)))
}

/// The modules that cargo's messages name: one for each package that is built as `cdylib`.
fn modules(messages: &str) -> Vec<Module> {
    let mut modules: Vec<Module> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| {
            message["target"]["crate_types"].as_array().is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
        })
        .filter_map(|message| {
            let files = message["filenames"].as_array()?;
            let file = files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm"))?;
            Some(Module { name: package_name(&message)?, path: PathBuf::from(file) })
        })
        .collect();
    modules.sort_by(|left, right| left.name.cmp(&right.name));
    modules
}

/// From a package id, `path+file:///folder/name#version` or `…#name@version`.
fn package_name(message: &Value) -> Option<String> {
    let id = message["package_id"].as_str()?;
    let (folder, fragment) = id.rsplit_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name.to_owned()),
        None => folder.rsplit('/').next().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_cargo_made() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/serde#1.0.0","target":{"crate_types":["lib"]},"filenames":["/t/libserde.rlib"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/nodes/gate#approval-gate@0.1.0","target":{"crate_types":["cdylib","rlib"]},"filenames":["/t/libapproval_gate.rlib","/t/approval_gate.wasm"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/probe#0.1.0","target":{"crate_types":["cdylib"]},"filenames":["/t/probe.wasm"]}"#,
            "\n",
            "not json\n",
        );
        let found: Vec<(String, PathBuf)> =
            modules(messages).into_iter().map(|module| (module.name, module.path)).collect();
        assert_eq!(
            found,
            [
                ("approval-gate".into(), PathBuf::from("/t/approval_gate.wasm")),
                ("probe".into(), PathBuf::from("/t/probe.wasm"))
            ]
        );
    }
}
