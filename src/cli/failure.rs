//! How a command ends.

use std::io;

/// Done.
pub(super) const DONE: i32 = 0;
/// Failed, and trying again will not help by itself.
pub(super) const FAILED: i32 = 1;
/// The command line is wrong.
pub(super) const USAGE: i32 = 2;
/// No server answered.
pub(super) const UNREACHABLE: i32 = 69;
/// Refused for load or because a store is away: try later.
pub(super) const TRY_LATER: i32 = 75;

/// An exit status, or why the command broke off.
pub(super) type Outcome = Result<i32, Failure>;

/// Why a command broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    status: i32,
    message: Option<String>,
}

impl Failure {
    fn new(status: i32, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()) }
    }

    /// It did not work.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message)
    }

    /// The command line asks for something that cannot be.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// No server answered.
    pub(super) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(UNREACHABLE, message)
    }

    /// The server has too much to do, or lacks a store.
    pub(super) fn try_later(message: impl Into<String>) -> Self {
        Self::new(TRY_LATER, message)
    }

    pub(super) fn status(&self) -> i32 {
        self.status
    }

    /// What to say; nothing where the reader of our output has gone away.
    pub(super) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl From<crate::app::Failure> for Failure {
    fn from(failure: crate::app::Failure) -> Self {
        Self::new(i32::from(failure.status), failure.message)
    }
}

impl From<io::Error> for Failure {
    /// An error of our own output.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { status: DONE, message: None };
        }
        Self::failed(format!("the output cannot be written: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pipe_is_quiet() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.status(), failure.message()), (0, None));
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).status(), 1);
    }
}
