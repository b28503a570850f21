//! Tokens of an identity provider. The provider is this test's own: it signs tokens and serves its keys on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{NOON_MS, Reply, Setup, TestServer};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdpoint_server::Settings;
use holdpoint_server::settings::Oidc;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

const NOON: u64 = NOON_MS / 1000;

/// An identity provider: its keys by algorithm, named as the algorithm is.
struct Provider {
    url: String,
    published: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_der(include_bytes!("keys/rsa.der"))
}

fn ec() -> EncodingKey {
    EncodingKey::from_ec_der(include_bytes!("keys/ec.der"))
}

/// An Ed25519 key from its seed, in the form of RFC 8410.
fn ed(seed: u8) -> EncodingKey {
    let mut der = vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend([seed; 32]);
    EncodingKey::from_ed_der(&der)
}

fn published(key: &EncodingKey, algorithm: Algorithm, id: &str) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    jwk["kid"] = id.into();
    jwk["use"] = "sig".into();
    jwk
}

impl Provider {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = json!({ "keys": [
            { "kty": "odd", "kid": "unreadable" },
            published(&rsa(), Algorithm::RS256, "RS256"),
            published(&ec(), Algorithm::ES256, "ES256"),
            published(&ed(7), Algorithm::EdDSA, "EdDSA"),
        ] });
        let (published, asked) = (Arc::new(Mutex::new(keys)), Arc::new(AtomicUsize::new(0)));
        let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        let (served, counted) = (Arc::clone(&published), Arc::clone(&asked));
        let router =
            Router::new().route("/.well-known/openid-configuration", get(async move || Json(discovery))).route(
                "/keys",
                get(async move || {
                    counted.fetch_add(1, Ordering::SeqCst);
                    Json(served.lock().unwrap().clone())
                }),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, published, asked }
    }

    fn oidc(&self) -> Oidc {
        Oidc {
            issuer: self.url.clone(),
            audience: "holdpoint".into(),
            jwks_url: None,
            groups_claim: "groups".into(),
            tenant_claim: None,
            roles: vec![("approver".into(), "finance".into()), ("admin".into(), "platform".into())],
        }
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.url, "aud": "holdpoint", "sub": "4f1c", "exp": NOON + 300, "nbf": NOON, "iat": NOON,
            "groups": ["finance", "all"],
        })
    }
}

async fn serve(oidc: Oidc) -> TestServer {
    let settings = Settings { oidc: Some(oidc), loopback_trusted: false, ..Settings::default() };
    Setup { settings, ..Setup::default() }.start().await
}

