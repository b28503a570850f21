//! Reading single values: each method reports what does not fit and returns what does.

use crate::ids::InvalidId;
use crate::problem::{printable, similar};

use super::sink::Code;
use super::tree::{Data, Item, Member, find};
use super::{Reader, join, units};

impl Reader<'_> {
    /// The members of a table.
    pub(super) fn table<'t>(&mut self, item: &'t Item, path: &str) -> Option<&'t [Member]> {
        match &item.data {
            Data::Table(members) => Some(members),
            _ => self.wrong_type(path, item, "a table"),
        }
    }

    /// Reports keys that are not known, with the similar one that is.
    pub(super) fn check_keys(&mut self, members: &[Member], path: &str, known: &[&str]) {
        for member in members {
            let name = member.name.as_str();
            if known.contains(&name) {
                continue;
            }
            let key = join(path, name);
            let cure = self
                .suggest(name, known.iter().copied())
                .unwrap_or_else(|| format!("known keys: {}", known.join(", ")));
            self.sink.report(Code::UnknownKey, member.offset, format!("unknown key `{key}`"), cure);
        }
    }

    /// A cure that names what was probably meant.
    pub(super) fn suggest<'n>(&mut self, text: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
        const NAMES_MAX: usize = 2000;
        self.suggestions_left = self.suggestions_left.checked_sub(1)?;
        similar(text, names.take(NAMES_MAX)).map(|name| format!("did you mean `{name}`?"))
    }

    /// A member that has to be there; `offset` is where the table is.
    pub(super) fn required<'t>(
        &mut self,
        members: &'t [Member],
        path: &str,
        name: &str,
        offset: Option<usize>,
    ) -> Option<&'t Member> {
        let found = find(members, name);
        if found.is_none() {
            let message =
                if path.is_empty() { format!("`{name}` is missing") } else { format!("`{path}` has no `{name}`") };
            self.sink.report(Code::MissingKey, offset, message, format!("add `{name}`"));
        }
        found
    }

    /// A text.
    pub(super) fn string<'t>(&mut self, path: &str, item: &'t Item) -> Option<&'t str> {
        match &item.data {
            Data::String(text) => Some(text),
            _ => self.wrong_type(path, item, "a string"),
        }
    }

    /// A text of at least one character and none that would garble a log.
    pub(super) fn label<'t>(&mut self, path: &str, item: &'t Item) -> Option<&'t str> {
        let text = self.string(path, item)?;
        if text.trim().is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
            let message = format!("`{path}` is empty, longer than 255 bytes or has control characters");
            self.sink.report(Code::Value, item.offset, message, "write a short text");
            return None;
        }
        Some(text)
    }

    /// An identifier.
    pub(super) fn name<T>(
        &mut self,
        path: &str,
        item: &Item,
        parse: impl Fn(String) -> Result<T, InvalidId>,
    ) -> Option<T> {
        let text = self.string(path, item)?;
        self.parse_name(text, item.offset, parse)
    }

    /// An identifier, from its text.
    pub(super) fn parse_name<T>(
        &mut self,
        text: &str,
        offset: Option<usize>,
        parse: impl Fn(String) -> Result<T, InvalidId>,
    ) -> Option<T> {
        parse(text.to_owned())
            .map_err(|error| {
                self.sink.report(
                    Code::Name,
                    offset,
                    format!("{} {:?} is not valid", error.kind, error.text),
                    error.reason,
                );
            })
            .ok()
    }

    /// The items of a list.
    pub(super) fn list<'t>(&mut self, path: &str, item: &'t Item) -> Option<&'t [Item]> {
        match &item.data {
            Data::Array(items) => Some(items),
            _ => self.wrong_type(path, item, "a list"),
        }
    }

    /// A list of short texts, each once.
    pub(super) fn labels(&mut self, path: &str, item: &Item) -> Vec<String> {
        self.list_of(path, item, |reader, item| reader.label(path, item).map(str::to_owned))
    }

    /// A list of values read by `read`, each once.
    pub(super) fn list_of<T: PartialEq>(
        &mut self,
        path: &str,
        item: &Item,
        read: impl Fn(&mut Self, &Item) -> Option<T>,
    ) -> Vec<T> {
        // A list is compared with itself for duplicates.
        const ITEMS_MAX: usize = 1000;
        let items = self.list(path, item).unwrap_or_default();
        if items.len() > ITEMS_MAX {
            let message = format!("`{path}` has {} items, at most {ITEMS_MAX} are allowed", items.len());
            self.sink.report(Code::Value, item.offset, message, "shorten the list");
            return Vec::new();
        }
        let mut found: Vec<T> = Vec::new();
        for item in items {
            let Some(value) = read(self, item) else { continue };
            if found.contains(&value) {
                let message = format!("`{path}` names {} twice", printable(&item.to_json().to_string(), 80));
                self.sink.report(Code::Duplicate, item.offset, message, "remove one of them");
            } else {
                found.push(value);
            }
        }
        found
    }

    /// A member that is true or false; false when it is not there.
    pub(super) fn flag(&mut self, path: &str, members: &[Member], name: &str) -> bool {
        let Some(member) = find(members, name) else { return false };
        match member.item.data {
            Data::Boolean(flag) => flag,
            _ => self.wrong_type(&join(path, name), &member.item, "true or false").unwrap_or(false),
        }
    }

    /// One of the words of a list.
    pub(super) fn one_of<T: Copy>(&mut self, path: &str, item: &Item, words: &[(T, &'static str)]) -> Option<T> {
        let text = self.string(path, item)?;
        let found = words.iter().find(|(_, word)| *word == text).map(|(value, _)| *value);
        if found.is_none() {
            let cure = self.suggest(text, words.iter().map(|(_, word)| *word)).unwrap_or_else(|| {
                format!("write {}", words.iter().map(|(_, word)| quote(word)).collect::<Vec<_>>().join(" or "))
            });
            self.sink.report(Code::Value, item.offset, format!("`{path}` is {}", quote(text)), cure);
        }
        found
    }

    /// A whole number within bounds.
    pub(super) fn integer(&mut self, path: &str, item: &Item, min: u64, max: u64) -> Option<u64> {
        let Data::Number(number) = &item.data else { return self.wrong_type(path, item, "an integer") };
        if number.is_f64() {
            return self.wrong_type(path, item, "an integer");
        }
        match number.as_u64() {
            Some(value) if (min..=max).contains(&value) => Some(value),
            _ => {
                let cure = match max {
                    u64::MAX => format!("write a number at least {min}"),
                    _ if max == min => format!("write {min}"),
                    _ => format!("write a number from {min} to {max}"),
                };
                self.sink.report(Code::Value, item.offset, format!("`{path}` is {number}"), cure);
                None
            }
        }
    }

    /// A number that is at least `min`.
    pub(super) fn float(&mut self, path: &str, item: &Item, min: f64) -> Option<f64> {
        let Data::Number(number) = &item.data else { return self.wrong_type(path, item, "a number") };
        match number.as_f64() {
            Some(value) if value >= min && value.is_finite() => Some(value),
            _ => {
                self.sink.report(
                    Code::Value,
                    item.offset,
                    format!("`{path}` is {number}"),
                    format!("write a number that is at least {min}"),
                );
                None
            }
        }
    }

    /// A duration in milliseconds.
    pub(super) fn duration_ms(&mut self, path: &str, item: &Item, min_ms: u64) -> Option<u64> {
        const CURE: &str = "write a duration such as \"500ms\", \"30s\", \"15m\", \"2h\" or \"7d\"";
        let Data::String(text) = &item.data else { return self.wrong_type(path, item, "a duration such as \"30s\"") };
        match units::duration_ms(text) {
            Ok(duration_ms) if duration_ms >= min_ms => Some(duration_ms),
            Ok(_) => {
                self.sink.report(
                    Code::Value,
                    item.offset,
                    format!("`{path}` is {}", quote(text)),
                    "write a longer duration",
                );
                None
            }
            Err(reason) => {
                self.sink.report(Code::Unit, item.offset, format!("`{path}`: {} {reason}", quote(text)), CURE);
                None
            }
        }
    }

    /// A size in bytes, at least 1.
    pub(super) fn size_bytes(&mut self, path: &str, item: &Item) -> Option<u64> {
        let Data::String(text) = &item.data else { return self.integer(path, item, 1, u64::MAX) };
        match units::size_bytes(text) {
            Ok(0) => {
                self.sink.report(
                    Code::Value,
                    item.offset,
                    format!("`{path}` is {}", quote(text)),
                    "write a larger size",
                );
                None
            }
            Ok(size_bytes) => Some(size_bytes),
            Err(reason) => {
                let message = format!("`{path}`: {} {reason}", quote(text));
                self.sink.report(
                    Code::Unit,
                    item.offset,
                    message,
                    "write a size such as \"64MiB\" or \"1KiB\", or a number of bytes",
                );
                None
            }
        }
    }

    /// Reports a name that a program gave twice; texts cannot.
    pub(super) fn declared_twice(&mut self, path: &str, member: &Member) {
        self.sink.report(
            Code::Duplicate,
            member.offset,
            format!("`{}` is there twice", join(path, &member.name)),
            "rename one of them",
        );
    }

    /// Reports a value of the wrong type; says nothing about one that was reported before.
    pub(super) fn wrong_type<T>(&mut self, path: &str, item: &Item, wanted: &str) -> Option<T> {
        if !matches!(item.data, Data::Faulty) {
            let path = if path.is_empty() { "the graph" } else { &format!("`{path}`") };
            self.sink.report(Code::Type, item.offset, format!("{path} is {}", item.kind()), format!("write {wanted}"));
        }
        None
    }
}

/// A text for a message: quoted, escaped, and not too long.
pub(super) fn quote(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
