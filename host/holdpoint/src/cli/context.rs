//! What the global options say, turned into parts when a command needs them.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdpoint_effects::Configuration;
use holdpoint_effects::configuration::ConfigurationProblem;
use holdpoint_engine::{Config, RunOptions};
use holdpoint_graph::ids::{CheckpointId, ThreadId};
use holdpoint_store::sqlite::SqliteOptions;
use serde_json::{Map, Value, json};

use super::arguments::Arguments;
use crate::deploy::source::{Disk, Source};
use crate::failure::Failure;
use crate::host::{Host, HostOptions, cache_dir};
use crate::remote::served::{self, Served};

/// See the module.
pub struct Context {
    store: String,
    config: Option<PathBuf>,
    /// Whether output is JSON.
    pub json: bool,
    /// Set where the command runs on a server for somebody else: then it is told everything by this, and nothing by the options.
    served: Option<Arc<Served>>,
}

impl Context {
    /// From the arguments.
    pub fn new(arguments: &Arguments) -> Self {
        Self {
            store: arguments.store.clone(),
            config: arguments.config.clone(),
            json: arguments.json,
            served: served::current(),
        }
    }

    /// The host of the store and configuration that the options name.
    ///
    /// # Errors
    /// An unknown kind of store, problems of the configuration, the store's errors.
    pub fn host(&self) -> Result<Host, Failure> {
        if let Some(served) = &self.served {
            return Ok(served.host.clone());
        }
        Host::open(HostOptions {
            store: self.store_path()?,
            sqlite: SqliteOptions::default(),
            configuration: self.configuration()?,
            cache_dir: cache_dir(),
            engine: Config::default(),
        })
    }

    /// The host for commands that only read or change what is there: a store that is not there is an error instead of a new file.
    ///
    /// # Errors
    /// As [`Context::host`], and when the store's file is missing.
    pub fn existing_host(&self) -> Result<Host, Failure> {
        if self.is_served() {
            return self.host();
        }
        let path = self.store_path()?;
        if path.exists() {
            self.host()
        } else {
            Err(Failure::invalid(
                "HP0702",
                format!("there is no store at {}", path.display()),
                "name the store with --store sqlite:PATH, or start a thread with `holdpoint run`",
            ))
        }
    }

    /// The host of a store that is there; none when there is no store.
    ///
    /// # Errors
    /// As [`Context::host`].
    pub fn host_if_any(&self) -> Result<Option<Host>, Failure> {
        if self.is_served() || self.store_path()?.exists() { self.host().map(Some) } else { Ok(None) }
    }

    /// The SQLite file.
    ///
    /// # Errors
    /// When the option names another kind of store.
    pub fn store_path(&self) -> Result<PathBuf, Failure> {
        if self.is_served() {
            return Err(Failure::invalid(
                "HP0736",
                "the file of a server's store is its own matter",
                "run the command on the server's machine, with --store",
            ));
        }
        match self.store.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(PathBuf::from(path)),
            _ => Err(Failure::invalid(
                "HP0701",
                format!("{:?} is not a store that this version knows", self.store),
                "use sqlite:PATH, such as sqlite:holdpoint.db",
            )),
        }
    }

    /// The configuration file that is read, if any.
    pub fn configuration_path(&self) -> Option<PathBuf> {
        if self.is_served() {
            return None;
        }
        self.config.clone().or_else(|| Some(PathBuf::from("holdpoint.toml")).filter(|path| path.exists()))
    }

    /// The connectors' configuration; none when there is no file.
    ///
    /// # Errors
    /// All problems of the file at once.
    pub fn configuration(&self) -> Result<Configuration, Failure> {
        if let Some(served) = &self.served {
            return Ok(served.host.configuration().clone());
        }
        let Some(path) = self.configuration_path() else { return Ok(Configuration::default()) };
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::invalid(
                "HP0500",
                format!("the configuration {shown} cannot be read: {error}"),
                "check the path and its permissions",
            )
        })?;
        Configuration::parse(&text, &path, &|name| std::env::var(name).ok())
            .map_err(|problems| from_configuration(&shown, &problems))
    }
}

impl Context {
    /// Whether the command runs on a server for somebody else.
    pub fn is_served(&self) -> bool {
        self.served.is_some()
    }

    /// Where the files of graphs come from: this machine, or whoever sent them.
    pub fn files(&self) -> Arc<dyn Source> {
        self.served.as_ref().map_or_else(|| Arc::new(Disk) as Arc<dyn Source>, |served| Arc::clone(&served.files))
    }

    /// Options for the engine: in the caller's name, and to be stopped by them. Every handle that is made with other options loses both.
    pub fn options(&self, options: RunOptions) -> RunOptions {
        match &self.served {
            Some(served) => {
                RunOptions { principal: served.principal(options.principal), drain: served.drain.clone(), ..options }
            }
            None => options,
        }
    }

