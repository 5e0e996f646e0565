//! The level of one queue: up in quick steps while a rule holds, down in slow ones after.

use crate::clock::Timestamp;

use super::rule::{Rule, RuleSet};
use super::{CRITICAL_LEVEL, Reach};

/// A level, how it came about and when it changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ladder {
    /// How high the ladder has been climbed.
    height: u8,
    /// When that changed, or was last held by a rule that reaches so high.
    held_at: Option<Timestamp>,
    /// The part of it that the rules reach now.
    level: u8,
    changed_at: Option<Timestamp>,
    /// The rules that are active or, while the level falls, were so last.
    rules: RuleSet,
}

impl Ladder {
    /// The level in force.
    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// The rules behind the level.
    pub(super) fn rules(&self) -> RuleSet {
        self.rules
    }

    /// One step at most: up after `up_ms` while an active rule reaches higher, down after `down_ms` in which none
    /// did. What the rules do not reach is not in force, but it is not forgotten at once either: a queue that
    /// is late again soon goes on where it was. The level in force changes every `up_ms` at most, but for
    /// memory near its end, which waits for nothing.
    pub(super) fn step(&mut self, active: RuleSet, reach: Reach, (up_ms, down_ms): (i64, i64), now: Timestamp) {
        if !active.is_empty() {
            self.rules = active;
        }
        let ceiling = self.rules.iter().map(|rule| reach.of(rule)).max().unwrap_or(0);
        let passed = |since: Option<Timestamp>, ms| since.is_none_or(|at| now.since(at) >= ms);
        let is_in_force = self.level == self.height;
        let jumps = reach.memory_is_critical && active.contains(Rule::Memory) && self.level < CRITICAL_LEVEL;
        let may_change = passed(self.changed_at, up_ms);
        if jumps {
            self.height = self.height.max(CRITICAL_LEVEL);
        } else if !active.is_empty() && self.height < ceiling && is_in_force && may_change {
            self.height += 1;
        }
        if active.is_empty() {
            self.height = self.height.min(self.level);
        }
        if !active.is_empty() && self.height <= ceiling {
            self.held_at = Some(now);
        } else if self.height > 0 && passed(self.held_at, down_ms) {
            (self.height, self.held_at) = (self.height - 1, Some(now));
        }
        let level = self.height.min(ceiling);
        if level != self.level && (may_change || jumps) {
            (self.level, self.changed_at) = (level, Some(now));
        }
        if self.height == 0 && active.is_empty() {
            self.rules = RuleSet::default();
        }
    }
}
