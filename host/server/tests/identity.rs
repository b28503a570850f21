//! Who comes in, and as whom: loopback, API keys, a browser's session.

use crate::support::{self, Reply, Setup, TestServer};
use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::ids::Tenant;
use holdpoint_server::identity::keys::Fresh;
use holdpoint_server::{Context, Settings};
use reqwest::Method;
use serde_json::{Value, json};

/// Makes a key in the store, as the command line does.
async fn key(context: &Context, tenant: &str, name: &str, roles: &[&str], expires_at_ms: Option<u64>) -> String {
    let fresh = Fresh {
        name: name.into(),
        tenant: Tenant::parse(tenant).unwrap(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        groups: vec!["finance".into()],
        expires_at_ms,
        by: Actor::asserted("test"),
    };
    let (key, record, entry) = fresh.make(context.now_ms()).unwrap();
    context.store().put_key(record, vec![entry]).await.unwrap();
    key
}

async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Reply {
    server.http.send(Method::GET, path, headers, "").await
}

async fn strict() -> TestServer {
    let settings = Settings { loopback_trusted: false, ..Settings::default() };
    Setup { settings, ..Setup::default() }.start().await
}

#[tokio::test]
async fn loopback_needs_no_key_and_nobody_passes_for_it() {
    let server = Setup::default().start().await;
    get(&server, "/approvals", &[]).await.expect(200);
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "localhost.evil.example:80"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("x-api-key", "hp_unknown"),
        ("x-api-key", "lsv2_somebody_elses"),
        ("authorization", "Basic eDp5"),
        ("authorization", "Bearer a.b.c"),
    ] {
        get(&server, "/approvals", &[(name, value)]).await.refused(401, "HP0801");
    }
    let server = strict().await;
    let reply = get(&server, "/approvals", &[]).await;
    reply.refused(401, "HP0801");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
}