    /// Writes a file: here, or at whoever asked. It appears whole or not at all.
    ///
    /// # Errors
    /// The system's.
    pub fn write_file(&self, path: &Path, text: &str) -> std::io::Result<()> {
        match &self.served {
            Some(served) => {
                served.file(path, text);
                Ok(())
            }
            None => write_whole(path, text),
        }
    }
}

/// Writes a file beside its place first, so that no half of it is ever there.
pub(crate) fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let beside: PathBuf = path.with_file_name(name);
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    if written.is_err() {
        // What is left of it is of no use to anybody; that it may not be there is no error.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// All problems of a configuration as one failure.
pub(super) fn from_configuration(shown: &str, problems: &[ConfigurationProblem]) -> Failure {
    let told = problems.iter().map(|problem| {
        json!({
            "code": problem.code, "file": problem.file, "line": problem.line, "column": problem.column,
            "message": problem.message, "cure": problem.cure,
        })
    });
    Failure {
        problems: told.collect(),
        ..Failure::invalid(
            problems.first().map_or("HP0500", |problem| problem.code),
            format!("{shown} has {} problem(s)", problems.len()),
            "mend each of them; nothing was started",
        )
    }
}

/// Reads a thread's name.
///
/// # Errors
/// When it is not one.
pub(super) fn thread_id(text: &str) -> Result<ThreadId, Failure> {
    ThreadId::parse(text).map_err(|error| {
        Failure::invalid(
            "HP0703",
            error.to_string(),
            "name threads with up to 255 bytes of text without control characters",
        )
    })
}

/// Reads JSON from an argument: the text itself, `@FILE`, or `-` for standard input.
///
/// # Errors
/// When it cannot be read or is not JSON.
pub(super) fn json_argument(option: &str, argument: &str) -> Result<Value, Failure> {
    let text = if served::current().is_some() { argument.to_owned() } else { argument_text(option, argument)? };
    serde_json::from_str(&text).map_err(|error| {
        Failure::invalid(
            "HP0705",
            format!("{option} is not JSON: {error}"),
            "give JSON, such as '{\"approved\": true}', quoted for the shell",
        )
    })
}

/// The text that an argument stands for. What came over the network stands for itself: whoever sent it has read their own files.
///
/// # Errors
/// When the file or standard input cannot be read.
pub(crate) fn argument_text(option: &str, argument: &str) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::invalid(
            "HP0704",
            format!("{option} {argument} cannot be read: {error}"),
            "check the file's path and permissions",
        )
    };
    match argument.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(unreadable),
        None if argument == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
            Ok(text)
        }
        None => Ok(argument.to_owned()),
    }
}

/// Reads a JSON object from an argument, as [`json_argument`].
///
/// # Errors
/// As [`json_argument`], and when it is no object.
pub(super) fn object_argument(option: &str, argument: &str) -> Result<Map<String, Value>, Failure> {
    match json_argument(option, argument)? {
        Value::Object(object) => Ok(object),
        _ => Err(Failure::invalid(
            "HP0720",
            format!("{option} is not an object"),
            "give a JSON object, such as '{\"amount_cents\": 4000}'",
        )),
    }
}

/// Reads a checkpoint of a thread: its id, or so many of the id's last digits that no other checkpoint of the thread ends with them.
///
/// # Errors
/// When it is neither, when several checkpoints end so, when the thread is unknown, and the store's.
pub(super) async fn checkpoint_of(host: &Host, thread: &ThreadId, text: &str) -> Result<CheckpointId, Failure> {
    const DIGITS_MIN: usize = 4;
    let not_an_id = match CheckpointId::parse(text) {
        Ok(id) => return Ok(id),
        Err(error) => error,
    };
    let cure = "copy the id, or its last digits, from `holdpoint history THREAD`";
    let is_end = text.len() >= DIGITS_MIN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    if !is_end {
        return Err(Failure::invalid("HP0708", not_an_id.to_string(), cure));
    }
    let outline = host.engine.outline(thread).await.map_err(|error| Failure::from_engine(&error))?;
    let mut ids = outline.into_iter().map(|outline| outline.checkpoint.id).filter(|id| id.as_str().ends_with(text));
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id),
        (Some(first), Some(second)) => Err(Failure::invalid(
            "HP0721",
            format!("several checkpoints end with {text}, such as {first} and {second}"),
            "give more of the id's last digits, or all of it",
        )),
        (None, _) => {
            Err(Failure::invalid("HP0708", format!("no checkpoint of thread {thread} ends with {text}"), cure))
        }
    }
}

/// The name on the record. Whoever holds the store may say any: `cli:` marks it as asserted, not proven.
pub(super) fn actor(by: Option<String>) -> String {
    if let Some(served) = served::current() {
        return served.actor(by);
    }
    format!("cli:{}", name_of_user(by))
}

/// The name that somebody gives, or else their user name.
pub(crate) fn name_of_user(by: Option<String>) -> String {
    let name = by.or_else(|| std::env::var("USER").ok()).or_else(|| std::env::var("LOGNAME").ok());
    name.unwrap_or_else(|| "unknown".into())
}
