//! The `[server]` table of the configuration.
//!
//! ```toml
//! [server]
//! public_url = "https://approvals.example"   # where people reach it, for links
//! cors_origins = ["https://app.example"]     # origins that browsers may call from; default any, without cookies
//! body_bytes_max = 8388608
//! component_bytes_max = 134217728            # of the requests that bring components: `POST /graphs`, and the command line's commands
//! body_timeout = "30s"                       # how long a request's body may take to arrive
//! write_timeout = "60s"                      # how long a client may take nothing of what it is sent
//! connections_max = 4096
//! requests_per_second_max = 200              # of one caller, on average
//! runs_max = 64                              # threads that are advanced at once
//! tick = "1s"                                # how often the worker looks for what nobody tells it
//! heartbeat = "5s"                           # how often a stream says that it is alive
//! drain = "30s"                              # how long a stop waits for runs
//! loopback_trusted = true                    # callers on this machine need no key; false by default where `public_url` is elsewhere
//! tenant = "default"
//!
//! [server.threads]
//! ttl = "720h"                              # how long a thread stays after it was last used; for good when left out
//! ttl_strategy = "delete"                    # or "keep_latest": only its older checkpoints go
//!
//! [server.oidc]
//! issuer = "https://id.example"
//! audience = "holdpoint"
//! groups_claim = "groups"
//! tenant_claim = "tenant"                    # left out: everybody is of `tenant`
//! jwks_url = "https://id.example/keys"       # left out: found from the issuer
//! roles = { approver = "finance", admin = "platform" }   # which group has which role
//! ```

use std::time::Duration;

use holdpoint_effects::configuration::{ConfigurationProblem, Server};
use holdpoint_graph::ids::Tenant;
use holdpoint_server::Settings;
use holdpoint_server::caller::Role;
use holdpoint_server::settings::{Oidc, ThreadTtl};
use holdpoint_store::ExpiryRule;
use serde_json::Value;

const KEYS: [&str; 13] = [
    "cors_origins",
    "body_bytes_max",
    "component_bytes_max",
    "write_timeout",
    "connections_max",
    "requests_per_second_max",
    "runs_max",
    "body_timeout",
    "heartbeat",
    "tick",
    "drain",
    "loopback_trusted",
    "tenant",
];
const OIDC_KEYS: [&str; 6] = ["issuer", "audience", "groups_claim", "tenant_claim", "jwks_url", "roles"];

/// Reads the table; what it does not say is as by default.
///
/// # Errors
/// All keys that are unknown or have a value of another kind, at once, with their places.
pub fn settings(table: &Server) -> Result<Settings, Vec<ConfigurationProblem>> {
    let mut reader = Reader { table, problems: Vec::new() };
    let mut settings = Settings { public_url: table.public_url().map(str::to_owned), ..Settings::default() };
    reader.problems.extend(table.unknown_keys("", &[&KEYS[..], &["oidc", "threads"]].concat()));
    reader.texts("cors_origins", &mut settings.cors_origins);
    reader.number("body_bytes_max", &mut settings.body_bytes_max);
    reader.number("component_bytes_max", &mut settings.component_bytes_max);
    reader.duration("write_timeout", &mut settings.write_timeout);
    reader.number("connections_max", &mut settings.connections_max);
    reader.number("requests_per_second_max", &mut settings.requests_per_second_max);
    reader.number("runs_max", &mut settings.runs_max);
    reader.duration("body_timeout", &mut settings.body_timeout);
    reader.duration("heartbeat", &mut settings.heartbeat);
    reader.duration("tick", &mut settings.tick);
    reader.duration("drain", &mut settings.drain);
    let tenant = |value: &Value| Tenant::parse(value.as_str()?).ok();
    reader.read("tenant", "a name of letters, digits, `_` and `-`", tenant, &mut settings.tenant);
    // Who is reached from elsewhere has a proxy before it, and what comes through one looks like this machine: nobody is trusted for where they seem to be
    // unless the operator says so.
    settings.loopback_trusted = table.public_url().is_none_or(is_loopback);
    reader.read("loopback_trusted", "true or false", Value::as_bool, &mut settings.loopback_trusted);
    settings.thread_ttl = reader.thread_ttl();
    settings.oidc = reader.oidc();
    if reader.problems.is_empty() { Ok(settings) } else { Err(reader.problems) }
}

