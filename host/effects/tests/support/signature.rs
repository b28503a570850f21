//! Signatures of webhooks, verified as their consumers do.

use sha2::{Digest as _, Sha256};

use super::Received;

/// HMAC-SHA256 as RFC 2104 writes it, and base64 as RFC 4648 does: nothing of it is the connector's.
pub fn verify(secret: &str, received: &Received) -> bool {
    let mut key = decode(secret.strip_prefix("whsec_").unwrap());
    key.resize(64, 0);
    let header = |name: &str| received.header(name).unwrap();
    let content = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), received.body);
    let pad = |byte: u8| key.iter().map(|key| key ^ byte).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(content).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    let signatures = header("webhook-signature").split(' ');
    signatures.filter_map(|signature| signature.strip_prefix("v1,")).any(|signature| decode(signature) == outer[..])
}

fn decode(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = text
        .trim_end_matches('=')
        .bytes()
        .map(|byte| format!("{:06b}", ALPHABET.iter().position(|known| *known == byte).unwrap()))
        .collect();
    let bytes = bits.as_bytes().chunks_exact(8);
    bytes.map(|bits| u8::from_str_radix(std::str::from_utf8(bits).unwrap(), 2).unwrap()).collect()
}
