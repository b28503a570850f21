//! The `sql` connector on a real PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use crate::support::connectors::{connector, look_up, send, send_within};
use crate::support::postgres::Server;
use holdpoint_effects::connectors::{Connector, LookUp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const STATEMENTS: &str = r#"
[connectors.it.statements]
add = "insert into entry (order_id, amount) values (:order, :amount) returning id, order_id"
add_locked = "insert into entry (order_id, amount) select :order, :amount from pg_advisory_xact_lock(42) returning id"
values = "select :a::text as a, :b::boolean as b, :c::bigint as c, :d::float8 as d, :e::text as e, :f::jsonb as f, :g::numeric as g, :h::uuid as h, :i::timestamptz as i, :j::jsonb as j, :k::date as k, :l::int as l"
all = "select * from entry"
bytes = "insert into entry (order_id, amount) values ('bytes', 1) returning order_id::bytea as bytes"
late_child = "insert into late_child (entry) values (:entry)"
missing = "insert into nowhere values (1)"
moment = "select raise(:code)"
"#;

const SCHEMA: &str = "\
create table entry (id serial primary key, order_id text not null unique, amount integer not null check (amount > 0));
create table late_child (entry integer references entry deferrable initially deferred);
create function raise(code text) returns int language plpgsql as $$ begin raise exception 'raised' using errcode = code; end $$;";

fn server() -> Server {
    let server = Server::start();
    server.execute(SCHEMA);
    server
}

/// A process of its own, which connects to this port.
fn connector_at(port: u16, more: &str) -> Arc<dyn Connector> {
    let text = format!(
        "[connectors.it]\nkind = \"sql\"\nurl = \"postgres://postgres:${{env:PASSWORD}}@127.0.0.1:{port}/postgres\"\n{more}{STATEMENTS}"
    );
    connector(&text, &[("PASSWORD", "s3cret")], "it")
}

fn counts(server: &Server) -> String {
    server.execute("select (select count(*) from entry), (select count(*) from holdpoint_operation)")
}

fn add(order: &str, amount: i64) -> Value {
    json!({ "statement": "add", "parameters": { "order": order, "amount": amount } })
}

fn add_locked(order: &str) -> Value {
    json!({ "statement": "add_locked", "parameters": { "order": order, "amount": 5 } })
}

#[tokio::test]
async fn an_operation_is_one_effect_with_one_answer_for_ever() {
    let server = server();
    let connector = connector_at(server.port, "");
    assert_eq!(look_up(&connector, "a", &add("o-1", 5)).await, LookUp::NotThere, "and the table is not there");
    let answer = "done {\"affected\":1,\"rows\":[{\"id\":1,\"order_id\":\"o-1\"}]}";
    for _ in 0..2 {
        assert_eq!(send(&connector, "a", &add("o-1", 5)).await, answer);
        assert_eq!(send(&connector_at(server.port, ""), "a", &add("o-1", 5)).await, answer, "another process");
    }
    assert_eq!(counts(&server), "1|1");
    let LookUp::Happened(found) = look_up(&connector, "a", &add("o-1", 5)).await else { panic!("it happened") };
    assert_eq!(format!("done {found}"), answer);
    let conflict = send(&connector, "a", &add("o-2", 5)).await;
    assert_eq!(conflict, "rejected conflict: the database has this operation id with another request");
    assert!(matches!(look_up(&connector, "a", &add("o-2", 5)).await, LookUp::Unknown(_)));

    let parameters = json!({
        "a": null, "b": true, "c": 9_007_199_254_740_993_i64, "d": 0.5, "e": "'; drop table entry; --", "f": {"x": [1]},
        "g": "12345678901234567890.10", "h": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "i": "2026-01-02T03:04:05.25+01:00", "j": "text",
        "k": "2026-02-28", "l": -7,
    });
    let expected = json!({ "affected": 1, "rows": [{
        "a": null, "b": true, "c": 9_007_199_254_740_993_i64, "d": 0.5, "e": "'; drop table entry; --", "f": {"x": [1]},
        "g": "12345678901234567890.10", "h": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "i": "2026-01-02T02:04:05.25Z", "j": "text",
        "k": "2026-02-28", "l": -7,
    }] });
    let request = json!({ "statement": "values", "parameters": parameters });
    assert_eq!(send(&connector, "b", &request).await, format!("done {expected}"));
}

#[tokio::test]
async fn what_the_database_refuses_is_rolled_back() {
    let server = server();
    let connector = connector_at(server.port, "row_limit = 2\n");
    assert!(send(&connector, "a", &add("o-1", 5)).await.starts_with("done"));
    let request = |statement: &str, parameters: Value| json!({ "statement": statement, "parameters": parameters });
    let moment = |code: &str| request("moment", json!({ "code": code }));
    let table = [
        (add("o-1", 5), "rejected sql-23505: duplicate key value violates unique constraint \"entry_order_id_key\""),
        (
            add("o-2", 0),
            "rejected sql-23514: new row for relation \"entry\" violates check constraint \"entry_amount_check\"",
        ),
        (
            request("add", json!({ "order": "o-3", "amount": "many" })),
            "rejected sql-22P02: invalid input syntax for type integer: \"many\"",
        ),
        (request("missing", json!({})), "rejected sql-42P01: relation \"nowhere\" does not exist"),
        (
            request("late_child", json!({ "entry": 99 })),
            "rejected sql-23503: insert or update on table \"late_child\" violates foreign key constraint \"late_child_entry_fkey\"",
        ),
        (
            request("bytes", json!({})),
            "rejected sql-result: column \"bytes\" is of type bytea: cast it, such as with ::text or to_jsonb()",
        ),
        (moment("P0001"), "rejected sql-P0001: raised"),
        (moment("40001"), "not sent: ForNow(\"raised\")"),
        (moment("40P01"), "not sent: ForNow(\"raised\")"),
        (moment("53100"), "not sent: ForNow(\"raised\")"),
        (moment("55P03"), "not sent: ForNow(\"raised\")"),
        (moment("57014"), "later timeout: the statement took too long and was rolled back"),
    ];
    for (index, (request, expected)) in table.iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(send(&connector, &format!("b{index}"), request).await, *expected, "{request}");
        }
    }
    for id in ["c", "d"] {
        assert!(send(&connector, id, &add(id, 5)).await.starts_with("done"));
    }
    let many = send(&connector, "e", &request("all", json!({}))).await;
    assert_eq!(many, "rejected sql-result: the result has more than 2 rows (`row_limit`)");
    assert_eq!(counts(&server), "3|3", "none of them left anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_sends_of_one_operation_are_one_effect() {
    let server = server();
    let connectors: Vec<_> = (0..4).map(|_| connector_at(server.port, "")).collect();
    let mut running = tokio::task::JoinSet::new();
    for index in 0..16 {
        let connector = connectors[index % 4].clone();
        running.spawn(async move { send(&connector, "a", &add("o-1", 5)).await });
    }
    let answers = running.join_all().await;
    assert!(answers.iter().all(|answer| answer.starts_with("done") && *answer == answers[0]), "{answers:?}");
    assert_eq!(counts(&server), "1|1");
}

