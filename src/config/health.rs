//! `[health]`: when a worker or the node counts as sick.

use crate::policy::health::{HealthRules, WorkerLimits};

use super::clash::clash;
use super::reader::Section;
use super::{DURATION_MS_MAX, HandlersConfig};

/// More checks in a row than this are no check at all.
const CHECKS_MAX: u64 = 1_000;
/// The longest pause between checks, and the longest patience with a silent handler: an hour.
const PAUSE_MS_MAX: u64 = 3_600_000;
/// More memory than any machine has, in bytes: 1 PiB.
const MEMORY_BYTES_MAX: u64 = 1 << 50;

pub(super) fn read(section: &Section<'_>, handlers: HandlersConfig, handlers_section: &Section<'_>) -> HealthRules {
    let count = |key| u32::try_from(section.integer(key, 1, CHECKS_MAX)).unwrap_or(u32::MAX);
    let rules = HealthRules {
        check_ms: section.integer("check_ms", 100, PAUSE_MS_MAX),
        unhealthy_after: count("unhealthy_after"),
        healthy_after: count("healthy_after"),
        memory: section.number("memory", 0.0, 1.0),
        success_rate: section.number("success_rate", 0.0, 1.0),
        samples_min: section.integer("samples_min", 1, 1_000_000),
        hung_after_ms: section.integer("hung_after_ms", 100, PAUSE_MS_MAX),
        replace_share: section.number("replace_share", 0.0, 1.0),
        replace_window_ms: section.integer("replace_window_ms", 1, DURATION_MS_MAX),
        panic_share: section.number("panic_share", 0.0, 1.0),
    };
    let term_grace_ms = handlers.term_grace_ms;
    if rules.hung_after_ms <= term_grace_ms {
        let hung = section.says("hung_after_ms", rules.hung_after_ms);
        let grace = handlers_section.says("term_grace_ms", term_grace_ms);
        clash(&hung, ["not above", "not below"], &grace, ": a command that cleans up would count as hung");
    }
    section.finish();
    rules
}

/// What a pool allows each worker.
pub(super) fn worker_limits(section: &Section<'_>) -> WorkerLimits {
    let limits = WorkerLimits {
        memory_bytes: section.integer("worker_memory_bytes", 0, MEMORY_BYTES_MAX),
        recycle_after_jobs: section.integer("recycle_after_jobs", 0, u64::MAX >> 1),
        recycle_memory_bytes: section.integer("recycle_memory_bytes", 0, MEMORY_BYTES_MAX),
    };
    let WorkerLimits { memory_bytes: most, recycle_memory_bytes: soon, .. } = limits;
    if most > 0 && soon >= most {
        let (soon, most) = (section.says("recycle_memory_bytes", soon), section.says("worker_memory_bytes", most));
        clash(&soon, ["not below", "not above"], &most, ": its jobs are killed before");
    }
    limits
}
