//! What the service manager is told: datagrams to the socket of `$NOTIFY_SOCKET`, as `sd_notify(3)` sends them.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};

/// A service manager that listens.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    /// Whether it was said that something could not be told.
    is_deaf: AtomicBool,
}

impl Notifier {
    /// The manager behind an address as `$NOTIFY_SOCKET` has it: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// The address is of another kind, or no socket can be made.
    pub fn to(address: &OsStr) -> io::Result<Self> {
        let manager = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold up the daemon.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, manager, is_deaf: AtomicBool::new(false) })
    }

    /// Tells assignments such as `READY=1`, one a line. What cannot be told is told to the log, once in a row.
    pub fn tell(&self, assignments: &str) {
        let sent = self.socket.send_to_addr(assignments.as_bytes(), &self.manager);
        let was_deaf = self.is_deaf.swap(sent.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (sent, was_deaf) {
            tracing::warn!("The service manager cannot be told anything: {error}");
        }
    }
}

/// The time since the machine's start in microseconds, which a manager compares with its own orders.
#[must_use]
pub fn monotonic_us() -> i64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.num_microseconds())
}

/// One line of a status: the manager takes an assignment to end with its line.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\0'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_manager_hears_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        Notifier::to(path.as_os_str()).unwrap().tell("READY=1\nSTATUS=here");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=here");

        let name = format!("ganger-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::to(&OsString::from(format!("@{name}"))).unwrap().tell("WATCHDOG=1");
        assert_eq!(heard(&manager), "WATCHDOG=1");
    }

    #[test]
    fn a_manager_that_is_gone_or_does_not_read_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str()).unwrap();
        for _ in 0..10_000 {
            notifier.tell("WATCHDOG=1");
        }
        assert!(notifier.is_deaf.load(Ordering::Relaxed), "its buffer is not that large");
        drop(manager);
        notifier.tell("WATCHDOG=1");
        assert!(Notifier::to(OsStr::new("vsock:2:1")).is_err());
    }

    #[test]
    fn a_status_stays_on_its_line() {
        assert_eq!(one_line("a\nREADY=1"), "a READY=1");
        assert!(monotonic_us() > 0);
    }
}