struct Reader<'t> {
    table: &'t Server,
    problems: Vec<ConfigurationProblem>,
}

impl Reader<'_> {
    fn report(&mut self, path: &str, wanted: &str) {
        let message = format!("`server.{path}` is not {wanted}");
        self.problems.push(self.table.problem(path, message, format!("give {wanted}, or leave it out")));
    }

    /// Reads a key where it is there.
    fn read<T>(&mut self, path: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>, target: &mut T) {
        match self.table.get(path).map(read) {
            Some(Some(value)) => *target = value,
            Some(None) => self.report(path, wanted),
            None => {}
        }
    }

    fn text(&mut self, path: &str, target: &mut String) {
        self.read(path, "a text", |value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned), target);
    }

    fn url(&mut self, path: &str, target: &mut Option<String>) {
        let url = |value: &Value| {
            let text = value.as_str()?;
            let known = text.starts_with("https://") || text.starts_with("http://");
            known.then(|| Some(text.trim_end_matches('/').to_owned()))
        };
        self.read(path, "an address that begins with https:// or http://", url, target);
    }

    fn texts(&mut self, path: &str, target: &mut Vec<String>) {
        let texts = |value: &Value| value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        self.read(path, "a list of texts", texts, target);
    }

    fn number<T: TryFrom<u64>>(&mut self, path: &str, target: &mut T) {
        let number = |value: &Value| T::try_from(value.as_u64().filter(|number| *number > 0)?).ok();
        self.read(path, "a whole number above 0", number, target);
    }

    fn duration(&mut self, path: &str, target: &mut Duration) {
        let duration = |value: &Value| duration_ms(value.as_str()?).map(Duration::from_millis);
        self.read(path, "a duration such as \"500ms\", \"30s\" or \"5m\"", duration, target);
    }

    fn thread_ttl(&mut self) -> Option<ThreadTtl> {
        let table = self.table.get("threads")?;
        if !table.is_object() {
            self.report("threads", "a table");
            return None;
        }
        self.problems.extend(self.table.unknown_keys("threads", &["ttl", "ttl_strategy"]));
        let (mut ttl, mut rule) = (Duration::ZERO, ExpiryRule::Delete);
        self.duration("threads.ttl", &mut ttl);
        let strategy = |value: &Value| ExpiryRule::parse(value.as_str()?);
        self.read("threads.ttl_strategy", "\"delete\" or \"keep_latest\"", strategy, &mut rule);
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        (ttl_ms > 0).then_some(ThreadTtl { ttl_ms, rule })
    }

    fn oidc(&mut self) -> Option<Oidc> {
        let table = self.table.get("oidc")?;
        if !table.is_object() {
            self.report("oidc", "a table");
            return None;
        }
        self.problems.extend(self.table.unknown_keys("oidc", &OIDC_KEYS));
        let mut oidc = Oidc {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: None,
            groups_claim: "groups".to_owned(),
            tenant_claim: None,
            roles: Vec::new(),
        };
        let mut issuer = None;
        self.url("oidc.issuer", &mut issuer);
        oidc.issuer = issuer.unwrap_or_default();
        self.text("oidc.audience", &mut oidc.audience);
        self.url("oidc.jwks_url", &mut oidc.jwks_url);
        self.text("oidc.groups_claim", &mut oidc.groups_claim);
        let mut tenant_claim = String::new();
        self.text("oidc.tenant_claim", &mut tenant_claim);
        oidc.tenant_claim = Some(tenant_claim).filter(|claim| !claim.is_empty());
        self.roles(&mut oidc.roles);
        for key in ["issuer", "audience"] {
            let path = format!("oidc.{key}");
            if self.table.get(&path).is_none() {
                let problem = self.table.problem("oidc", format!("`server.{path}` is missing"), format!("add `{key}`"));
                self.problems.push(problem);
            }
        }
        Some(oidc)
    }

    /// Role name and group, from a table of role to group.
    fn roles(&mut self, target: &mut Vec<(String, String)>) {
        let roles = |value: &Value| {
            let roles = value.as_object()?.iter();
            roles
                .map(|(role, group)| Some((Role::parse(role)?.name().to_owned(), group.as_str()?.to_owned())))
                .collect()
        };
        self.read("oidc.roles", "a table of viewer, approver, operator or admin to the name of a group", roles, target);
    }
}

