//! A command as arguments again, with everything that it names read on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command as Definition, CommandFactory as _};
use holdpoint_graph::digest::Digest;
use serde_json::{Map, Value};

use super::permit;
use crate::cli::access_arguments::{AuditArguments, AuditCommand};
use crate::cli::arguments::{Arguments, Command, GraphCommand, ThreadsCommand};
use crate::cli::context::argument_text;
use crate::deploy::source::{Disk, Noted, Source as _};
use crate::deploy::{files, versions};
use crate::failure::Failure;

/// What the name of a value says where it may be `@FILE`, or `-` for standard input.
const FROM_FILE: &str = "@FILE";

/// A command that is to be run on a server.
#[derive(Debug)]
pub(super) struct Request {
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// The files that it names, as base64.
    pub(super) files: Map<String, Value>,
}

/// A command as it is sent; none when it is about this machine's files alone and runs here.
///
/// # Errors
/// A file or standard input that cannot be read; an argument that is not text.
pub(super) fn request(arguments: &Arguments, matches: &ArgMatches) -> Result<Option<Request>, Failure> {
    let graph = match &arguments.command {
        Command::Audit(AuditArguments { command: AuditCommand::Verify { file: Some(_), .. } }) => return Ok(None),
        Command::Verify(verify) if Path::new(&verify.subject).is_file() => return Ok(None),
        Command::Graph(graph) => match &graph.command {
            GraphCommand::Show { graph } if is_file(graph) => return Ok(None),
            GraphCommand::Check { file } if !files::read(file).names_deployed() => return Ok(None),
            GraphCommand::Check { file } => Some(file.as_path()),
            GraphCommand::Deploy(deploy) => Some(deploy.file.as_path()),
            GraphCommand::Show { .. } | GraphCommand::List { .. } => None,
        },
        Command::Run(run) => Some(run.graph.as_path()).filter(|graph| is_file(graph)),
        Command::Threads(threads) => match &threads.command {
            Some(ThreadsCommand::Migrate { to, .. }) => {
                Some(Path::new(to)).filter(|_| Digest::parse(to.as_str()).is_err())
            }
            _ => None,
        },
        _ => None,
    };
    let files = match graph {
        Some(graph) => graph_files(graph)?,
        None => Map::new(),
    };
    let mut words = Vec::new();
    if arguments.json {
        words.push("--json".to_owned());
    }
    rebuild(&Arguments::command(), matches, &mut words)?;
    Ok(Some(Request { arguments: words, files }))
}

/// Whether a graph is meant as a file: one that is there, or a name that nothing deployed can have.
fn is_file(graph: &Path) -> bool {
    Disk.exists(graph) || !graph.to_str().is_some_and(versions::is_reference)
}

/// A graph file and everything that it names, as base64. What cannot be read is left out: the server reports it as missing, with all else.
fn graph_files(graph: &Path) -> Result<Map<String, Value>, Failure> {
    let noted = Arc::new(Noted::default());
    files::read_from(Arc::clone(&noted) as Arc<_>, graph).read_components();
    let text = |path: PathBuf| path.into_os_string().into_string().map_err(|path| not_text(&path.to_string_lossy()));
    noted.files().into_iter().map(|(path, content)| Ok((text(path)?, STANDARD.encode(content).into()))).collect()
}

fn not_text(shown: &str) -> Failure {
    Failure::invalid("HP0736", format!("{shown:?} is not Unicode text, and cannot be sent"), "rename it")
}

