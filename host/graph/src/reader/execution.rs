//! How one execution is bounded, repeated and used again: `limits`, `retry`, `cache`.

use crate::definition::{CachePolicy, Limits, Retry};

use super::sink::Code;
use super::tree::{Data, Item, Member, find};
use super::{Reader, join};

/// What a retry table leaves out: LangGraph's figures.
const BACKOFF_MS_DEFAULT: u64 = 500;
const FACTOR_DEFAULT: f64 = 2.0;
const BACKOFF_MS_MAX_DEFAULT: u64 = 128_000;

impl Reader<'_> {
    pub(super) fn retry(&mut self, path: &str, member: &Member) -> Option<Retry> {
        let members = self.table(&member.item, path)?;
        self.check_keys(members, path, &["attempts_max", "backoff", "factor", "max"]);
        let attempts_max = self
            .required(members, path, "attempts_max", member.offset)
            .and_then(|member| self.integer(&join(path, "attempts_max"), &member.item, 1, u64::from(u32::MAX)))
            .and_then(|attempts| u32::try_from(attempts).ok());
        let backoff_ms = find(members, "backoff")
            .and_then(|member| self.duration_ms(&join(path, "backoff"), &member.item, 0))
            .unwrap_or(BACKOFF_MS_DEFAULT);
        let factor = find(members, "factor")
            .and_then(|member| self.float(&join(path, "factor"), &member.item, 1.0))
            .unwrap_or(FACTOR_DEFAULT);
        let max = find(members, "max");
        let backoff_max_ms = max
            .and_then(|member| self.duration_ms(&join(path, "max"), &member.item, 0))
            .unwrap_or(BACKOFF_MS_MAX_DEFAULT.max(backoff_ms));
        if let Some(max) = max
            && backoff_max_ms < backoff_ms
        {
            let message = format!("`{path}.max` is shorter than the first pause");
            self.sink.report(Code::Value, max.item.offset, message, "make `max` at least as long as `backoff`");
        }
        Some(Retry { attempts_max: attempts_max?, backoff_ms, factor, backoff_max_ms })
    }

    pub(super) fn limits(&mut self, path: &str, item: &Item) -> Limits {
        let members = self.table(item, path).unwrap_or_default();
        self.check_keys(members, path, &["memory", "fuel", "time"]);
        Limits {
            memory_bytes: find(members, "memory")
                .and_then(|member| self.size_bytes(&join(path, "memory"), &member.item)),
            fuel: find(members, "fuel").and_then(|member| self.integer(&join(path, "fuel"), &member.item, 1, u64::MAX)),
            time_ms: find(members, "time").and_then(|member| self.duration_ms(&join(path, "time"), &member.item, 1)),
        }
    }
    /// `true`, `false`, or how long a result is used.
    pub(super) fn cache(&mut self, path: &str, member: &Member) -> Option<CachePolicy> {
        match &member.item.data {
            Data::Boolean(cached) => cached.then_some(CachePolicy { ttl_ms: None }),
            Data::Table(members) => {
                self.check_keys(members, path, &["ttl"]);
                let ttl = self.required(members, path, "ttl", member.offset)?;
                let ttl_ms = self.duration_ms(&join(path, "ttl"), &ttl.item, 1)?;
                Some(CachePolicy { ttl_ms: Some(ttl_ms) })
            }
            _ => self.wrong_type(path, &member.item, "true, or a table such as { ttl = \"1h\" }"),
        }
    }
}
