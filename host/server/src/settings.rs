//! What an operator can set.

use std::time::Duration;

use holdpoint_graph::ids::Tenant;
use holdpoint_store::{ExpiryRule, ThreadExpiry};

/// See the module. The defaults suit one host.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where people reach the server, for links; without a slash at the end.
    pub public_url: Option<String>,
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Longest time until a request's body has to be there.
    pub body_timeout: Duration,
    /// Largest body of the requests that bring components: a graph that is deployed, a command of the command line.
    pub component_bytes_max: usize,
    /// Longest time that a client may take nothing of what it is sent; then its connection is cut off.
    pub write_timeout: Duration,
    /// Connections at once. One more waits to be accepted.
    pub connections_max: usize,
    /// Requests of one caller in a second, on average; bursts of ten times as many pass.
    pub requests_per_second_max: u32,
    /// How often streams and waiting answers say that they are alive.
    pub heartbeat: Duration,
    /// Runs that are advanced at once.
    pub runs_max: usize,
    /// Longest time between two looks at what is due, when nothing else wakes the worker.
    pub tick: Duration,
    /// Longest time that a drain waits for runs to come to a superstep's end.
    pub drain: Duration,
    /// Origins that browsers may call from; `*` is any.
    pub cors_origins: Vec<String>,
    /// How long a thread stays after it was last used, unless its maker says otherwise; none means that it stays.
    pub thread_ttl: Option<ThreadTtl>,
    /// The identity provider whose tokens are accepted.
    pub oidc: Option<Oidc>,
    /// Whether callers on loopback need no key: they are an asserted `loopback` with the role admin.
    pub loopback_trusted: bool,
    /// The tenant of callers on loopback, and of tokens without a tenant claim.
    pub tenant: Tenant,
}

/// How long a thread stays after it was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadTtl {
    /// So long, in milliseconds.
    pub ttl_ms: u64,
    /// What then becomes of it.
    pub rule: ExpiryRule,
}

impl ThreadTtl {
    /// Counted from a moment.
    pub fn from(self, now_ms: u64) -> ThreadExpiry {
        ThreadExpiry { at_ms: now_ms.saturating_add(self.ttl_ms), ttl_ms: self.ttl_ms, rule: self.rule }
    }
}

/// An OpenID Connect provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// The `iss` of its tokens; its keys are found from there unless `jwks_url` says where.
    pub issuer: String,
    /// The `aud` that tokens must have.
    pub audience: String,
    /// Where its keys are.
    pub jwks_url: Option<String>,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// The claim that names the tenant; without it all are of [`Settings::tenant`].
    pub tenant_claim: Option<String>,
    /// Which groups give which roles: a role name, and the group whose members have it.
    pub roles: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: None,
            body_bytes_max: 8 << 20,
            body_timeout: Duration::from_secs(30),
            component_bytes_max: 128 << 20,
            write_timeout: Duration::from_secs(60),
            connections_max: 4096,
            requests_per_second_max: 200,
            heartbeat: Duration::from_secs(5),
            runs_max: 64,
            tick: Duration::from_secs(1),
            drain: Duration::from_secs(30),
            cors_origins: vec!["*".to_owned()],
            thread_ttl: None,
            oidc: None,
            loopback_trusted: true,
            tenant: Tenant::default(),
        }
    }
}
