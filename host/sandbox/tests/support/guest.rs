//! Guests as core modules in text form. They speak the canonical ABI by hand, so that they can also speak it wrongly.

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The interfaces of `wasi` that test guests use, no more of each than they use.
const WASI: &str = r#"
package test:guests;

package wasi:io@0.2.0 {
    interface poll { resource pollable { ready: func() -> bool; block: func(); } }
    interface error { resource error; }
    interface streams {
        use error.{error};
        variant stream-error { last-operation-failed(error), closed }
        resource output-stream { blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; }
    }
}
package wasi:clocks@0.2.0 {
    interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable};
        now: func() -> u64;
        subscribe-duration: func(when: u64) -> pollable;
    }
}
package wasi:random@0.2.0 { interface random { get-random-u64: func() -> u64; get-random-bytes: func(len: u64) -> list<u8>; } }
package wasi:cli@0.2.0 {
    interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }
    interface environment { get-environment: func() -> list<tuple<string, string>>; get-arguments: func() -> list<string>; }
    interface exit { exit: func(status: result); }
}
package wasi:filesystem@0.2.0 {
    interface types { resource descriptor; }
    interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }
}
package wasi:sockets@0.2.0 {
    interface network {
        enum error-code {
            unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout, concurrency-conflict, not-in-progress, would-block,
            invalid-state, new-socket-limit, address-not-bindable, address-in-use, remote-unreachable, connection-refused, connection-reset,
            connection-aborted, datagram-too-large, name-unresolvable, temporary-resolver-failure, permanent-resolver-failure,
        }
        enum ip-address-family { ipv4, ipv6 }
    }
    interface tcp { resource tcp-socket; }
    interface udp { resource udp-socket; }
    interface tcp-create-socket {
        use network.{error-code, ip-address-family};
        use tcp.{tcp-socket};
        create-tcp-socket: func(family: ip-address-family) -> result<tcp-socket, error-code>;
    }
    interface udp-create-socket {
        use network.{error-code, ip-address-family};
        use udp.{udp-socket};
        create-udp-socket: func(family: ip-address-family) -> result<udp-socket, error-code>;
    }
}
package test:wasi {
    world node {
        include holdpoint:node/node@0.1.0;
        import wasi:clocks/monotonic-clock@0.2.0;
        import wasi:random/random@0.2.0;
        import wasi:cli/stderr@0.2.0;
        import wasi:cli/environment@0.2.0;
        import wasi:cli/exit@0.2.0;
        import wasi:filesystem/preopens@0.2.0;
        import wasi:sockets/tcp-create-socket@0.2.0;
        import wasi:sockets/udp-create-socket@0.2.0;
    }
}
package test:foreign {
    interface disk { read: func() -> u32; }
    interface network { send: func() -> u32; }
    world node {
        include holdpoint:node/node@0.1.0;
        import disk;
        import network;
    }
    world other { import holdpoint:node/report@0.1.0; export describe: func() -> string; export run: func() -> u32; }
    world half { export describe: func() -> string; }
}
"#;

/// What every guest has: the imports of the contract, an allocator, and a way to return.
///
/// Addresses: 512 results of host calls, 1024 results of exports, from 4096 texts, from 65536 the heap.
const PRELUDE: &str = r#"
  (import "holdpoint:node/interrupt@0.1.0" "interrupt" (func $interrupt (param i32 i32 i32)))
  (import "holdpoint:node/interrupt@0.1.0" "ask" (func $ask (param i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "holdpoint:node/side-effect@0.1.0" "perform" (func $perform (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "holdpoint:node/recorded@0.1.0" "now-ms" (func $now (result i64)))
  (import "holdpoint:node/recorded@0.1.0" "random-bytes" (func $random (param i32 i32)))
  (import "holdpoint:node/report@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "holdpoint:node/report@0.1.0" "emit" (func $emit (param i32 i32)))
"#;

const LIBRARY: &str = r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (func $alloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (i32.sub (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
                                                           (i32.const 65536))))))
    (local.get $at))
  ;; A command with this update and no destinations.
  (func $done (param $at i32) (param $length i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 64))
    (i32.store offset=8 (i32.const 1024) (local.get $at))
    (i32.store offset=12 (i32.const 1024) (local.get $length))
    (i32.const 1024))
  ;; A failure with this code, message and details.
  (func $failed (param $code i32) (param $code_length i32) (param $message i32) (param $message_length i32) (param $details i32) (param $details_length i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 64))
    (i32.store8 (i32.const 1024) (i32.const 1))
    (i32.store offset=8 (i32.const 1024) (local.get $code))
    (i32.store offset=12 (i32.const 1024) (local.get $code_length))
    (i32.store offset=16 (i32.const 1024) (local.get $message))
    (i32.store offset=20 (i32.const 1024) (local.get $message_length))
    (i32.store8 offset=24 (i32.const 1024) (i32.const 1))
    (i32.store8 offset=48 (i32.const 1024) (i32.const 1))
    (i32.store offset=52 (i32.const 1024) (local.get $details))
    (i32.store offset=56 (i32.const 1024) (local.get $details_length))
    (i32.const 1024))
  ;; Hex digits of bytes, as {"hex":"…"} at 8192.
  (func $hex (param $at i32) (param $count i32) (result i32 i32)
    (local $index i32) (local $byte i32) (local $to i32)
    (i64.store (i32.const 8192) (i64.const 0x223a22786568227b)) ;; {"hex":"
    (local.set $to (i32.const 8200))
    (loop $next
      (local.set $byte (i32.load8_u (i32.add (local.get $at) (local.get $index))))
      (i32.store8 (local.get $to) (call $digit (i32.shr_u (local.get $byte) (i32.const 4))))
      (i32.store8 offset=1 (local.get $to) (call $digit (i32.and (local.get $byte) (i32.const 15))))
      (local.set $to (i32.add (local.get $to) (i32.const 2)))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $index) (local.get $count))))
    (i32.store16 (local.get $to) (i32.const 0x7d22)) ;; "}
    (i32.const 8192) (i32.sub (i32.add (local.get $to) (i32.const 2)) (i32.const 8192)))
  (func $digit (param $value i32) (result i32)
    (i32.add (local.get $value) (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $value) (i32.const 10)))))
