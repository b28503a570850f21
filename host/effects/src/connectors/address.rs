//! Addresses that may be connected to. Names are resolved once, and the connection goes to an address that was checked.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{fmt, io};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::configuration::AddressRule;

/// A name has no address that may be connected to.
#[derive(Debug)]
pub(crate) struct AddressNotAllowed;

impl fmt::Display for AddressNotAllowed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the receiver's address is not allowed")
    }
}

impl Error for AddressNotAllowed {}

/// Resolves a name once; gives the addresses that may be connected to.
///
/// # Errors
/// The name cannot be resolved, or none of its addresses is allowed ([`AddressNotAllowed`] inside).
pub(super) async fn resolve(rule: &AddressRule, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    let allowed: Vec<SocketAddr> = found.filter(|address| rule.allows(address.ip())).collect();
    if allowed.is_empty() { Err(io::Error::other(AddressNotAllowed)) } else { Ok(allowed) }
}

/// The system's resolver behind a rule.
pub(super) struct CheckedResolver {
    pub(super) rule: AddressRule,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rule = self.rule.clone();
        Box::pin(async move {
            let addresses: Addrs = Box::new(resolve(&rule, name.as_str(), 0).await?.into_iter());
            Ok(addresses)
        })
    }
}

impl AddressRule {
    /// Whether an address may be connected to.
    pub fn allows(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Public { besides } => {
                let address = address.to_canonical();
                is_public(address) || besides.iter().any(|network| network.contains(&address))
            }
        }
    }
}

/// Whether an address is one of the public internet. Everything that is not is refused, known or not: IPv6 outside of what is allocated to the
/// internet, and forms that carry an IPv4 address that is not public.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    let special = match octets {
        // "This network", private, loopback, multicast and reserved.
        [0 | 10 | 127 | 224..=255, ..] => true,
        // Carrier-grade NAT, with one cloud's metadata address.
        [100, 64..=127, ..] => true,
        // Link-local, with the metadata address of most clouds.
        [169, 254, ..] => true,
        [172, 16..=31, ..] | [192, 168, ..] => true,
        // Protocol assignments, documentation, 6to4 relays, benchmarks.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => true,
        // The platform address of one cloud, inside public space.
        [168, 63, 129, 16] => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Mapped.
        [0, 0, 0, 0, 0, 0xffff, high, low] => is_public_v4(embedded(high, low)),
        // NAT64 with the well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(embedded(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        // Protocol assignments (Teredo and others), documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // ISATAP carries an IPv4 address under any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] if !is_public_v4(embedded(high, low)) => false,
        // Global unicast is 2000::/3; loopback, local, link-local, multicast and the rest lie outside.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &AddressRule, address: &str) -> bool {
        rule.allows(address.parse().expect(address))
    }

    #[test]
    fn only_public_addresses_are_public() {
        let public = AddressRule::Public { besides: Vec::new() };
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:a9fe:a9fe::",
            "2a00::5efe:7f00:1",
            "2a00::200:5efe:a00:1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ];
        for address in refused {
            assert!(!allows(&public, address), "{address}");
            assert!(allows(&AddressRule::Any, address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(allows(&public, address), "{address}");
        }
    }

    #[test]
    fn networks_are_allowed_besides() {
        let rule = AddressRule::Public {
            besides: vec!["127.0.0.0/8".parse().expect("a network"), "fd00::/8".parse().expect("a network")],
        };
        for (address, allowed) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("::1", false),
            ("10.0.0.1", false),
            ("fd00::1", true),
            ("8.8.8.8", true),
        ] {
            assert_eq!(allows(&rule, address), allowed, "{address}");
        }
    }
}
