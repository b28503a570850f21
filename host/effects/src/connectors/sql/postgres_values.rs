//! What PostgreSQL's parameters and columns are as JSON.

use std::error::Error;

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;
use serde_json::{Number, Value};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

/// A JSON value as a parameter of whatever type the statement gives it: as text, which the server reads as that type.
#[derive(Debug)]
pub(super) struct Parameter<'v>(pub(super) &'v Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let json = matches!(base(ty), &Type::JSON | &Type::JSONB);
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::String(text) if !json => out.extend_from_slice(text.as_bytes()),
            value => out.extend_from_slice(value.to_string().as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A column's bytes.
pub(super) struct Column<'r> {
    pub(super) ty: Type,
    pub(super) bytes: Option<&'r [u8]>,
}

impl<'r> FromSql<'r> for Column<'r> {
    fn from_sql(ty: &Type, bytes: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self { ty: ty.clone(), bytes: Some(bytes) })
    }

    fn from_sql_null(ty: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self { ty: ty.clone(), bytes: None })
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Whether columns of a type can be read at all.
///
/// # Errors
/// What to do about one that cannot.
pub(super) fn check_type(ty: &Type) -> Result<(), String> {
    let known = matches!(base(ty).kind(), Kind::Enum(_))
        || [
            Type::BOOL,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::OID,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::TEXT,
            Type::VARCHAR,
            Type::BPCHAR,
            Type::NAME,
            Type::UNKNOWN,
            Type::JSON,
            Type::JSONB,
            Type::UUID,
            Type::DATE,
            Type::TIMESTAMP,
            Type::TIMESTAMPTZ,
            Type::VOID,
        ]
        .contains(base(ty));
    if known { Ok(()) } else { Err(format!("is of type {ty}: cast it, such as with ::text or to_jsonb()")) }
}

/// A column as JSON. Numbers of type `numeric` are texts, since JSON's would lose digits; times are as in RFC 3339.
///
/// # Errors
/// It has no form in JSON.
pub(super) fn to_json(column: &Column<'_>) -> Result<Value, String> {
    let Some(bytes) = column.bytes else { return Ok(Value::Null) };
    read(base(&column.ty), bytes).ok_or_else(|| format!("of type {} has a value that JSON does not have", column.ty))
}

fn read(ty: &Type, bytes: &[u8]) -> Option<Value> {
    let text = || std::str::from_utf8(bytes).ok().map(Value::from);
    match *ty {
        Type::VOID => Some(Value::Null),
        Type::BOOL => Some((bytes.first()? != &0).into()),
        Type::INT2 => Some(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT4 => Some(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT8 => Some(i64::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::OID => Some(u32::from_be_bytes(bytes.try_into().ok()?).into()),
        // Through its own text: a direct conversion would show digits that are not there.
        Type::FLOAT4 => {
            let text = f32::from_be_bytes(bytes.try_into().ok()?).to_string();
            Number::from_f64(text.parse().ok()?).map(Value::Number)
        }
        Type::FLOAT8 => Number::from_f64(f64::from_be_bytes(bytes.try_into().ok()?)).map(Value::Number),
        Type::NUMERIC => numeric(bytes).map(Value::String),
        Type::JSON => serde_json::from_slice(bytes).ok(),
        // The first byte is the format's version.
        Type::JSONB => serde_json::from_slice(bytes.strip_prefix(&[1])?).ok(),
        Type::UUID => {
            let hex = holdpoint_graph::digest::hex(<&[u8; 16]>::try_from(bytes).ok()?);
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            Some(parts.join("-").into())
        }
        Type::DATE => date(bytes).map(Value::String),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let timestamp = timestamp(bytes)?;
            Some(if *ty == Type::TIMESTAMPTZ {
                timestamp.to_string().into()
            } else {
                TimeZone::UTC.to_datetime(timestamp).to_string().into()
            })
        }
        _ => text(),
    }
}

fn base(ty: &Type) -> &Type {
    match ty.kind() {
        Kind::Domain(inner) => base(inner),
        _ => ty,
    }
}

/// Microseconds since the year 2000; infinity is none.
fn timestamp(bytes: &[u8]) -> Option<Timestamp> {
    const EPOCH_US: i64 = 946_684_800_000_000;
    let microseconds = i64::from_be_bytes(bytes.try_into().ok()?);
    Timestamp::from_microsecond(microseconds.checked_add(EPOCH_US)?).ok()
}

/// Days since the year 2000; infinity is none.
fn date(bytes: &[u8]) -> Option<String> {
    let days = i32::from_be_bytes(bytes.try_into().ok()?);
    let date = civil::date(2000, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
    Some(date.to_string())
}

/// Groups of four digits, the first of them worth 10000 to the power of `weight`; `scale` digits are shown after the point.
fn numeric(bytes: &[u8]) -> Option<String> {
    let words: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let [count, weight, sign, scale, groups @ ..] = &words[..] else { return None };
    if usize::from(*count) != groups.len() || groups.iter().any(|group| *group > 9999) {
        return None;
    }
    let sign = match sign {
        0 => "",
        0x4000 => "-",
        _ => return None,
    };
    let weight = i32::from(weight.cast_signed());
    let group = |position: i32| {
        let index = usize::try_from(weight - position).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let whole: String = (0..=weight.max(0)).rev().map(|position| format!("{:04}", group(position))).collect();
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let fraction_groups = i32::from(scale.div_ceil(4));
    let fraction: String = (1..=fraction_groups).map(|position| format!("{:04}", group(-position))).collect();
    let fraction = &fraction[..usize::from(*scale)];
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_numeric(weight: i16, sign: u16, scale: u16, groups: &[u16]) -> Option<String> {
        let count = u16::try_from(groups.len()).expect("few");
        let words = [count, weight.cast_unsigned(), sign, scale].into_iter().chain(groups.iter().copied());
        numeric(&words.flat_map(u16::to_be_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn numbers_keep_their_digits() {
        let table = [
            (check_numeric(0, 0, 0, &[]), Some("0")),
            (check_numeric(0, 0, 2, &[12, 3400]), Some("12.34")),
            (check_numeric(-1, 0x4000, 4, &[5]), Some("-0.0005")),
            (check_numeric(-2, 0, 6, &[500]), Some("0.000005")),
            (check_numeric(1, 0, 0, &[1]), Some("10000")),
            (check_numeric(4, 0, 0, &[9, 71, 9925, 4740, 9931]), Some("90071992547409931")),
            (check_numeric(0, 0xC000, 0, &[]), None),
        ];
        for (found, expected) in table {
            assert_eq!(found.as_deref(), expected);
        }
        assert_eq!(numeric(&[0, 1]), None);
    }

    #[test]
    fn times_are_written_as_in_rfc_3339() {
        assert_eq!(read(&Type::DATE, &366_i32.to_be_bytes()), Some("2001-01-01".into()));
        assert_eq!(read(&Type::TIMESTAMPTZ, &1_500_000_i64.to_be_bytes()), Some("2000-01-01T00:00:01.5Z".into()));
        assert_eq!(read(&Type::TIMESTAMP, &1_500_000_i64.to_be_bytes()), Some("2000-01-01T00:00:01.5".into()));
        assert_eq!(read(&Type::TIMESTAMP, &i64::MAX.to_be_bytes()), None, "infinity");
        assert_eq!(read(&Type::FLOAT4, &0.1_f32.to_be_bytes()), Some(0.1.into()));
        assert!(check_type(&Type::BYTEA).is_err() && check_type(&Type::INT4_ARRAY).is_err());
    }
}
