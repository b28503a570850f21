//! The host's clock and its processes.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use holdpoint_engine::claim::Owners;
use holdpoint_graph::clock::Clock;

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock before 1970 counts as 1970: deadlines then stand longer, nothing is decided early.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Workers named by process, so that a thread whose process died on this host is continued at once and not after its lease.
///
/// The name is `HOST/BOOT/NAMESPACE/PID/START`: a process id alone is used again by others.
#[derive(Debug, Clone)]
pub struct ProcessOwners {
    place: Place,
    name: String,
}

/// Where a process id means the same process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    boot: String,
    namespace: String,
}

impl ProcessOwners {
    /// Names this process.
    pub fn of_this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let place = Place {
            host: read("/proc/sys/kernel/hostname"),
            boot: read("/proc/sys/kernel/random/boot_id"),
            namespace: fs::read_link("/proc/self/ns/pid")
                .map(|link| link.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let process = std::process::id();
        let start = start_of(process).unwrap_or_default();
        let name = format!("{}/{}/{}/{process}/{start}", place.host, place.boot, place.namespace);
        Self { place, name }
    }
}

impl Owners for ProcessOwners {
    fn own_name(&self) -> &str {
        &self.name
    }

    fn is_gone(&self, owner: &str) -> bool {
        let parts: Vec<&str> = owner.split('/').collect();
        let [host, boot, namespace, process, start] = parts[..] else { return false };
        let knows_itself =
            !self.place.host.is_empty() && !self.place.boot.is_empty() && !self.place.namespace.is_empty();
        if !knows_itself || host != self.place.host {
            return false;
        }
        if boot != self.place.boot {
            // The same host has been started anew since.
            return true;
        }
        if namespace != self.place.namespace {
            return false;
        }
        match process.parse().ok().map(start_of) {
            Some(Some(found)) => found != start,
            Some(None) => true,
            None => false,
        }
    }
}

/// When a process was started, in clock ticks since boot, as `/proc/PID/stat` tells; none when it does not run any more.
fn start_of(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything; state is the first field after it, start the 20th.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn tells_the_living_from_the_dead() {
        let owners = ProcessOwners::of_this_process();
        assert!(!owners.is_gone(owners.own_name()), "this process is alive");
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat runs");
        let place = owners.name.rsplitn(3, '/').nth(2).expect("a place").to_owned();
        let name = format!("{place}/{}/{}", child.id(), start_of(child.id()).expect("it runs"));
        assert!(!owners.is_gone(&name));
        assert!(owners.is_gone(&format!("{place}/{}/1", child.id())), "the same id, another process");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        assert!(owners.is_gone(&name));
        assert!(!owners.is_gone("elsewhere/boot/namespace/1/1"), "another host: its lease decides");
        assert!(!owners.is_gone("nonsense"));
    }
}