#[tokio::test]
async fn a_page_on_this_machine_may_call_and_one_elsewhere_only_where_it_is_listed() {
    let settings = Settings { cors_origins: vec!["https://chat.example".into()], ..Settings::default() };
    let server = Setup { settings, ..Setup::default() }.start().await;
    for origin in ["http://localhost:3000", "https://chat.example"] {
        get(&server, "/approvals", &[("origin", origin)]).await.expect(200);
    }
    let reply = get(&server, "/approvals", &[("origin", "https://chat.example")]).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://chat.example"));
    let reply = get(&server, "/approvals", &[("origin", "https://other.example")]).await;
    reply.refused(401, "HP0801");
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_key_opens_in_both_headers_and_every_other_gets_one_answer() {
    let server = strict().await;
    let context = &server.context;
    let good = key(context, "default", "good", &["viewer"], None).await;
    let ended = key(context, "default", "ended", &["admin"], Some(context.now_ms())).await;
    let revoked = key(context, "default", "revoked", &["admin"], None).await;
    let tenant = Tenant::default();
    assert!(context.store().revoke_key(&tenant, "revoked", context.now_ms(), Vec::new()).await.unwrap());
    get(&server, "/approvals", &[("x-api-key", &good)]).await.expect(200);
    get(&server, "/approvals", &[("authorization", &format!("Bearer {good}"))]).await.expect(200);
    get(&server, "/approvals", &[("authorization", &format!("bearer {good}"))]).await.expect(200);
    let unknown = format!("hp_{}", "A".repeat(43));
    let mut answers: Vec<String> = Vec::new();
    for credential in [ended.as_str(), &revoked, &unknown, "hp_", "", "x", &good[..good.len() - 1], &format!("{good}x")]
    {
        let reply = get(&server, "/approvals", &[("x-api-key", credential)]).await;
        reply.refused(401, "HP0801");
        answers.push(reply.text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "whoever guesses learns nothing: {answers:?}");
}

#[tokio::test]
async fn a_key_that_ends_opens_until_then() {
    let server = strict().await;
    let key = key(&server.context, "default", "short", &["viewer"], Some(server.context.now_ms() + 1000)).await;
    server.clock.advance_ms(999);
    get(&server, "/approvals", &[("x-api-key", &key)]).await.expect(200);
    server.clock.advance_ms(1);
    get(&server, "/approvals", &[("x-api-key", &key)]).await.refused(401, "HP0801");
}

#[tokio::test]
async fn roles_and_keys_over_http() {
    let server = strict().await;
    let admin = key(&server.context, "default", "root", &["admin"], None).await;
    let operator = key(&server.context, "default", "operator", &["operator"], None).await;
    let post = async |by: &str, body: Value| {
        let headers = [("x-api-key", by), ("content-type", "application/json")];
        server.http.send(Method::POST, "/keys", &headers, body.to_string()).await
    };
    let wanted = json!({ "name": "ana", "roles": ["approver", "viewer"], "groups": ["finance"], "expires_in": 60 });
    post(&operator, wanted.clone()).await.refused(403, "HP0803");
    let made = post(&admin, wanted.clone()).await.expect(201);
    let secret = made["key"].as_str().unwrap();
    assert!(secret.starts_with("hp_") && secret.len() == 46);
    post(&admin, wanted).await.refused(409, "HP0893");
    post(&admin, json!({ "name": "b", "roles": ["king"] })).await.refused(422, "HP0892");
    post(&admin, json!({ "name": "b c", "roles": ["viewer"] })).await.refused(422, "HP0892");
    post(&admin, json!({ "name": "b", "roles": [] })).await.refused(422, "HP0892");
    let listed = get(&server, "/keys", &[("x-api-key", &admin)]).await;
    assert!(!listed.text.contains(&secret[3..]), "a key is shown once");
    let names: Vec<&str> = listed.body.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["root", "operator", "ana"]);
    get(&server, "/approvals", &[("x-api-key", secret)]).await.expect(200);
    get(&server, "/keys", &[("x-api-key", secret)]).await.refused(403, "HP0803");
    let revoke = async |name: &str| {
        server.http.send(Method::DELETE, &format!("/keys/{name}"), &[("x-api-key", &admin)], "").await
    };
    revoke("ana").await.expect(204);
    revoke("ana").await.refused(404, "HP0894");
    get(&server, "/approvals", &[("x-api-key", secret)]).await.refused(401, "HP0801");
    let filter = holdpoint_store::AuditFilter { limit: 100, ..Default::default() };
    let audit = server.context.store().audit(&filter).await.unwrap();
    let kinds: Vec<(&str, &str)> =
        audit.iter().map(|record| (record.kind.as_str(), record.actor.id.as_str())).collect();
    assert_eq!(kinds[2..], [("key.created", "key:root"), ("key.revoked", "key:root")]);
    assert_eq!(audit[2].actor.basis, Basis::ApiKey);
    assert!(!audit.iter().any(|record| record.to_json().to_string().contains(secret)), "no secret on the record");
}

#[tokio::test]
async fn another_tenants_key_sees_nothing() {
    let server = Setup::default().start().await;
    let deployment = server.deploy("graph", support::APPROVAL).await;
    let view = server.run("t", &deployment, json!({})).await;
    let id = &view.interrupts[0].id;
    let other = key(&server.context, "other", "mallory", &["admin"], None).await;
    let headers = [("x-api-key", other.as_str()), ("content-type", "application/json")];
    let listed = get(&server, "/approvals?status=all", &headers).await.expect(200);
    assert_eq!(listed, json!([]));
    get(&server, &format!("/approvals/{id}"), &headers).await.refused(404, "HP0814");
    let shown = get(&server, &format!("/approvals/{id}"), &[]).await.expect(200);
    let body = json!({ "decision": "accept", "payload_digest": shown["digest"] }).to_string();
    for path in ["answers", "delegate", "links"] {
        let path = format!("/approvals/{id}/{path}");
        let reply = server.http.send(Method::POST, &path, &headers, body.clone()).await;
        reply.refused(404, "HP0814");
        assert!(!reply.text.contains("approval_required"), "nothing leaks");
    }
    assert_eq!(get(&server, "/keys", &headers).await.expect(200).as_array().unwrap().len(), 1);
    let still = get(&server, &format!("/approvals/{id}"), &[]).await.expect(200);
    assert_eq!(still["status"], "pending", "nothing is decided");
}

/// A browser, as far as cookies and redirects go.
struct Browser {
    client: reqwest::Client,
    base: String,
}

impl Browser {
    fn new(server: &TestServer) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { client, base: server.http.base.clone() }
    }

    async fn sign_in(&self, credential: &str) -> reqwest::Response {
        self.form("/inbox/login", &[("origin", &self.base)], &[("credential", credential)]).await
    }

    async fn form(&self, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> reqwest::Response {
        let encoded: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.client.post(format!("{}{path}", self.base)).body(encoded.join("&"));
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.client.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }
}

#[tokio::test]
async fn a_browser_signs_in_and_out() {
    let server = strict().await;
    let browser = Browser::new(&server);
    let page = browser.get("/inbox", &[("accept", "text/html")]).await;
    assert_eq!((page.status().as_u16(), page.headers()["location"].to_str().unwrap()), (303, "/inbox/login"));
    let page = browser.get("/inbox/login", &[]).await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    assert_eq!(browser.get("/inbox/style.css", &[]).await.status(), 200);

    let wrong = browser.sign_in("hp_wrong").await;
    assert_eq!((wrong.status().as_u16(), wrong.headers().get("set-cookie")), (401, None));
    let key = key(&server.context, "default", "ana", &["approver"], None).await;
    let signed_in = browser.sign_in(&key).await;
    assert_eq!(signed_in.status(), 303);
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(&key), "the cookie is not the key");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(browser.get("/approvals", &[("cookie", cookie)]).await.status(), 200);
    assert_eq!(browser.get("/approvals", &[("cookie", "holdpoint_session=x")]).await.status(), 401);

    let out = browser.form("/inbox/logout", &[("cookie", cookie), ("origin", &browser.base)], &[]).await;
    assert_eq!(out.status(), 303);
    assert_eq!(browser.get("/approvals", &[("cookie", cookie)]).await.status(), 401);
}

