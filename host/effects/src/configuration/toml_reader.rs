//! Reads tables of a TOML text and notes everything that is wrong with them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Code, ConfigurationProblem, Place};
use super::units;

/// Collects problems of one text.
pub(crate) struct Problems<'t> {
    text: &'t str,
    file: String,
    found: Vec<ConfigurationProblem>,
}

impl<'t> Problems<'t> {
    pub(crate) fn new(text: &'t str, file: &Path) -> Self {
        Self { text, file: file.display().to_string(), found: Vec::new() }
    }

    /// Notes a problem at a byte of the text.
    pub(crate) fn add(&mut self, code: Code, offset: usize, message: impl Into<String>, cure: impl Into<String>) {
        let Place { line, column } = self.place(offset);
        self.found.push(ConfigurationProblem {
            code: code.text(),
            file: self.file.clone(),
            line,
            column,
            message: message.into(),
            cure: cure.into(),
        });
    }

    /// Notes a value that does not fit.
    pub(crate) fn value(&mut self, offset: usize, message: impl Into<String>, cure: impl Into<String>) {
        self.add(Code::Value, offset, message, cure);
    }

    /// The position of a byte of the text.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    /// The file as the caller named it.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    pub(crate) fn finish(mut self) -> Vec<ConfigurationProblem> {
        self.found.sort_by_key(|problem| (problem.line, problem.column));
        self.found
    }
}

/// One table, whose keys are taken one by one; what is left over is unknown.
pub(crate) struct Table<'a, 't> {
    path: String,
    offset: usize,
    table: &'a DeTable<'t>,
    asked: BTreeSet<&'static str>,
}

/// A value with its place.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a, 't> {
    pub(crate) offset: usize,
    pub(crate) value: &'a DeValue<'t>,
}

impl<'a, 't> Table<'a, 't> {
    pub(crate) fn new(path: impl Into<String>, offset: usize, table: &'a DeTable<'t>) -> Self {
        Self { path: path.into(), offset, table, asked: BTreeSet::new() }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The full name of a key.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A key's value, if it is there.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Item<'a, 't>> {
        self.asked.insert(key);
        self.entries().find(|(name, _)| name.get_ref() == key).map(|(_, item)| item)
    }

    /// A key's value; noted as missing when it is not there.
    pub(crate) fn require(
        &mut self,
        key: &'static str,
        cure: &str,
        problems: &mut Problems<'_>,
    ) -> Option<Item<'a, 't>> {
        let item = self.take(key);
        if item.is_none() {
            problems.add(Code::MissingKey, self.offset, format!("`{}` is missing", self.key(key)), cure);
        }
        item
    }

    /// All keys with their values.
    pub(crate) fn entries(
        &self,
    ) -> impl Iterator<Item = (&'a Spanned<std::borrow::Cow<'t, str>>, Item<'a, 't>)> + use<'a, 't> {
        self.table.iter().map(|(name, value)| (name, Item { offset: value.span().start, value: value.get_ref() }))
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<(usize, &'a str)> {
        let item = self.take(key)?;
        item.text(&self.key(key), problems).map(|text| (item.offset, text))
    }

    /// A duration in milliseconds, at least one.
    pub(crate) fn duration_ms(&mut self, key: &'static str, default_ms: u64, problems: &mut Problems<'_>) -> u64 {
        let Some((offset, text)) = self.text(key, problems) else { return default_ms };
        match units::duration_ms(text) {
            Some(duration_ms) if duration_ms > 0 => duration_ms,
            _ => {
                let message = format!("`{}` is {text:?}, not a duration", self.key(key));
                problems.add(Code::Value, offset, message, "write it such as \"500ms\", \"10s\" or \"24h\"");
                default_ms
            }
        }
    }

    /// A size in bytes, from one to 64 MiB: a request and its answer are held in memory.
    pub(crate) fn size_bytes(&mut self, key: &'static str, default_bytes: usize, problems: &mut Problems<'_>) -> usize {
        const BYTES_MAX: u64 = 64 << 20;
        let Some((offset, text)) = self.text(key, problems) else { return default_bytes };
        match units::size_bytes(text) {
            Some(bytes @ 1..=BYTES_MAX) => usize::try_from(bytes).unwrap_or(default_bytes),
            _ => {
                let message = format!("`{}` is {text:?}, not a size from 1B to 64MiB", self.key(key));
                problems.add(Code::Value, offset, message, "write it such as \"64KiB\" or \"1MiB\"");
                default_bytes
            }
        }
    }

    /// A whole number, at least one.
    pub(crate) fn count(&mut self, key: &'static str, default: u32, problems: &mut Problems<'_>) -> u32 {
        self.count_if_there(key, problems).unwrap_or(default)
    }

    /// A whole number, at least one, or nothing.
    pub(crate) fn count_if_there(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<u32> {
        let item = self.take(key)?;
        let count = item.value.as_integer().and_then(|integer| integer.to_string().parse::<Number>().ok()?.as_u64());
        match count.and_then(|count| u32::try_from(count).ok()) {
            Some(count) if count > 0 => Some(count),
            _ => {
                let message = format!("`{}` is not a whole number from 1", self.key(key));
                problems.add(Code::Value, item.offset, message, "write it such as 1000");
                None
            }
        }
    }

    /// Notes the keys that nobody asked for.
    pub(crate) fn finish(self, problems: &mut Problems<'_>) {
        for (name, _) in self.entries() {
            let (key, offset) = (name.get_ref().as_ref(), name.span().start);
            if !self.asked.contains(key) {
                let cure = suggestion(key, self.asked.iter().copied());
                problems.add(Code::UnknownKey, offset, format!("`{}` is not a known key", self.key(key)), cure);
            }
        }
    }
}

impl<'a, 't> Item<'a, 't> {
    /// The text that it is, or a problem.
    pub(crate) fn text(self, key: &str, problems: &mut Problems<'_>) -> Option<&'a str> {
        self.typed(key, "text in quotes", self.value.as_str(), problems)
    }

    /// The table that it is, or a problem.
    pub(crate) fn table(self, key: &str, problems: &mut Problems<'_>) -> Option<Table<'a, 't>> {
        let table = self.typed(key, "a table", self.value.as_table(), problems)?;
        Some(Table::new(key, self.offset, table))
    }

    /// The texts of the list that it is, with their places, or a problem.
    pub(crate) fn texts(self, key: &str, problems: &mut Problems<'_>) -> Vec<(usize, &'a str)> {
        self.items(key, "a list of texts", problems)
            .into_iter()
            .filter_map(|item| item.text(key, problems).map(|text| (item.offset, text)))
            .collect()
    }

    /// The items of the list that it is, or a problem.
    pub(crate) fn items(self, key: &str, expected: &str, problems: &mut Problems<'_>) -> Vec<Self> {
        let list = self.typed(key, expected, self.value.as_array(), problems);
        list.into_iter().flatten().map(|item| Item { offset: item.span().start, value: item.get_ref() }).collect()
    }

    pub(crate) fn typed<T>(
        self,
        key: &str,
        expected: &str,
        found: Option<T>,
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        if found.is_none() {
            let message = format!("`{key}` is of type {}", self.value.type_str());
            problems.add(Code::Value, self.offset, message, format!("write {expected}"));
        }
        found
    }
}

/// The cure for an unknown word.
pub(crate) fn suggestion<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    let similar = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    match similar {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => format!("known here: {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}
