//! The text under which a receiver knows an operation.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::operation::{OperationKey, Scope};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Longest key: what receivers are known to take.
const BYTES_MAX: usize = 255;

/// All of a thread id but these is escaped, so that the first colon ends it.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The key of an operation at a receiver that knows nothing of threads: of a global connector the operation id itself, of one with scope `thread`
/// `<lineage>:<operation id>` with the lineage's root thread percent-escaped; the 64 hex digits of its SHA-256 where that is too long. Two operations
/// never have the same key: in the second form the first colon ends the lineage, and the third has no colon.
pub(super) fn receiver_key(key: &OperationKey) -> String {
    match &key.scope {
        Scope::Global(_) => key.id.to_string(),
        Scope::Thread(lineage) => {
            let text = format!("{}:{}", utf8_percent_encode(lineage.as_str(), ESCAPED), key.id);
            if text.len() > BYTES_MAX { digest(&text) } else { text }
        }
    }
}

/// The same for receivers that take only these characters: a key with others, or one that looks like a digest, becomes the hex digits of its SHA-256.
pub(super) fn plain_receiver_key(key: &OperationKey, allowed: impl Fn(char) -> bool) -> String {
    let text = receiver_key(key);
    let digest_like = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    // The digest of a thread's long key is no guess of a guest: it is left as it is.
    let is_digest = digest_like && matches!(key.scope, Scope::Thread(_));
    if is_digest || (!digest_like && text.chars().all(allowed)) { text } else { digest(&text) }
}

fn digest(text: &str) -> String {
    Digest::of_bytes(text.as_bytes()).hex_digits().to_owned()
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::ids::{ConnectorName, OperationId, ThreadId};

    use super::*;

    fn key(thread: Option<&str>, id: &str) -> OperationKey {
        let scope = thread
            .map_or(Scope::Global("refund".into()), |thread| Scope::Thread(ThreadId::parse(thread).expect("valid")));
        let connector = ConnectorName::parse("pay").expect("valid");
        OperationKey { scope, connector, id: OperationId::parse(id).expect("valid") }
    }

    #[test]
    fn threads_do_not_collide_at_a_receiver() {
        assert_eq!(receiver_key(&key(None, "refund:1")), "refund:1");
        assert_eq!(receiver_key(&key(Some("t-1"), "refund:1")), "t-1:refund:1");
        assert_eq!(receiver_key(&key(Some("a:b"), "c")), "a%3Ab:c");
        assert_eq!(receiver_key(&key(Some("a"), "b:c")), "a:b:c");
        assert_eq!(receiver_key(&key(Some("a%3Ab"), "c")), "a%253Ab:c");
        assert_eq!(receiver_key(&key(Some("bé/"), "c")), "b%C3%A9%2F:c");
        let long = receiver_key(&key(Some(&"t".repeat(200)), &"i".repeat(100)));
        assert_eq!(long.len(), 64);
        assert_ne!(long, receiver_key(&key(Some(&"t".repeat(201)), &"i".repeat(100))));
    }

    #[test]
    fn characters_that_a_receiver_does_not_take_become_a_digest() {
        let plain = |key: &OperationKey| plain_receiver_key(key, |character| character.is_ascii_alphanumeric());
        assert_eq!(plain(&key(None, "a1")), "a1");
        let dotted = plain(&key(None, "a.1"));
        assert_eq!(dotted.len(), 64);
        assert_ne!(plain(&key(None, &dotted)), dotted, "nobody takes another's digest as a name");
    }
}