#[tokio::test]
async fn a_cookie_changes_something_only_from_our_own_pages() {
    let server = strict().await;
    let browser = Browser::new(&server);
    let key = key(&server.context, "default", "root", &["admin"], None).await;
    let signed_in = browser.sign_in(&key).await;
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let make = async |name: &str, extra: &[(&str, &str)]| {
        let mut headers = vec![("cookie", cookie.as_str()), ("content-type", "application/json")];
        headers.extend(extra);
        let body = json!({ "name": name, "roles": ["viewer"] }).to_string();
        server.http.send(Method::POST, "/keys", &headers, body).await
    };
    make("none", &[]).await.refused(403, "HP0805");
    make("elsewhere", &[("origin", "https://evil.example")]).await.refused(403, "HP0805");
    make("port", &[("origin", "http://127.0.0.1:1")]).await.refused(403, "HP0805");
    make("null", &[("origin", "null")]).await.refused(403, "HP0805");
    make("site", &[("sec-fetch-site", "same-site")]).await.refused(403, "HP0805");
    make("own", &[("origin", &browser.base)]).await.expect(201);
    make("fetch", &[("sec-fetch-site", "same-origin")]).await.expect(201);
    let revoked = server.context.store().revoke_key(&Tenant::default(), "root", 0, Vec::new()).await.unwrap();
    assert!(revoked);
    make("after", &[("origin", &browser.base)]).await.refused(401, "HP0801");
}

#[tokio::test]
async fn no_other_site_signs_anybody_in() {
    let server = strict().await;
    let browser = Browser::new(&server);
    let key = key(&server.context, "default", "mallory", &["viewer"], None).await;
    let reply = browser.form("/inbox/login", &[("origin", "https://evil.example")], &[("credential", &key)]).await;
    assert_eq!((reply.status().as_u16(), reply.headers().get("set-cookie")), (403, None));
}

#[tokio::test]
async fn strangers_are_let_in_nowhere_without_identity() {
    let server = Setup::default().start().await;
    let listen = async |address: &str| {
        let checked = holdpoint_server::identity::check_listen(&server.context, address.parse().unwrap()).await;
        checked.map_err(|problem| problem.code)
    };
    for address in ["127.0.0.1:2024", "[::1]:2024", "127.3.2.1:1"] {
        assert_eq!(listen(address).await, Ok(()), "{address}");
    }
    for address in ["0.0.0.0:2024", "[::]:2024", "192.168.1.5:2024", "[::ffff:10.0.0.1]:1"] {
        assert_eq!(listen(address).await, Err("HP0802".to_owned()), "{address}");
    }
    key(&server.context, "default", "ended", &["admin"], Some(1)).await;
    assert_eq!(listen("0.0.0.0:2024").await, Err("HP0802".to_owned()), "a key that opens nothing is none");
    key(&server.context, "default", "good", &["viewer"], None).await;
    assert_eq!(listen("0.0.0.0:2024").await, Ok(()));
}

