//! Incremental channel values.
//!
//! Replacing a channel stores its whole value. Appending stores the items alone, in a row that points to the version which they extend; two
//! branches of a thread may extend the same one. Every now and then the whole array is stored instead, so that what has to be followed stays
//! in proportion to the value itself.

use std::collections::{BTreeSet, HashMap};

use rusqlite::params;
use serde_json::Value;

use super::commit_rows::{ChangeKind, ChangeRow};
use super::failure::{Failure, Result};
use super::session::Session;
use super::{forms, rows, statements};

/// Channel name to version of its value: what a checkpoint stores of its values. A list in order of name.
pub(super) type Versions = std::collections::BTreeMap<String, i64>;

/// The whole array is stored anew when what was appended since exceeds it this many times. Each whole array is then at least nine times the
/// one before, so together they take little more than the last one does: storage stays O(N). A smaller factor would make the chains shorter
/// in rows, but not in bytes: a chain holds the value's own bytes, however they are cut.
const GROWTH: i64 = 8;

/// What a row costs besides its value. Counted, so that many tiny appends are gathered sooner.
const ROW_BYTES: i64 = 64;

/// Stores one change against `base`, the channel's version in the parent checkpoint, under `version`. Gives the channel's version from now on.
pub(super) fn write(
    session: &Session,
    thread: i64,
    change: &ChangeRow,
    base: Option<i64>,
    version: i64,
) -> Result<i64> {
    let whole = |kind: &str, text: &str| -> Result<i64> {
        let parameters = params![thread, version, change.channel.as_str(), kind, None::<i64>, length(text), 0, text];
        session.execute(statements::VALUE_INSERT, parameters)?;
        Ok(version)
    };
    match change.kind {
        ChangeKind::Value => return whole("value", &change.text),
        ChangeKind::List => return whole("list", &change.text),
        ChangeKind::Append | ChangeKind::AppendNothing => {}
    }
    let Some(base) = base else { return whole("list", &change.text) };
    let sizes = session.first(statements::VALUE_SIZES, params![thread, base], |row| {
        Ok((
            rows::text(row, "kind")? == "value",
            row.get::<_, i64>("bytes_whole")?,
            row.get::<_, i64>("bytes_appended")?,
        ))
    })?;
    let (no_list, bytes_whole, bytes_appended) = sizes.ok_or_else(|| missing(base))?;
    if no_list {
        return whole("list", &change.text);
    }
    if change.kind == ChangeKind::AppendNothing {
        return Ok(base);
    }
    let bytes_appended = bytes_appended.saturating_add(length(&change.text)).saturating_add(ROW_BYTES);
    if bytes_appended > bytes_whole.saturating_mul(GROWTH) {
        let chains = Chains::read(session, thread, &BTreeSet::from([base]))?;
        return whole("list", &chains.joined(base, &change.text)?);
    }
    let parameters =
        params![thread, version, change.channel.as_str(), "append", base, bytes_whole, bytes_appended, change.text];
    session.execute(statements::VALUE_INSERT, parameters)?;
    Ok(version)
}

/// Some versions and everything that they stand on, as stored.
struct Chains(HashMap<i64, Link>);

struct Link {
    kind: LinkKind,
    text: String,
}

enum LinkKind {
    Value,
    List,
    Append { base: i64 },
}

impl Chains {
    fn read(session: &Session, thread: i64, versions: &BTreeSet<i64>) -> Result<Self> {
        let links = session.all(statements::VALUE_CHAINS, params![thread, forms::write(versions)], |row| {
            let version: i64 = row.get("version")?;
            let kind = match (rows::text(row, "kind")?, row.get::<_, Option<i64>>("base_version")?) {
                ("value", None) => LinkKind::Value,
                ("list", None) => LinkKind::List,
                // Chains descend, so they end.
                ("append", Some(base)) if base < version => LinkKind::Append { base },
                (kind, base) => {
                    return Err(Failure::corrupt(format!("a channel value of kind {kind:?} and base {base:?}")));
                }
            };
            Ok((version, Link { kind, text: row.get("value")? }))
        })?;
        Ok(Self(links.into_iter().collect()))
    }

    fn link(&self, version: i64) -> Result<&Link> {
        self.0.get(&version).ok_or_else(|| missing(version))
    }

    /// The versions from the whole value to this one.
    fn path(&self, version: i64) -> Result<Vec<i64>> {
        let mut path = vec![version];
        let mut at = version;
        while let LinkKind::Append { base } = self.link(at)?.kind {
            path.push(base);
            at = base;
        }
        path.reverse();
        Ok(path)
    }

    /// The array's text with further items. Texts are joined as they are: parsing and printing the items again would change nothing.
    fn joined(&self, version: i64, items: &str) -> Result<String> {
        let mut joined = String::from("[");
        let mut add = |text: &str| -> Result<()> {
            let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let inner = inner.ok_or_else(|| Failure::corrupt("a channel's array is none"))?;
            if !inner.is_empty() {
                if joined.len() > 1 {
                    joined.push(',');
                }
                joined.push_str(inner);
            }
            Ok(())
        };
        for version in self.path(version)? {
            add(&self.link(version)?.text)?;
        }
        add(items)?;
        joined.push(']');
        Ok(joined)
    }
}

/// Values read for one or several checkpoints; a prefix that several share is read and parsed once.
pub(super) struct Values {
    chains: Chains,
    parsed: HashMap<i64, Value>,
}

impl Values {
    pub(super) fn read(session: &Session, thread: i64, versions: &BTreeSet<i64>) -> Result<Self> {
        let chains = Chains::read(session, thread, versions)?;
        let parsed = chains.0.iter().map(|(version, link)| Ok((*version, forms::read(&link.text)?)));
        let parsed = parsed.collect::<Result<_>>()?;
        Ok(Self { chains, parsed })
    }

    /// The whole value of a version that was read.
    pub(super) fn get(&self, version: i64) -> Result<Value> {
        if matches!(self.chains.link(version)?.kind, LinkKind::Value) {
            return self.parsed.get(&version).cloned().ok_or_else(|| missing(version));
        }
        let mut items = Vec::new();
        for version in self.chains.path(version)? {
            match self.parsed.get(&version) {
                Some(Value::Array(part)) => items.extend_from_slice(part),
                _ => return Err(Failure::corrupt("a channel's array is none")),
            }
        }
        Ok(Value::Array(items))
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

fn missing(version: i64) -> Failure {
    Failure::corrupt(format!("version {version} of a channel is missing"))
}