"#;

const DESCRIBE: &str = r#"
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 72))
    (i32.store (i32.const 1024) (i32.const 3072)) (i32.store offset=4 (i32.const 1024) (i32.const 5))
    (i32.store offset=8 (i32.const 1024) (i32.const 3077)) (i32.store offset=12 (i32.const 1024) (i32.const 5))
    (i32.const 1024)"#;

/// A guest under construction. In its code, `@name` stands for the address and length of a text.
#[derive(Default)]
pub struct Guest {
    texts: Vec<(String, Vec<u8>)>,
    imports: String,
    items: String,
    run: String,
    describe: Option<String>,
}

/// A guest whose `run` is this code: it has the input's address as local 0 and leaves the result's.
pub fn run(code: &str) -> Guest {
    Guest { run: code.to_owned(), ..Guest::default() }
}

impl Guest {
    pub fn text(mut self, name: &str, text: impl AsRef<[u8]>) -> Self {
        self.texts.push((name.to_owned(), text.as_ref().to_vec()));
        self
    }

    /// Further imports.
    pub fn import(mut self, code: &str) -> Self {
        self.imports.push_str(code);
        self
    }

    /// Further functions, tables and the like.
    pub fn item(mut self, code: &str) -> Self {
        self.items.push_str(code);
        self
    }

    pub fn describe(mut self, code: &str) -> Self {
        self.describe = Some(code.to_owned());
        self
    }

    /// The core module, of the world of the contract.
    pub fn build(self) -> Vec<u8> {
        self.build_for("holdpoint:node/node@0.1.0")
    }

    pub fn build_for(mut self, world: &str) -> Vec<u8> {
        // Longer names first, so that none is taken for the beginning of another.
        self.texts.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let describe = self.describe.as_deref().unwrap_or(DESCRIBE);
        let mut code = format!(
            "(module {PRELUDE} {} {LIBRARY} {} (func (export \"run\") (param i32) (result i32) {}) (func (export \"describe\") (result i32) {describe}) (data (i32.const 3072) \"guest1.0.0\")",
            self.imports, self.items, self.run
        );
        let mut at = 16_384;
        let mut data = String::new();
        for (name, text) in &self.texts {
            code = code.replace(&format!("@{name}"), &format!("(i32.const {at}) (i32.const {})", text.len()));
            let escaped: String = text.iter().map(|byte| format!("\\{byte:02x}")).collect();
            data.push_str(&format!("(data (i32.const {at}) \"{escaped}\")"));
            at += text.len();
        }
        assert!(at <= 65_536, "texts lie below the heap");
        embed(&format!("{code}{data})"), world)
    }
}

/// A core module with a world's type.
pub fn embed(code: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(code).unwrap_or_else(|error| panic!("{error}\n{code}"));
    let mut resolve = Resolve::default();
    let node = resolve.push_str("node.wit", include_str!("../../../../wit/node.wit")).expect("the contract");
    let wasi = resolve.push_str("wasi.wit", WASI).expect("the interfaces");
    let world = resolve.select_world(&[node, wasi], Some(world)).expect("a world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embedded");
    module
}