/// Holds the lock that `add_locked` waits for, in a transaction of its own.
async fn hold_lock(server: &Server) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("begin; select pg_advisory_xact_lock(42)").await.unwrap();
    client
}

/// Waits until somebody waits for the lock; gives their process.
async fn waiting(client: &tokio_postgres::Client) -> i32 {
    loop {
        let row = client
            .query_opt("select pid from pg_locks where locktype = 'advisory' and not granted", &[])
            .await
            .unwrap();
        match row {
            Some(row) => return row.get(0),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_before_the_commit_leaves_nothing() {
    let server = server();
    let connector = connector_at(server.port, "");
    assert!(send(&connector, "a", &add("o-1", 5)).await.starts_with("done"));

    let holder = hold_lock(&server).await;
    let sending = tokio::spawn({
        let connector = connector.clone();
        async move { send(&connector, "b", &add_locked("o-2")).await }
    });
    let process = waiting(&holder).await;
    holder.execute("select pg_terminate_backend($1)", &[&process]).await.unwrap();
    let lost = sending.await.unwrap();
    assert!(lost.starts_with("not sent: "), "{lost}");
    assert_eq!(counts(&server), "1|1");

    // A statement that takes too long, and one that nobody waits for any more.
    let late = send_within(&connector, "b", &add_locked("o-2"), Duration::from_millis(300)).await;
    assert_eq!(late, "later timeout: the statement took too long and was rolled back");
    let dropped = tokio::spawn({
        let connector = connector.clone();
        async move { send(&connector, "b", &add_locked("o-2")).await }
    });
    let process = waiting(&holder).await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    holder.batch_execute("commit").await.unwrap();
    // The server finishes the statement, finds that nobody is there, and rolls back.
    while holder.query_opt("select 1 from pg_stat_activity where pid = $1", &[&process]).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(counts(&server), "1|1");
    assert!(send(&connector, "b", &add_locked("o-2")).await.starts_with("done"));
    assert_eq!(counts(&server), "2|2");
}

/// When a proxy cuts the connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// The server never gets the commit.
    BeforeCommit,
    /// The server commits; its word is lost.
    AfterCommit,
}

/// A proxy that cuts its first connection, and forwards all later ones.
async fn proxy(server: u16, cut: Cut) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (first, _) = listener.accept().await.unwrap();
        cutting(first, TcpStream::connect(("127.0.0.1", server)).await.unwrap(), cut).await;
        while let Ok((mut client, _)) = listener.accept().await {
            let mut upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut upstream).await });
        }
    });
    port
}

