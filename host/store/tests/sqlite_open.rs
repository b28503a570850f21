//! What opening a SQLite store finds, accepts and refuses.

use std::path::Path;
use std::sync::Arc;

use holdpoint_store::conformance::scene::{self, append, apply, create, replace, step, thread};
use holdpoint_store::{Commit, Error, Journal, SqliteOptions, SqliteStore, Store, ThreadFilter};
use serde_json::json;

fn open(path: &Path) -> Result<SqliteStore, Error> {
    SqliteStore::open(path, SqliteOptions::default())
}

fn refused(path: &Path) -> Error {
    open(path).err().expect("it is refused")
}

fn code(path: &Path) -> &'static str {
    refused(path).code()
}

/// A closed store with a thread that has everything.
async fn filled(path: &Path) {
    let store: Arc<dyn Store> = Arc::new(open(path).expect("opens"));
    let task = scene::task("t", 0, "pull:pay");
    let commit = Commit {
        tasks: vec![task.clone()],
        questions: vec![scene::question(&task, "t", 0)],
        operations: vec![scene::operation("t", "op", &task)],
        hits: vec![scene::hit(&scene::operation_key("t", "op"), "u", &task)],
        ..create("t", replace([("a", json!(["z".repeat(20_000)])), ("b", json!({ "x": "y" }))]))
    };
    apply(&store, commit).await;
    apply(&store, step("t", 1, 1, 0, append("a", [json!(2)]))).await;
}

fn change(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).expect("opens");
    connection.pragma_update(None, "foreign_keys", false).expect("can be set");
    connection.execute_batch(sql).expect("the change is valid");
}

#[tokio::test]
async fn a_store_is_found_again_as_it_was_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("with space 'and' quotes?.db");
    filled(&path).await;
    let first = open(&path).expect("opens").snapshot(&thread("t"), None).await.expect("readable").expect("there");
    assert_eq!(first.values["a"][1], json!(2));
    let again = open(&path).expect("opens");
    assert_eq!(again.snapshot(&thread("t"), None).await, Ok(Some(first)));
    assert!(again.operation(&scene::operation_key("t", "op")).await.expect("readable").is_some());
    assert_eq!(
        again
            .question(&thread("t"), &scene::question_id(&scene::task("t", 0, "pull:pay"), "t", 0))
            .await
            .map(|found| found.is_some()),
        Ok(true)
    );
    drop(again);
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["with space 'and' quotes?.db"], "a closed store is one file");
}

#[tokio::test]
async fn names_that_mean_something_to_sqlite_are_files() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in [":memory:", "file:x?mode=memory"] {
        let path = directory.path().join(name);
        filled(&path).await;
        assert!(path.is_file(), "{name}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    filled(&path).await;
    change(&path, "pragma user_version = 99");
    let before = std::fs::read(&path).expect("readable");
    assert_eq!(refused(&path), Error::NewerSchema { found: 99, known: 5 });
    assert_eq!(std::fs::read(&path).expect("readable"), before);
}

#[test]
fn another_programs_database_is_refused_and_not_touched() {
    for sql in [
        "create table thread (id integer primary key)",
        "pragma application_id = 77",
        "pragma user_version = 1",
        "create table a (b); pragma application_id = 77; pragma user_version = 1",
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("foreign.db");
        change(&path, sql);
        let before = std::fs::read(&path).expect("readable");
        assert_eq!(refused(&path), Error::Corrupt("the file is a database of another program".to_owned()), "{sql}");
        assert_eq!(std::fs::read(&path).expect("readable"), before, "{sql}");
    }
}

#[test]
fn what_is_no_database_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, bytes) in
        [("short", b"hello".to_vec()), ("text", b"no database at all\n".repeat(1000)), ("zeros", vec![0; 8192])]
    {
        let path = directory.path().join(name);
        std::fs::write(&path, &bytes).expect("writable");
        assert_eq!(code(&path), "HP0611", "{name}");
        assert_eq!(std::fs::read(&path).expect("readable"), bytes, "{name}");
    }
    let folder = directory.path().join("folder");
    std::fs::create_dir(&folder).expect("writable");
    assert_eq!(code(&folder), "HP0611");
}

#[test]
fn an_empty_file_becomes_a_store() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    assert!(open(file.path()).is_ok());
}

#[test]
fn a_missing_directory_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = refused(&directory.path().join("nowhere/store.db"));
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("nowhere does not exist")), "{error}");
}

/// Cut anywhere, a file is refused, or reads what is whole and refuses the rest. It never panics.
#[tokio::test]
async fn a_cut_file_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    filled(&path).await;
    let whole = std::fs::read(&path).expect("readable");
    for pages in 1..whole.len() / 4096 {
        let cut = directory.path().join(format!("cut-{pages}.db"));
        std::fs::write(&cut, &whole[..pages * 4096]).expect("writable");
        match open(&cut) {
            Err(error) => assert_eq!(error.code(), "HP0611", "{error}"),
            Ok(store) => {
                let found = store.snapshot(&thread("t"), None).await;
                assert!(matches!(found, Err(Error::Corrupt(_)) | Ok(_)), "{found:?}");
            }
        }
    }
}