/// Whether an address is one of this machine.
fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Reads a duration; none for one that is not, or that is 0.
fn duration_ms(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(known, _)| *known == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor).filter(|duration_ms| *duration_ms > 0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use holdpoint_effects::Configuration;

    use super::*;

    fn read(text: &str) -> Result<Settings, Vec<ConfigurationProblem>> {
        let configuration = Configuration::parse(text, Path::new("holdpoint.toml"), &|_| None);
        settings(configuration.unwrap_or_else(|problems| panic!("{problems:?}")).server())
    }

    #[test]
    fn the_table_is_read() {
        let settings = read(
            "[server]\npublic_url = \"https://a.example/\"\nheartbeat = \"250ms\"\nruns_max = 3\ntenant = \"acme\"\n\
             [server.oidc]\nissuer = \"https://id.example\"\naudience = \"hp\"\nroles = { admin = \"platform\" }\n",
        )
        .unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(settings.public_url.as_deref(), Some("https://a.example"));
        assert_eq!((settings.heartbeat, settings.runs_max), (Duration::from_millis(250), 3));
        assert_eq!(settings.tenant.as_str(), "acme");
        let oidc = settings.oidc.expect("set");
        assert_eq!((oidc.issuer.as_str(), oidc.groups_claim.as_str()), ("https://id.example", "groups"));
        assert_eq!(oidc.roles, [("admin".to_owned(), "platform".to_owned())]);
        assert!(read("").expect("nothing is fine").oidc.is_none());
    }

    #[test]
    fn threads_stay_unless_it_is_said_otherwise() {
        let ttl = |text: &str| read(text).unwrap_or_else(|problems| panic!("{problems:?}")).thread_ttl;
        assert_eq!(ttl("[server]\n"), None);
        assert_eq!(ttl("[server.threads]\n"), None);
        let days = ThreadTtl { ttl_ms: 30 * 86_400_000, rule: ExpiryRule::Delete };
        assert_eq!(ttl("[server.threads]\nttl = \"720h\"\n"), Some(days));
        let latest = ThreadTtl { ttl_ms: 60_000, rule: ExpiryRule::KeepLatest };
        assert_eq!(ttl("[server.threads]\nttl = \"1m\"\nttl_strategy = \"keep_latest\"\n"), Some(latest));
        for wrong in ["ttl = 5", "ttl = \"0s\"", "ttl_strategy = \"explode\"", "days = 3"] {
            assert!(read(&format!("[server.threads]\n{wrong}\n")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_key_has_its_line_on_the_page() {
        let page = include_str!("../serving.md");
        for key in KEYS.iter().chain(&OIDC_KEYS).chain(&["ttl", "ttl_strategy"]) {
            assert!(page.contains(&format!("\n{key} = ")), "{key}");
        }
    }

    #[test]
    fn nobody_is_trusted_behind_a_proxy() {
        let trusted = |text: &str| read(text).unwrap_or_else(|problems| panic!("{problems:?}")).loopback_trusted;
        for own in
            ["", "[server]\npublic_url = \"http://127.0.0.1:2024\"\n", "[server]\npublic_url = \"http://localhost/\"\n"]
        {
            assert!(trusted(own), "{own}");
        }
        for elsewhere in ["https://a.example", "https://127.0.0.1.example:8443", "http://10.0.0.7"] {
            let table = format!("[server]\npublic_url = \"{elsewhere}\"\n");
            assert!(!trusted(&table), "{elsewhere}");
            assert!(trusted(&format!("{table}loopback_trusted = true\n")), "{elsewhere}");
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let problems = read(
            "[server]\nheartbeat = \"soon\"\nruns_max = 0\nloopback_trusted = \"yes\"\nport = 1\n\
             [server.oidc]\naudience = \"hp\"\nroles = { king = \"x\" }\n",
        )
        .expect_err("refused");
        let lines: Vec<u32> = problems.iter().map(|problem| problem.line.try_into().unwrap_or(u32::MAX)).collect();
        assert_eq!(problems.len(), 6, "{problems:?}");
        assert!(lines.contains(&5) && lines.contains(&8), "{lines:?}");
    }
}
