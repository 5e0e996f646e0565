//! The times in which something was broken, ready to be asked.

use super::event::Part;
use super::reader::{At, Limits};

/// Disjoint times in order.
#[derive(Debug, Default)]
pub(super) struct Windows(Vec<(At, At)>);

impl Windows {
    /// The union of `windows`.
    pub(super) fn new(mut windows: Vec<(At, At)>) -> Self {
        windows.sort_unstable();
        let mut merged: Vec<(At, At)> = Vec::with_capacity(windows.len());
        for (from, to) in windows {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// Whether any of them has a moment between `from` and `to`, both included.
    pub(super) fn touch(&self, from: At, to: At) -> bool {
        let after = self.0.partition_point(|window| window.0 <= to);
        after > 0 && self.0[after - 1].1 >= from
    }
}

/// All faults of a history.
#[derive(Debug, Default)]
pub(super) struct Faults {
    any: Windows,
    handler: Windows,
    clock: Windows,
    /// Any, with the time in which stale knowledge may still be acted on.
    long: Windows,
}

impl Faults {
    /// In strict judgement nothing is excused.
    pub(super) fn new(faults: &[(Part, At, At)], limits: &Limits, strict: bool) -> Self {
        if strict {
            return Self::default();
        }
        let windows = |part: Option<Part>, more: i64| {
            let wanted = faults.iter().filter(|fault| part.is_none_or(|part| part == fault.0));
            Windows::new(wanted.map(|&(_, from, to)| (from, to.saturating_add(more))).collect())
        };
        Self {
            any: windows(None, 0),
            // What was held on the way may arrive a moment after the way is free.
            handler: windows(Some(Part::Handler), limits.grace),
            clock: windows(Some(Part::Clock), 0),
            long: windows(None, limits.aftermath),
        }
    }

    /// Whether something that went on from `from` to `to` was in flight at a fault.
    pub(super) fn in_flight(&self, from: At, to: At) -> bool {
        self.any.touch(from, to)
    }

    /// Whether a call of a handler or its answer may have been lost or late.
    pub(super) fn answer_lost(&self, from: At, to: At) -> bool {
        self.handler.touch(from, to)
    }

    /// Whether a wait may have been cut short by a clock that jumped.
    pub(super) fn clock_jumped(&self, from: At, to: At) -> bool {
        self.clock.touch(from, to)
    }

    /// Whether someone may act at `at` on what it knew before a fault.
    pub(super) fn stale(&self, at: At) -> bool {
        self.long.touch(at, at)
    }

    /// Whether a fault or its aftermath may have held up something between two moments.
    pub(super) fn held_up(&self, from: At, to: At) -> bool {
        self.long.touch(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_merged_and_found() {
        let windows = Windows::new(vec![(50, 60), (10, 20), (15, 30), (30, 31)]);
        assert_eq!(windows.0, [(10, 31), (50, 60)]);
        for (from, to, expected) in [(0, 9, false), (0, 10, true), (31, 40, true), (32, 49, false), (55, 55, true)] {
            assert_eq!(windows.touch(from, to), expected, "{from}..{to}");
        }
        assert!(windows.touch(0, 100) && !windows.touch(61, 100));
    }
}
