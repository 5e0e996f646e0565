//! Child processes: their group, the last of what they said, and what they must not inherit.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout_at};

use crate::job::ERROR_MESSAGE_BYTES_MAX;

/// How long output may still come after the child itself is gone. What it wrote is in the pipe
/// already; only a grandchild that kept the pipe would make us wait.
pub(super) const EOF_GRACE: Duration = Duration::from_millis(250);
/// How often a group that was told to stop is looked at for survivors of its leader.
const SURVIVORS_LOOK: Duration = Duration::from_millis(20);
/// Variables that are the daemon's own: its configuration (secrets among it) and its service manager.
const PRIVATE_VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "CREDENTIALS_DIRECTORY"];

/// A process group that is killed when this is dropped.
///
/// Its id cannot be another group's as long as one of its processes lives. Once all are gone the id is
/// free, so the guard never outlives the child by more than [`EOF_GRACE`].
#[derive(Debug)]
pub(super) struct Group(Pid);

/// The last of what a child said on stderr.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

/// The variables of this process that no child inherits.
pub(super) fn private_variables() -> Vec<OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| is_private(name)).collect()
}

/// Whether a variable is the daemon's own business.
fn is_private(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("GANGER__") || PRIVATE_VARIABLES.contains(&name))
}

/// How a child ended, as the rest of a sentence.
pub(super) fn ending(status: ExitStatus) -> String {
    if let Some(code) = status.code() {
        return format!("ended with exit code {code}");
    }
    let signal = status.signal().unwrap_or_default();
    let name = Signal::try_from(signal).map_or("an unknown signal", Signal::as_str);
    format!("was killed by {name} ({signal})")
}

// === impl Group ===

impl Group {
    /// The group that `child` leads; `None` when it is gone already.
    pub(super) fn of(child: &Child) -> Option<Self> {
        child.id().and_then(|id| i32::try_from(id).ok()).map(|id| Self(Pid::from_raw(id)))
    }

    /// Its number.
    pub(super) fn id(&self) -> i32 {
        self.0.as_raw()
    }

    /// SIGTERM, then the grace. SIGKILL follows when the guard is dropped.
    pub(super) async fn stop(&self, child: &mut Child, grace: Duration) {
        let end = Instant::now() + grace;
        // It may be gone already: then nothing needs to be told.
        killpg(self.0, Signal::SIGTERM).unwrap_or_default();
        let leader_left = timeout_at(end, child.wait()).await.is_ok();
        // A shell leaves at once, while what it had started may still be cleaning up.
        while leader_left && Instant::now() < end && killpg(self.0, None).is_ok() {
            sleep(SURVIVORS_LOOK).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // No such group is what we want to hear.
        killpg(self.0, Signal::SIGKILL).unwrap_or_default();
    }
}

// === impl Tail ===

impl Tail {
    /// Where to read to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Shortened only at twice the size that counts, so that long talk is not moved for every read.
    pub(super) fn shorten(&mut self) {
        if self.0.len() >= 2 * ERROR_MESSAGE_BYTES_MAX {
            self.0.drain(..self.0.len() - ERROR_MESSAGE_BYTES_MAX);
        }
    }

    /// At most [`ERROR_MESSAGE_BYTES_MAX`] bytes, from a character's edge on. No store takes a NUL.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0).replace('\0', "\u{fffd}");
        let text = text.trim();
        let from = text.len().saturating_sub(ERROR_MESSAGE_BYTES_MAX);
        text[text.ceil_char_boundary(from)..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_do_not_inherit_the_daemons_secrets() {
        let private = |name: &str| is_private(OsStr::new(name));
        assert!(private("GANGER__REDIS__URL") && private("NOTIFY_SOCKET"));
        assert!(!private("GANGER_SERVER") && !private("PATH"));
    }

    #[test]
    fn the_tail_is_the_last_of_it_from_a_character_on() {
        let mut tail = Tail::default();
        for _ in 0..5_000 {
            tail.0.extend_from_slice("ä\0".as_bytes());
            tail.shorten();
        }
        tail.0.extend_from_slice(b"the end\n");
        let text = tail.text();
        assert!(text.len() <= ERROR_MESSAGE_BYTES_MAX && text.len() > ERROR_MESSAGE_BYTES_MAX - 8);
        assert!(text.ends_with("the end") && !text.contains('\0'));
    }
}
