//! Who did something, and on what the name stands.

/// Somebody, or something, that changed a thread or tried to. On the record for ever (`accounted`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Actor {
    /// Such as `user:4f1c…`, `key:payments-bot`, `cli:ana`, `system:deadline`. Compared byte by byte: two ids are two people.
    pub id: String,
    /// On what the id stands.
    pub basis: Basis,
}

/// On what an actor's name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Basis {
    /// Proven with an API key.
    ApiKey,
    /// Proven with a token of an identity provider.
    Token,
    /// Whoever held an approval link that was made for this person.
    Link,
    /// Asserted by somebody who holds the store or sits at the host's loopback: any name can be given.
    Asserted,
    /// The host itself: the deadline, a worker.
    Host,
}

impl Basis {
    /// All bases with their stored and spoken names.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::ApiKey, "api-key"),
        (Self::Token, "token"),
        (Self::Link, "link"),
        (Self::Asserted, "asserted"),
        (Self::Host, "host"),
    ];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(basis, _)| *basis)
    }
}

impl Actor {
    /// The monitor of deadlines.
    pub fn deadline() -> Self {
        Self { id: "system:deadline".to_owned(), basis: Basis::Host }
    }

    /// A worker that advances threads.
    pub fn worker() -> Self {
        Self { id: "system:worker".to_owned(), basis: Basis::Host }
    }

    /// A name that nothing proves.
    pub fn asserted(id: impl Into<String>) -> Self {
        Self { id: id.into(), basis: Basis::Asserted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_read_back() {
        for (basis, name) in Basis::NAMES {
            assert_eq!((basis.name(), Basis::parse(name)), (name, Some(basis)));
        }
        assert_eq!(Basis::parse("Token"), None);
    }
}
