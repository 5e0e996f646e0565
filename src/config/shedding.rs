//! `[shedding]`: the rules, each with a value to enter and a lower one to exit.

use std::collections::BTreeSet;

use crate::job::TypeName;
use crate::policy::shedding::{LEVEL_MAX, Mode, Settings, Threshold};

use super::DURATION_MS_MAX;
use super::clash::clash;
use super::reader::Section;

/// More waiting jobs than any broker holds.
const DEPTH_MAX: u64 = 1_000_000_000;
/// Samples above its value, a second apart, that a rule needs: the steadier the figure, the fewer.
const SAMPLES: Samples = Samples { cpu: 3, memory: 1, queue_depth: 2, error_rate: 2, response_time_p95: 2 };

struct Samples {
    cpu: u32,
    memory: u32,
    queue_depth: u32,
    error_rate: u32,
    response_time_p95: u32,
}

/// Where a rule exits by default, as a share of where it enters.
mod exit {
    pub(super) const CPU: f64 = 0.85 / 0.95;
    pub(super) const MEMORY: f64 = 0.82 / 0.90;
    pub(super) const QUEUE_DEPTH: f64 = 0.8;
    pub(super) const ERROR_RATE: f64 = 0.5;
    pub(super) const RESPONSE_TIME: f64 = 20.0 / 30.0;
}

pub(super) fn read(section: &Section<'_>, types: &BTreeSet<&TypeName>) -> Settings {
    let share = |name: &str| section.number(name, 0.0, 1.0);
    let exit_share = |name: &str| section.number_from_zero(name, 1.0);
    let count = |name: &str, min, max| as_f64(section.integer(name, min, max));
    let ms = |name: &str, min| signed(section.integer(name, min, DURATION_MS_MAX));
    let (dwell_ms, runs_dwell_ms) = (ms("dwell_ms", 0), ms("runs_dwell_ms", 0));
    let memory = share("memory");
    let rule = |keys: (&str, &str), enter: f64, exit: f64, proportion: f64, samples, dwell_ms| Threshold {
        enter,
        exit: below(section, keys, enter, exit, proportion),
        samples,
        dwell_ms,
    };
    let depth = ("queue_depth", "queue_depth_exit");
    let response = ("response_time_p95_ms", "response_time_p95_exit_ms");
    let read = Settings {
        mode: mode(section),
        // Only a remedy sets one, for a while.
        floor: 0,
        cpu: rule(("cpu", "cpu_exit"), share("cpu"), exit_share("cpu_exit"), exit::CPU, SAMPLES.cpu, dwell_ms),
        memory: rule(
            ("memory", "memory_exit"),
            memory,
            exit_share("memory_exit"),
            exit::MEMORY,
            SAMPLES.memory,
            dwell_ms,
        ),
        memory_critical: critical(section, share("memory_critical"), memory),
        queue_depth: rule(
            depth,
            count(depth.0, 1, DEPTH_MAX),
            count(depth.1, 0, DEPTH_MAX),
            exit::QUEUE_DEPTH,
            SAMPLES.queue_depth,
            dwell_ms,
        ),
        error_rate: rule(
            ("error_rate", "error_rate_exit"),
            share("error_rate"),
            exit_share("error_rate_exit"),
            exit::ERROR_RATE,
            SAMPLES.error_rate,
            runs_dwell_ms,
        ),
        response_time_p95: rule(
            response,
            count(response.0, 1, DURATION_MS_MAX),
            count(response.1, 0, DURATION_MS_MAX),
            exit::RESPONSE_TIME,
            SAMPLES.response_time_p95,
            runs_dwell_ms,
        ),
        first: first(section, types),
        samples_min: section.integer("samples_min", 1, 1_000_000),
        step_up_ms: ms("step_up_ms", 1),
        step_down_ms: ms("step_down_ms", 1),
        probe_share: section.number_from_zero("probe_share", 1.0),
    };
    section.finish();
    read
}

/// Where a rule exits: as said and below where it enters, or by default in proportion to that.
fn below(section: &Section<'_>, (key, exit_key): (&str, &str), enter: f64, exit: f64, proportion: f64) -> f64 {
    if exit <= 0.0 {
        return enter * proportion;
    }
    if exit >= enter {
        let remark = format!("; 0 in `{exit_key}` stands for a share of `{key}`");
        clash(&section.says(exit_key, exit), ["not below", "not above"], &section.says(key, enter), &remark);
    }
    exit
}

/// Where memory is critical: the default gives way to a higher `memory`, an operator's word is held to it.
fn critical(section: &Section<'_>, critical: f64, memory: f64) -> f64 {
    if critical < memory && !section.is_default("memory_critical") {
        let (critical, memory) = (section.says("memory_critical", critical), section.says("memory", memory));
        clash(&critical, ["below", "above"], &memory, "");
    }
    critical.max(memory)
}

fn mode(section: &Section<'_>) -> Mode {
    let word = section.word("mode");
    Mode::parse(&word).unwrap_or_else(|| {
        section.problem("mode", format!("{word:?} is no mode; expected \"auto\", \"off\" or 1 to {LEVEL_MAX}"));
        Mode::Auto
    })
}

fn first(section: &Section<'_>, types: &BTreeSet<&TypeName>) -> BTreeSet<TypeName> {
    let mut first = BTreeSet::new();
    for name in section.texts("first") {
        match types.iter().find(|known| known.as_str() == name) {
            Some(known) => {
                first.insert((*known).clone());
            }
            None => section.problem("first", format!("there is no job type {name:?}")),
        }
    }
    first
}

#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^52")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
