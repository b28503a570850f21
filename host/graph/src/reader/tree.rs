//! One tree of values for all forms of a graph: where it comes from a text, every key and value knows its place.

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::sink::{Code, Sink};

/// A value and where it begins.
#[derive(Debug)]
pub(crate) struct Item {
    /// Bytes from the start of the text; none when there is no text.
    pub(crate) offset: Option<usize>,
    pub(crate) data: Data,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Data {
    Null,
    Boolean(bool),
    Number(Number),
    String(String),
    Array(Vec<Item>),
    Table(Vec<Member>),
    /// A value that was found faulty and reported already.
    Faulty,
}

/// One entry of a table.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Where the key begins.
    pub(crate) offset: Option<usize>,
    pub(crate) item: Item,
}

impl Item {
    /// What kind of value it is, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "null",
            Data::Boolean(_) => "a boolean",
            Data::Number(number) if number.is_f64() => "a fraction",
            Data::Number(_) => "an integer",
            Data::String(_) => "a string",
            Data::Array(_) => "a list",
            Data::Table(_) => "a table",
            Data::Faulty => "a faulty value",
        }
    }

    /// The value as JSON.
    pub(crate) fn to_json(&self) -> Value {
        match &self.data {
            Data::Null | Data::Faulty => Value::Null,
            Data::Boolean(boolean) => Value::Bool(*boolean),
            Data::Number(number) => Value::Number(number.clone()),
            Data::String(text) => Value::String(text.clone()),
            Data::Array(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Data::Table(members) => Value::Object(members_to_json(members, &[])),
        }
    }
}

/// A table as a JSON object, without some of its members.
pub(crate) fn members_to_json(members: &[Member], without: &[&str]) -> Map<String, Value> {
    members
        .iter()
        .filter(|member| !without.contains(&member.name.as_str()))
        .map(|member| (member.name.clone(), member.item.to_json()))
        .collect()
}

/// The member of a table with this name.
pub(crate) fn find<'a>(members: &'a [Member], name: &str) -> Option<&'a Member> {
    members.iter().find(|member| member.name == name)
}

/// A tree without places.
pub(crate) fn from_json(value: &Value) -> Item {
    let data = match value {
        Value::Null => Data::Null,
        Value::Bool(boolean) => Data::Boolean(*boolean),
        Value::Number(number) => Data::Number(number.clone()),
        Value::String(text) => Data::String(text.clone()),
        Value::Array(items) => Data::Array(items.iter().map(from_json).collect()),
        Value::Object(members) => Data::Table(
            members
                .iter()
                .map(|(name, value)| Member { name: name.clone(), offset: None, item: from_json(value) })
                .collect(),
        ),
    };
    Item { offset: None, data }
}

/// A tree with places. Dates become strings; numbers that JSON does not have are reported.
pub(crate) fn from_toml(table: &Spanned<DeTable<'_>>, sink: &mut Sink<'_>) -> Item {
    Item { offset: Some(table.span().start), data: Data::Table(toml_members(table.get_ref(), sink)) }
}

fn toml_members(table: &DeTable<'_>, sink: &mut Sink<'_>) -> Vec<Member> {
    table
        .iter()
        .map(|(name, value)| Member {
            name: name.get_ref().to_string(),
            offset: Some(name.span().start),
            item: toml_item(value, sink),
        })
        .collect()
}

fn toml_item(value: &Spanned<DeValue<'_>>, sink: &mut Sink<'_>) -> Item {
    let offset = Some(value.span().start);
    let data = match value.get_ref() {
        DeValue::String(text) => Data::String(text.to_string()),
        DeValue::Boolean(boolean) => Data::Boolean(*boolean),
        DeValue::Datetime(datetime) => Data::String(datetime.to_string()),
        DeValue::Integer(integer) => toml_integer(integer).map_or_else(
            || {
                sink.report(
                    Code::Value,
                    offset,
                    "the integer does not fit 64 bits".to_owned(),
                    "write a smaller number, or a string",
                );
                Data::Faulty
            },
            Data::Number,
        ),
        DeValue::Float(float) => toml_float(float).map_or_else(
            || {
                sink.report(
                    Code::Value,
                    offset,
                    "the number is not finite".to_owned(),
                    "write a finite number, or a string",
                );
                Data::Faulty
            },
            Data::Number,
        ),
        DeValue::Array(items) => Data::Array(items.iter().map(|item| toml_item(item, sink)).collect()),
        DeValue::Table(table) => Data::Table(toml_members(table, sink)),
    };
    Item { offset, data }
}

fn toml_integer(integer: &DeInteger<'_>) -> Option<Number> {
    let (text, radix) = (integer.as_str(), integer.radix());
    i64::from_str_radix(text, radix)
        .map(Number::from)
        .or_else(|_| u64::from_str_radix(text, radix).map(Number::from))
        .ok()
}

fn toml_float(float: &DeFloat<'_>) -> Option<Number> {
    Number::from_f64(float.as_str().parse().ok()?)
}