fn signed_with(algorithm: Algorithm, id: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn signed(claims: &Value) -> String {
    signed_with(Algorithm::ES256, Some("ES256"), &ec(), claims)
}

async fn ask(server: &TestServer, token: &str) -> Reply {
    server.http.send(Method::GET, "/approvals", &[("authorization", &format!("Bearer {token}"))], "").await
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

#[tokio::test]
async fn three_kinds_of_signatures_count() {
    let provider = Provider::start().await;
    let server = serve(provider.oidc()).await;
    let claims = provider.claims();
    for (algorithm, id, key) in
        [(Algorithm::RS256, "RS256", rsa()), (Algorithm::ES256, "ES256", ec()), (Algorithm::EdDSA, "EdDSA", ed(7))]
    {
        ask(&server, &signed_with(algorithm, Some(id), &key, &claims)).await.expect(200);
        ask(&server, &signed_with(algorithm, None, &key, &claims)).await.expect(200);
        let elsewhere = if id == "RS256" { "ES256" } else { "RS256" };
        ask(&server, &signed_with(algorithm, Some(elsewhere), &key, &claims)).await.refused(401, "HP0801");
    }
    ask(&server, &signed_with(Algorithm::EdDSA, Some("EdDSA"), &ed(8), &claims)).await.refused(401, "HP0801");
    // Only the first request and the first unknown name asked the provider.
    assert_eq!(provider.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn forgeries_prove_nothing() {
    let provider = Provider::start().await;
    let server = serve(provider.oidc()).await;
    let claims = provider.claims();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = |alg: &str| format!("{}.{}.", encode(&json!({ "alg": alg, "typ": "JWT" })), encode(&claims));
    for alg in ["none", "None", "NONE", ""] {
        ask(&server, &none(alg)).await.refused(401, "HP0801");
    }
    // The provider's public keys as the secret of a shared-secret signature.
    let keys = provider.published.lock().unwrap()["keys"].clone();
    for (secret, id) in [(keys[1]["n"].as_str().unwrap(), "RS256"), (keys[2]["x"].as_str().unwrap(), "ES256")] {
        let secret = EncodingKey::from_secret(&URL_SAFE_NO_PAD.decode(secret).unwrap());
        ask(&server, &signed_with(Algorithm::HS256, Some(id), &secret, &claims)).await.refused(401, "HP0801");
    }
    let good = signed(&claims);
    let parts: Vec<&str> = good.split('.').collect();
    let more = encode(&with(claims.clone(), "groups", json!(["platform"])));
    let critical = json!({ "alg": "ES256", "kid": "ES256", "crit": ["odd"] });
    for forged in [
        format!("{}.{more}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.{}", encode(&critical), parts[1], parts[2]),
        format!("{good}x"),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "x".repeat(20_000),
    ] {
        ask(&server, &forged).await.refused(401, "HP0801");
    }
    ask(&server, &good).await.expect(200);
}

#[tokio::test]
async fn claims_have_to_be_right() {
    let provider = Provider::start().await;
    let server = serve(provider.oidc()).await;
    let claims = || provider.claims();
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let wrong = [
        with(claims(), "iss", "https://elsewhere.example"),
        with(claims(), "iss", format!("{}/", provider.url)),
        with(claims(), "aud", "another"),
        with(claims(), "aud", json!([])),
        with(claims(), "exp", NOON - 60),
        with(claims(), "exp", "soon"),
        with(claims(), "exp", -1),
        with(claims(), "nbf", NOON + 61),
        with(claims(), "nbf", "later"),
        with(claims(), "sub", ""),
        with(claims(), "sub", 7),
        with(claims(), "sub", "a\nb"),
        with(claims(), "sub", "x".repeat(257)),
        without("iss"),
        without("aud"),
        without("exp"),
        without("sub"),
    ];
    for claims in wrong {
        let reply = ask(&server, &signed(&claims)).await;
        assert_eq!((reply.status, reply.body["code"].as_str()), (401, Some("HP0801")), "{claims}");
    }
    let right = [
        with(claims(), "aud", json!(["other", "holdpoint"])),
        with(claims(), "exp", NOON - 59),
        with(claims(), "nbf", NOON + 60),
        without("nbf"),
    ];
    for claims in right {
        let reply = ask(&server, &signed(&claims)).await;
        assert_eq!(reply.status, 200, "{claims}: {}", reply.text);
    }
    let token = signed(&claims());
    server.clock.advance_ms(359_999);
    ask(&server, &token).await.expect(200);
    server.clock.advance_ms(1);
    ask(&server, &token).await.refused(401, "HP0801");
}

#[tokio::test]
async fn groups_give_roles_and_a_claim_the_tenant() {
    let provider = Provider::start().await;
    let mut oidc = provider.oidc();
    oidc.tenant_claim = Some("org".into());
    let server = serve(oidc).await;
    let claims = |groups: Value| with(with(provider.claims(), "groups", groups), "org", "acme");
    let keys = async |groups: Value| {
        let token = signed(&claims(groups));
        server.http.send(Method::GET, "/keys", &[("authorization", &format!("Bearer {token}"))], "").await
    };
    keys(json!(["finance"])).await.refused(403, "HP0803");
    keys(json!(["finance", "platform"])).await.expect(200);
    keys(json!("platform")).await.expect(200);
    ask(&server, &signed(&claims(json!(["strangers"])))).await.refused(403, "HP0803");
    ask(&server, &signed(&claims(json!({ "finance": true })))).await.refused(403, "HP0803");
    ask(&server, &signed(&provider.claims())).await.refused(401, "HP0801");
    ask(&server, &signed(&with(provider.claims(), "org", "no tenant's name\n"))).await.refused(401, "HP0801");

    let token = signed(&claims(json!(["platform"])));
    let headers = [("authorization", format!("Bearer {token}")), ("content-type", "application/json".into())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let body = json!({ "name": "k", "roles": ["viewer"] }).to_string();
    let made = server.http.send(Method::POST, "/keys", &headers, body).await.expect(201);
    assert_eq!(made["created_by"], "user:4f1c");
    let stored = server.context.store().keys(None).await.unwrap();
    assert_eq!(stored[0].tenant.as_str(), "acme");
}

#[tokio::test]
async fn a_provider_that_is_away_lets_nobody_in() {
    let mut oidc = Provider::start().await.oidc();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    oidc.jwks_url = Some(format!("http://{closed}/keys"));
    let server = serve(oidc.clone()).await;
    let token = signed(&json!({ "iss": oidc.issuer, "aud": "holdpoint", "sub": "a", "exp": NOON + 60 }));
    ask(&server, &token).await.refused(503, "HP0891");
    ask(&server, &token).await.refused(503, "HP0891");
    // What is neither encrypted nor on this host is not asked at all.
    oidc.jwks_url = Some("http://192.0.2.1/keys".into());
    let server = serve(oidc).await;
    ask(&server, &token).await.refused(503, "HP0891");
}

#[tokio::test]
async fn answers_of_a_provider_are_bounded_and_not_redirected() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let provider = Provider::start().await;
    let elsewhere = format!("{}/keys", provider.url);
    let mut many = provider.published.lock().unwrap().clone();
    many["padding"] = "x".repeat(300 << 10).into();
    let router = Router::new()
        .route("/redirect", get(async move || axum::response::Redirect::temporary(&elsewhere)))
        .route("/large", get(async move || Json(many)))
        .route("/text", get(async || "keys"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    for path in ["redirect", "large", "text"] {
        let mut oidc = provider.oidc();
        oidc.jwks_url = Some(format!("{url}/{path}"));
        let server = serve(oidc).await;
        ask(&server, &signed(&provider.claims())).await.refused(503, "HP0891");
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_browser_session_ends_with_its_token() {
    let provider = Provider::start().await;
    let server = serve(provider.oidc()).await;
    let token = signed(&provider.claims());
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let base = &server.http.base;
    let signed_in = client
        .post(format!("{base}/inbox/login"))
        .header("origin", base)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("credential={token}"))
        .send()
        .await
        .unwrap();
    assert_eq!(signed_in.status(), 303);
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("Max-Age=300"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let look = async || server.http.send(Method::GET, "/approvals", &[("cookie", cookie)], "").await;
    look().await.expect(200);
    server.clock.advance_ms(300_000);
    look().await.refused(401, "HP0801");
}

#[tokio::test]
async fn a_question_that_wants_a_fresh_sign_in_takes_the_time_of_it() {
    let provider = Provider::start().await;
    let nodes =
        crate::support::FakeNodes::default().with("gate", |call| match crate::support::ask(call, 0, json!("?")) {
            Ok(_) => crate::support::update(json!({})),
            Err(question) => question,
        });
    let settings = Settings { oidc: Some(provider.oidc()), ..Settings::default() };
    let server = Setup { settings, nodes, ..Setup::default() }.start().await;
    let policy = "start = \"gate\"\n[nodes.gate]\nnext = \"END\"\n[nodes.gate.interrupt]\n\
                  step_up = { within = \"15m\", acr = [\"mfa\"] }\n";
    let deployment = server.deploy("refund", policy).await;
    let id = server.run("t", &deployment, json!({})).await.interrupts[0].id.clone();
    let digest = server.http.get(&format!("/approvals/{id}")).await.expect(200)["digest"].clone();
    let answer = async |claims: Option<&Value>| {
        let token = claims.map(|claims| format!("Bearer {}", signed(claims)));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(token.as_deref().map(|token| ("authorization", token)));
        let body = json!({ "decision": "accept", "payload_digest": digest }).to_string();
        server.http.send(Method::POST, &format!("/approvals/{id}/answers"), &headers, body).await
    };
    let mfa = |at: Value| with(with(provider.claims(), "acr", "mfa"), "auth_time", at);
    for claims in [
        None,
        // Issued now, and signed in who knows when.
        Some(with(provider.claims(), "acr", "mfa")),
        Some(mfa(json!(NOON - 901))),
        Some(mfa(json!("now"))),
        Some(mfa(json!(-1))),
        // A sign-in that is yet to come is none.
        Some(mfa(json!(NOON + 61))),
        Some(with(mfa(json!(NOON)), "acr", "pwd")),
        Some(with(mfa(json!(NOON)), "acr", 2)),
    ] {
        let refused = answer(claims.as_ref()).await;
        refused.refused(403, "HP0913");
        assert_eq!(
            (&refused.body["reason"], &refused.body["max_age_seconds"], &refused.body["acr_values"]),
            (&json!("step_up"), &json!(900), &json!(["mfa"])),
            "{claims:?}"
        );
    }
    let filter = holdpoint_store::AuditFilter { limit: 100, ..holdpoint_store::AuditFilter::default() };
    let records = server.context.store().audit(&filter).await.unwrap();
    assert_eq!(records.iter().filter(|record| record.kind == "question.refused").count(), 8);
    // By resuming it is the same.
    let resume = json!({ "assistant_id": "refund", "command": { "resume": true } }).to_string();
    let headers = [("content-type", "application/json")];
    let resumed = server.http.send(Method::POST, "/threads/t/runs/wait", &headers, resume).await;
    resumed.refused(403, "HP0913");
    answer(Some(&mfa(json!(NOON - 900)))).await.expect(202);
}