async fn cutting(mut client: TcpStream, mut server: TcpStream, cut: Cut) {
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let (mut from_client, mut from_server) = ([0; 8192], [0; 8192]);
    let mut committing = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let bytes = &from_client[..read.unwrap()];
                committing = contains(bytes, b"commit\0");
                if bytes.is_empty() || (committing && cut == Cut::BeforeCommit) {
                    return;
                }
                server.write_all(bytes).await.unwrap();
            }
            read = server.read(&mut from_server) => {
                let bytes = &from_server[..read.unwrap()];
                if bytes.is_empty() || (committing && contains(bytes, b"COMMIT\0")) {
                    return;
                }
                client.write_all(bytes).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_at_the_commit_leaves_one_effect() {
    let server = server();
    for (cut, id, before, happened) in
        [(Cut::AfterCommit, "o-1", "1|1", true), (Cut::BeforeCommit, "o-2", "1|1", false)]
    {
        let connector = connector_at(proxy(server.port, cut).await, "");
        let lost = send(&connector, id, &add(id, 5)).await;
        assert!(lost.starts_with("unknown: the connection ended at the commit"), "{cut:?}: {lost}");
        assert_eq!(counts(&server), before, "{cut:?}");
        let found = look_up(&connector, id, &add(id, 5)).await;
        assert_eq!(matches!(found, LookUp::Happened(_)), happened, "{cut:?}: {found:?}");
        assert_eq!(matches!(found, LookUp::NotThere), !happened, "{cut:?}: {found:?}");
        for _ in 0..2 {
            assert!(send(&connector, id, &add(id, 5)).await.starts_with("done"), "{cut:?}");
        }
    }
    assert_eq!(counts(&server), "2|2");
}

#[tokio::test]
async fn a_server_that_refuses_is_asked_later() {
    let server = server();
    server.execute("create role locked login connection limit 0");
    let text = format!(
        "[connectors.it]\nkind = \"sql\"\nurl = \"postgres://locked@127.0.0.1:{}/postgres\"\n{STATEMENTS}",
        server.port
    );
    let line = send(&connector(&text, &[], "it"), "a", &add("o-1", 5)).await;
    assert_eq!(line, "not sent: ForNow(\"the database refused the connection (53300)\")");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_asked_later() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let connector = connector_at(port, "");
    let line = send(&connector, "a", &add("o-1", 5)).await;
    assert!(line.starts_with("not sent: ForNow(\"the database cannot be reached"), "{line}");
    assert!(!line.contains("s3cret"), "{line}");
    assert!(matches!(look_up(&connector, "a", &add("o-1", 5)).await, LookUp::Unknown(_)));
}
