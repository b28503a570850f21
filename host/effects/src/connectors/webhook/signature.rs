//! Signatures of the Standard Webhooks specification: `v1`, HMAC-SHA256.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A key that messages are signed with. Shows itself to nobody.
#[derive(Clone)]
pub(super) struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads `whsec_` and base64, of 24 to 64 bytes as the specification asks.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let encoded = text.strip_prefix("whsec_").ok_or("does not begin with `whsec_`")?;
        let bytes = STANDARD.decode(encoded).map_err(|_| "is not base64 after `whsec_`")?;
        match bytes.len() {
            24..=64 => Ok(Self(bytes)),
            length => Err(format!("has {length} bytes, not 24 to 64")),
        }
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("invariant: HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The value of `webhook-signature`: one signature for each key.
pub(super) fn signatures(keys: &[SigningKey], id: &str, timestamp: u64, body: &[u8]) -> String {
    keys.iter().map(|key| key.sign(id, timestamp, body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn signs_as_the_reference_implementations_do() {
        // The vector of the reference implementations' tests.
        let key = SigningKey::parse(SECRET).expect("valid");
        let signed = signatures(
            std::slice::from_ref(&key),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            b"{\"test\": 2432232314}",
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let other = SigningKey::parse(&format!("whsec_{}", STANDARD.encode([7; 64]))).expect("valid");
        let both = signatures(&[key, other], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert!(both.starts_with(&format!("{signed} v1,")) && both.len() == 2 * signed.len() + 1, "{both}");
    }

    #[test]
    fn keys_that_are_none_are_refused_without_showing_them() {
        for text in
            ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYq", "whsec_not base64!", "whsk_AAAA"]
        {
            let Err(reason) = SigningKey::parse(text) else { panic!("{text:?} is refused") };
            assert!(text.len() < 7 || !reason.contains(&text[7..]), "{reason}");
        }
    }
}
