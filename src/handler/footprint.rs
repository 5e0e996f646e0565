//! What a run takes beside the daemon's own process: the child process group that works for it.
//!
//! The handler that starts a child notes its group here and takes the note back before the group is gone; whoever
//! measures CPU and memory looks it up. It is for looking only: a group is stopped by its handler alone, because a
//! number that was read a moment ago may be somebody else's by now.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// A shared cell with the process group of a run's child, while there is one.
#[derive(Debug, Clone, Default)]
pub struct Footprint(Arc<AtomicI32>);

/// A note that is taken back when this is dropped.
#[derive(Debug)]
pub struct Noted(Footprint);

impl Footprint {
    /// Notes the process group that works for the run from now on.
    #[must_use]
    pub fn note(&self, group: i32) -> Noted {
        self.0.store(group, Ordering::Relaxed);
        Noted(self.clone())
    }

    /// The process group that works for the run, if one does.
    #[must_use]
    pub fn group(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|group| *group > 0)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_known_as_long_as_it_works() {
        let footprint = Footprint::default();
        assert_eq!(footprint.group(), None);
        let noted = footprint.note(4711);
        assert_eq!(footprint.clone().group(), Some(4711));
        drop(noted);
        assert_eq!(footprint.group(), None);
    }
}