/// What the page gives to its form.
fn page_token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("no token in {page}"));
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_and_an_open_form_outlive_the_process_and_count_on_every_host() {
    let settings = Settings { loopback_trusted: false, ..Settings::default() };
    let setup = Setup { settings, ..Setup::default() };
    let server = setup.clone().start().await;
    let deployment = server.deploy("graph", support::APPROVAL).await;
    let view = server.run("t", &deployment, json!({})).await;
    let path = format!("/inbox/approvals/{}", view.interrupts[0].id);
    let key = key(&server.context, "default", "ana", &["operator"], None).await;
    let shown = get(&server, &path["/inbox".len()..], &[("x-api-key", &key)]).await.expect(200);
    let signed_in = Browser::new(&server).sign_in(&key).await;
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = Browser::new(&server).get(&path, &[("cookie", &cookie)]).await;
    assert_eq!((page.status().as_u16(), page.headers().get("set-cookie")), (200, None));
    let token = page_token(&page.text().await.unwrap());
    server.stop().await;

    let server = Setup { worker: "second".into(), ..setup.clone() }.start().await;
    let other = Setup { worker: "third".into(), ..setup }.start().await;
    let browser = Browser::new(&server);
    assert_eq!(browser.get("/approvals", &[("cookie", &cookie)]).await.status(), 200);
    let digest = shown["digest"].as_str().unwrap().to_owned();
    let fields =
        |token: &str| [("verdict", "accept".to_owned()), ("digest", digest.clone()), ("csrf", token.to_owned())];
    let send = async |token: &str| {
        let fields = fields(token);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        browser.form(&path, &[("cookie", &cookie), ("origin", &browser.base)], &fields).await.status().as_u16()
    };
    assert_eq!(send(&token[1..]).await, 403);
    // The token of another of their sessions is none of this one.
    let again = browser.sign_in(&key).await;
    let another = again.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = browser.get(&path, &[("cookie", &another)]).await.text().await.unwrap();
    assert_eq!(send(&page_token(&page)).await, 403);
    assert!(matches!(send(&token).await, 200..=399), "the form that was open is taken");
    let decided = get(&server, &path["/inbox".len()..], &[("x-api-key", &key)]).await.expect(200);
    assert_ne!(decided["status"], "pending");

    // Who signs out does so everywhere; the other session stays until its time is over.
    let elsewhere = Browser::new(&other);
    assert_eq!(elsewhere.get("/approvals", &[("cookie", &cookie)]).await.status(), 200);
    browser.form("/inbox/logout", &[("cookie", &cookie), ("origin", &browser.base)], &[]).await;
    assert_eq!(elsewhere.get("/approvals", &[("cookie", &cookie)]).await.status(), 401);
    assert_eq!(elsewhere.get("/approvals", &[("cookie", &another)]).await.status(), 200);
    server.clock.advance_ms(12 * 60 * 60 * 1000);
    assert_eq!(elsewhere.get("/approvals", &[("cookie", &another)]).await.status(), 401);
}

#[tokio::test]
async fn whoever_needs_no_session_has_a_cookie_for_their_forms() {
    let setup = Setup::default();
    let server = setup.clone().start().await;
    let deployment = server.deploy("graph", support::APPROVAL).await;
    let view = server.run("t", &deployment, json!({})).await;
    let path = format!("/inbox/approvals/{}", view.interrupts[0].id);
    let digest = get(&server, &path["/inbox".len()..], &[]).await.expect(200)["digest"].as_str().unwrap().to_owned();
    let page = Browser::new(&server).get(&path, &[]).await;
    let cookie = page.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.starts_with("holdpoint_page=") && cookie.contains("SameSite=Strict; HttpOnly")
            || cookie.contains("HttpOnly; SameSite=Strict")
    );
    let cookie = cookie.split(';').next().unwrap();
    let token = page_token(&page.text().await.unwrap());
    let page = Browser::new(&server).get(&path, &[("cookie", cookie)]).await;
    assert_eq!(page.headers().get("set-cookie"), None, "one is enough");
    assert_eq!(page_token(&page.text().await.unwrap()), token);
    server.stop().await;
    let server = Setup { worker: "second".into(), ..setup }.start().await;
    let browser = Browser::new(&server);
    let fields = [("verdict", "accept"), ("digest", digest.as_str()), ("csrf", token.as_str())];
    let post = async |cookie: &str| {
        browser.form(&path, &[("cookie", cookie), ("origin", &browser.base)], &fields).await.status().as_u16()
    };
    for odd in ["", "a=b", "holdpoint_page=", "holdpoint_page=short"] {
        assert_eq!(post(odd).await, 403, "{odd}");
    }
    assert!(matches!(post(cookie).await, 200..=399), "the form that was open is taken");
}
