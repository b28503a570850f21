//! Durations, sizes, rates and networks as people write them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Rate;

/// Reads a duration such as `500ms`, `10s`, `15m`, `24h` or `7d`, in milliseconds.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    with_unit(text, &units)
}

/// Reads a size such as `512B`, `64KiB` or `1MiB`, in bytes.
pub(crate) fn size_bytes(text: &str) -> Option<u64> {
    with_unit(text, &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)])
}

/// Reads a network such as `10.0.0.0/8`, or a single address.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Reads a rate such as `5/s`, `100/m` or `1000/h`.
pub(crate) fn rate(text: &str) -> Option<Rate> {
    let (requests, unit) = text.split_once('/')?;
    let per_ms = match unit.trim() {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let requests = requests.trim_end();
    let digits = !requests.is_empty() && requests.bytes().all(|byte| byte.is_ascii_digit());
    let requests = requests.parse().ok().filter(|requests| digits && *requests > 0)?;
    Some(Rate { requests, per_ms })
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_rates_and_networks() {
        let durations = [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("15 m", Some(900_000)),
            ("24h", Some(86_400_000)),
            ("7d", Some(604_800_000)),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("1w", None),
        ];
        for (text, expected) in durations {
            assert_eq!(duration_ms(text), expected, "{text}");
        }
        for (text, expected) in
            [("1MiB", Some(1 << 20)), ("64KiB", Some(1 << 16)), ("9B", Some(9)), ("1MB", None), ("", None)]
        {
            assert_eq!(size_bytes(text), expected, "{text}");
        }
        let rates = [
            ("100/m", Some(Rate { requests: 100, per_ms: 60_000 })),
            ("5 / s", Some(Rate { requests: 5, per_ms: 1000 })),
            ("1/h", Some(Rate { requests: 1, per_ms: 3_600_000 })),
            ("0/s", None),
            ("+1/s", None),
            ("1/d", None),
            ("/s", None),
            ("5", None),
            ("99999999999/s", None),
        ];
        for (text, expected) in rates {
            assert_eq!(rate(text), expected, "{text}");
        }
        for (text, known) in
            [("10.0.0.0/8", true), ("::1", true), ("127.0.0.1", true), ("10.0.0.0/33", false), ("localhost", false)]
        {
            assert_eq!(network(text).is_some(), known, "{text}");
        }
    }
}
