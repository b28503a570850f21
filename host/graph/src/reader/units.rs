//! Durations and sizes as people write them.

/// Longest duration: a deadline may not overflow a clock. 100 years.
const DURATION_MS_MAX: u64 = 36_500 * 86_400_000;

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a duration such as `500ms`, `30s`, `15m`, `2h` or `7d`; in milliseconds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    match scaled(text, &DURATIONS) {
        Some(Some(duration_ms)) if duration_ms <= DURATION_MS_MAX => Ok(duration_ms),
        Some(_) => Err("is longer than 100 years".to_owned()),
        None => Err("is not a duration".to_owned()),
    }
}

/// Reads a size such as `64MiB`; in bytes.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn size_bytes(text: &str) -> Result<u64, String> {
    match scaled(text, &SIZES) {
        Some(Some(size_bytes)) => Ok(size_bytes),
        Some(None) => Err("does not fit 64 bits".to_owned()),
        None => Err("is not a size".to_owned()),
    }
}

/// Writes a duration in the largest unit that keeps it exact.
pub(crate) fn duration_text(duration_ms: u64) -> String {
    text(duration_ms, &DURATIONS)
}

/// A whole number and a unit: `None` when it has another form, `Some(None)` when it does not fit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<Option<u64>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    if number.is_empty() {
        return None;
    }
    Some(number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)))
}

fn text(value: u64, units: &[(&str, u64)]) -> String {
    let (unit, factor) = units
        .iter()
        .rev()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor))
        .copied()
        .unwrap_or((units[0].0, units[0].1));
    format!("{}{unit}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, duration) in
            [("500ms", 500), ("30s", 30_000), ("15m", 900_000), ("2h", 7_200_000), ("7d", 604_800_000), ("0ms", 0)]
        {
            assert_eq!(duration_ms(text), Ok(duration));
            assert_eq!(duration_text(duration), text);
        }
        for bad in ["", "5", "s", "-1s", "1.5h", "1 s", "1h30m", "5 minutes", "１s", "36501d", "99999999999999999999d"]
        {
            assert!(duration_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in [("64MiB", 64 << 20), ("1KiB", 1024), ("7B", 7), ("2GiB", 2 << 30)] {
            assert_eq!(size_bytes(text), Ok(size));
        }
        for bad in ["", "64", "64MB", "MiB", "-1B", "18446744073709551615GiB"] {
            assert!(size_bytes(bad).is_err(), "{bad}");
        }
    }
}