/// The words that were parsed into `matches`, those that say where to run left out.
fn rebuild(definition: &Definition, matches: &ArgMatches, words: &mut Vec<String>) -> Result<(), Failure> {
    let given = |argument: &&Arg| {
        !argument.is_global_set() && matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let (positional, options): (Vec<&Arg>, Vec<&Arg>) =
        definition.get_arguments().filter(given).partition(|argument| argument.is_positional());
    for option in options {
        let id = option.get_id().as_str();
        let name = option.get_long().unwrap_or(id);
        if !matches!(option.get_action(), ArgAction::Set | ArgAction::Append) {
            words.push(format!("--{name}"));
            continue;
        }
        for value in values(matches, id)? {
            words.push(format!("--{name}={}", resolved(option, &format!("--{name}"), value)?));
        }
    }
    if let Some((name, inner)) = matches.subcommand() {
        words.push(name.to_owned());
        let definition = definition.find_subcommand(name).expect("invariant: what was parsed is defined");
        return rebuild(definition, inner, words);
    }
    if !positional.is_empty() {
        // What follows is taken as it stands, whatever it begins with.
        words.push("--".to_owned());
    }
    for argument in positional {
        for value in values(matches, argument.get_id().as_str())? {
            words.push(resolved(argument, argument.get_id().as_str(), value)?);
        }
    }
    Ok(())
}

fn values(matches: &ArgMatches, id: &str) -> Result<Vec<String>, Failure> {
    let raw = matches.get_raw(id).into_iter().flatten();
    raw.map(|value| value.to_str().map(str::to_owned).ok_or_else(|| not_text(&value.to_string_lossy()))).collect()
}

fn resolved(argument: &Arg, shown: &str, value: String) -> Result<String, Failure> {
    let names = argument.get_value_names().unwrap_or_default();
    if names.iter().any(|name| name.contains(FROM_FILE)) { argument_text(shown, &value) } else { Ok(value) }
}

/// Whether a command is about what a server has.
pub(super) fn belongs_to_server(command: &Command) -> bool {
    permit::role(command, false).is_some()
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    /// The words that are sent for a command line, parsed again on the other side without loss.
    fn sent(line: &[&str]) -> Vec<String> {
        let parse = |words: Vec<&str>| {
            let matches = Arguments::command().no_binary_name(true).try_get_matches_from(words);
            let matches = matches.unwrap_or_else(|error| panic!("{error}"));
            (Arguments::from_arg_matches(&matches).expect("parsed"), matches)
        };
        let (arguments, matches) = parse(line.to_vec());
        let request = request(&arguments, &matches).expect("readable").expect("for a server");
        let (again, _) = parse(request.arguments.iter().map(String::as_str).collect());
        assert_eq!(format!("{:?}", again.command), format!("{:?}", arguments.command), "{line:?}");
        assert_eq!(again.json, arguments.json);
        request.arguments
    }

    #[test]
    fn words_survive() {
        assert_eq!(sent(&["history", "t", "--tree", "--json"]), ["--json", "history", "--tree", "--", "t"]);
        assert_eq!(sent(&["--store", "sqlite:x", "threads", "--config", "y"]), ["threads"]);
        sent(&["threads", "list", "--status=done", "--limit", "3"]);
        sent(&["history", "--step", "-1", "--", "--odd"]);
        sent(&[
            "run",
            "refund",
            "--thread=-x",
            "--input",
            "{\"a\": \"-\"}",
            "--stream",
            "values,updates",
            "--supersede",
        ]);
        sent(&["run", "refund", "--interrupt-before", "a,b", "--interrupt-before", "*"]);
        sent(&["answer", "--thread", "t", "--answer", "\"\"", "--goto", "a,b", "--by", "ana"]);
        sent(&["resume", "--thread", "", "--answer", " "]);
        sent(&["replay", "--thread", "t", "--from", "1234", "--effects", "ask"]);
        sent(&["fork", "t", "--from", "1", "--set", "{}", "--no-run"]);
        sent(&["operations", "resolve", "--send", "--reason=--because", "--", "-1"]);
        sent(&["graph", "list"]);
        sent(&["db", "prune", "--keep-latest", "--older-than", "7d", "--dry-run"]);
        sent(&["export", "t", "--out", "/tmp/x"]);
        sent(&["approvals"]);
        sent(&["approvals", "edit", "q", "--args", "{}", "--group", "a", "--group", "b", "--by", "ana"]);
        sent(&["audit", "export", "--thread", "t"]);
        sent(&["keys", "create", "bot", "--role", "viewer", "--holder-group", "x"]);
    }

    #[test]
    fn files_are_read_here() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("input.json");
        std::fs::write(&path, "{\"a\": \"@x\"}").expect("written");
        let at = format!("@{}", path.display());
        let words = sent_words(&["run", "refund", "--input", &at]).expect("readable");
        assert_eq!(words, ["run", "--input={\"a\": \"@x\"}", "--", "refund"]);
        let refused = sent_words(&["update", "t", "--set", "@/nowhere/at/all"]).expect_err("not there");
        assert_eq!(refused.code, "HP0704");
        assert!(refused.message.starts_with("--set @/nowhere/at/all cannot be read"), "{refused}");
    }

    fn sent_words(line: &[&str]) -> Result<Vec<String>, Failure> {
        let matches = Arguments::command().no_binary_name(true).try_get_matches_from(line).expect("parsed");
        let arguments = Arguments::from_arg_matches(&matches).expect("parsed");
        request(&arguments, &matches).map(|request| request.expect("for a server").arguments)
    }

    /// Every argument of every command for servers whose value names a file is one that is read or written here.
    #[test]
    fn every_argument_that_names_a_file_is_known() {
        const KNOWN: [&str; 8] = [
            "run graph",
            "export out",
            "verify subject",
            "graph check file",
            "graph show graph",
            "graph deploy file",
            "threads migrate to",
            "audit verify file",
        ];
        fn look(definition: &Definition, path: &str, found: &mut Vec<String>) {
            for argument in definition.get_arguments().filter(|argument| !argument.is_global_set()) {
                let names = argument.get_value_names().unwrap_or_default().join(" ");
                let plain = ["FILE", "DIR", "FOLDER", "PATH", ".toml"].iter().any(|word| names.contains(word));
                let is_path = argument.get_value_parser().type_id() == clap::value_parser!(PathBuf).type_id();
                if (plain && !names.contains(FROM_FILE)) || is_path {
                    found.push(format!("{path} {}", argument.get_id()).trim().to_owned());
                }
            }
            for inner in definition.get_subcommands() {
                look(inner, format!("{path} {}", inner.get_name()).trim(), found);
            }
        }
        let mut found = Vec::new();
        look(&Arguments::command(), "", &mut found);
        let local = ["serve ", "node ", "demo ", "bench ", "doctor"];
        found.retain(|argument| !local.iter().any(|command| argument.starts_with(command)));
        for argument in &found {
            assert!(KNOWN.contains(&argument.as_str()), "{argument}: say where its file is read");
        }
        assert!(found.len() >= 7, "{found:?}");
    }
}