/// Whatever a column holds, reading it is an answer or [`Error::Corrupt`].
#[tokio::test]
async fn garbage_in_rows_is_corrupt() {
    let garbage = [
        "update thread set status = 'flying'",
        "update thread set epoch = -1",
        "update thread set head = 'no id'",
        "update thread set head = '00000000-0000-8000-8000-000000000000'",
        "update thread set lineage = ''",
        "update thread set graph = 'md5:1'",
        "update thread set error = '{'",
        "update thread set format = 2",
        "update thread set updated_at_ms = -5",
        "update checkpoint set next = '[{\"pull\":7}]'",
        "update checkpoint set source = 'elsewhere'",
        "update checkpoint set versions = '{\"a\":\"x\"}'",
        "update checkpoint set versions = '{\"a\":77}'",
        "update checkpoint set joins = '[]'",
        "update checkpoint set format = 0",
        "update channel_value set value = '[1'",
        "update channel_value set value = 'true' where kind = 'append'",
        "update channel_value set kind = 'riddle'",
        "update channel_value set base_version = version where kind = 'append'",
        "update channel_value set base_version = 1000 where kind = 'append'",
        "update channel_value set base_version = null where kind = 'append'",
        "delete from channel_value where kind = 'list'",
        "update channel_value set value = replace(hex(zeroblob(500000)), '0', '[') where kind = 'value'",
        "delete from checkpoint",
        "update thread set owner = cast(x'ff' as text)",
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let origin = directory.path().join("store.db");
    filled(&origin).await;
    for (number, sql) in garbage.into_iter().enumerate() {
        let path = directory.path().join(format!("{number}.db"));
        std::fs::copy(&origin, &path).expect("writable");
        change(&path, sql);
        let found = open(&path).expect("opens").snapshot(&thread("t"), None).await;
        assert!(matches!(found, Err(Error::Corrupt(_))), "{sql}: {:?}", found.map(drop));
    }
    let elsewhere = [
        "update task set result = '{\"update\":3}'",
        "update task set executions = -1",
        "update question set payload = ''",
        "update question set answer = '{\"verdict\":\"perhaps\",\"value\":1,\"answered_by\":\"\",\"answered_at_ms\":1}'",
        "update question set occurrence = 5000000000",
        "update operation set state = 'completed', outcome = null",
        "update operation set scope = 'nowhere'",
        "update operation set request = 'nope'",
        "update operation set state = 'queued', outcome = null, attempts = 1",
        "update operation set state = 'queued', outcome = null, due_at_ms = 1",
        "update operation set state = 'queued', outcome = null, due_at_ms = 1, attempts = 5000000000",
        "update operation set state = 'queued', due_at_ms = 1, attempts = 1",
        "update operation set settles_at_ms = -1",
        "update operation set notes = '{}'",
        "update operation set notes = '[{\"at_ms\":-1,\"kind\":\"failed\",\"by\":\"\",\"text\":\"\"}]'",
        "update operation_hit set thread_id = ''",
        "update operation_hit set at_ms = -1",
    ];
    for (number, sql) in elsewhere.into_iter().enumerate() {
        let path = directory.path().join(format!("elsewhere-{number}.db"));
        std::fs::copy(&origin, &path).expect("writable");
        change(&path, sql);
        let store = open(&path).expect("opens");
        let snapshot = store.snapshot(&thread("t"), Some(&scene::checkpoint(0))).await.map(drop);
        let operation = store.operations(&thread("t")).await.map(drop);
        let hits = store.hits(&scene::operation_key("t", "op")).await.map(drop);
        let corrupt =
            [snapshot, operation, hits].into_iter().filter(|found| matches!(found, Err(Error::Corrupt(_)))).count();
        assert!(corrupt >= 1, "{sql}");
        assert!(
            store.threads(&ThreadFilter { limit: 9, ..ThreadFilter::default() }).await.is_ok(),
            "the rest is readable"
        );
    }
}

#[test]
fn many_may_create_one_file_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    std::thread::scope(|scope| {
        let openings: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path).map(drop))).collect();
        for opening in openings {
            assert_eq!(opening.join().expect("no panic"), Ok(()));
        }
    });
}

/// Runs as somebody who may not write: as the superuser, permissions would mean nothing, so a copy of this test runs as nobody.
#[cfg(unix)]
#[tokio::test]
#[expect(clippy::print_stdout, reason = "tells the parent that the child ran at all")]
async fn what_may_not_be_written_is_read_only() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    const DIRECTORY: &str = "HOLDPOINT_TEST_READ_ONLY";
    const NAMES: [&str; 4] = ["locked/store.db", "locked/new.db", "open/store.db", "open/unreadable.db"];
    if let Ok(directory) = std::env::var(DIRECTORY) {
        for name in NAMES {
            let error = refused(&Path::new(&directory).join(name));
            assert_eq!(error.code(), "HP0608", "{name}: {error}");
        }
        println!("all refused");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let permit = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours to change");
    };
    for folder in ["open", "locked"] {
        std::fs::create_dir(directory.path().join(folder)).expect("writable");
        filled(&directory.path().join(folder).join("store.db")).await;
    }
    filled(&directory.path().join("open/unreadable.db")).await;
    let program = directory.path().join("program");
    std::fs::copy(std::env::current_exe().expect("a program"), &program).expect("writable");
    for (name, mode) in
        [("", 0o755), ("open", 0o777), ("open/store.db", 0o444), ("open/unreadable.db", 0o000), ("locked", 0o555)]
    {
        permit(&directory.path().join(name), mode);
    }
    // The file could be written, but no log beside it.
    permit(&directory.path().join("locked/store.db"), 0o666);
    let mut child = std::process::Command::new(&program);
    child.args(["--exact", "what_may_not_be_written_is_read_only", "--nocapture"]).env(DIRECTORY, directory.path());
    let superuser = std::fs::OpenOptions::new().append(true).open(directory.path().join("open/unreadable.db")).is_ok();
    if superuser {
        child.uid(65_534).gid(65_534);
    }
    let output = child.output().expect("the program starts");
    permit(&directory.path().join("locked"), 0o755);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("all refused"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
