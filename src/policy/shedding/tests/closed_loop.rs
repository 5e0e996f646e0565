//! A queue that is offered three times what it can do, and what shedding makes of it.
//!
//! Fifty workers take half a second for a job, so 100 jobs a second get done; 300 are offered: a fifth critical, three
//! tenths normal, half of a type that goes first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::policy::pressure::{CpuMeter, CpuReading};
use crate::policy::window::Window;

const WORKERS: usize = 50;
const RUN_MS: i64 = 500;
/// Jobs a second that get done at best.
const PEAK: usize = 100;
const STEP_MS: i64 = 100;
const SLA_MS: i64 = 12_000;
/// Type, priority, slack, and how many of ten.
const MIX: [(&str, u64, i64, usize); 3] = [("urgent", 1, 2_000, 2), ("usual", 3, 6_000, 3), ("batch", 3, 6_000, 5)];

/// What the work is made of.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    /// Calculation: full workers are a full CPU.
    Cpu,
    /// Waiting for others.
    Waiting,
}

#[derive(Debug, Default)]
struct Told {
    offered: [usize; 3],
    admitted: [usize; 3],
    done: [usize; 3],
    in_time: [usize; 3],
    /// Done within the time of overload, after its first half minute.
    done_under_load: usize,
    refused: BTreeMap<&'static str, usize>,
    retry_after: (f64, f64),
    inversions: usize,
    levels: [usize; 6],
    highest_delay_ms: i64,
    /// From the last rule's exit to level 0, in seconds.
    back_after_s: Option<i64>,
}

/// Seconds of overload.
const OVERLOAD_S: i64 = 600;
/// When it begins.
const BEGIN_S: i64 = 30;

struct Site {
    work: Work,
    shedder: Shedder,
    lanes: [BinaryHeap<Reverse<(i64, i64)>>; 3],
    running: Vec<(i64, usize, i64)>,
    cpu: CpuMeter,
    busy_ms: usize,
    responses: Window,
    finished: Vec<i64>,
    told: Told,
    /// Refused and admitted classes since the last tick.
    seen: ([bool; 3], [bool; 3]),
    last_active_s: i64,
}

impl Site {
    fn arrive(&mut self, now: i64, tenths: usize) {
        let standing = self.shedder.standing();
        for (class, &(job_type, priority, slack, share)) in MIX.iter().enumerate() {
            for at in 0..share * tenths {
                self.told.offered[class] += 1;
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let roll = (at as f64 + 0.5) / (share * tenths) as f64;
                match verdict(&standing, job_type, priority, roll) {
                    Verdict::Admit => {
                        self.told.admitted[class] += 1;
                        self.seen.1[class] = true;
                        self.lanes[class].push(Reverse((now + slack, now)));
                    }
                    Verdict::Shed { rule, .. } => {
                        *self.told.refused.entry(rule.name()).or_default() += 1;
                        self.seen.0[class] = true;
                        let after = standing.retry_after_s(&name("plan"), rule, roll, Timestamp(now));
                        let (least, most) = self.told.retry_after;
                        self.told.retry_after = (least.min(after), most.max(after));
                    }
                }
            }
        }
    }

    fn work(&mut self, now: i64) {
        let mut running = std::mem::take(&mut self.running);
        running.retain(|&(ends, class, due)| {
            if ends > now {
                return true;
            }
            self.told.done[class] += 1;
            self.told.in_time[class] += usize::from(now - due <= SLA_MS);
            self.told.done_under_load +=
                usize::from(((BEGIN_S + 30) * 1_000..=(BEGIN_S + OVERLOAD_S) * 1_000).contains(&now));
            self.responses.record(Timestamp(now), now - due, false);
            self.finished.push(now);
            false
        });
        self.running = running;
        let standing = self.shedder.standing();
        for treatment in [Lane::Open, Lane::Last] {
            let lanes: Vec<usize> = (0..3)
                .filter(|class| standing.lane(&TypeName::stored(MIX[*class].0), &name("plan")) == treatment)
                .collect();
            while self.running.len() < WORKERS {
                let first =
                    lanes.iter().filter_map(|lane| self.lanes[*lane].peek().map(|Reverse(job)| (job.0, *lane))).min();
                let Some((_, lane)) = first else { break };
                let Some(Reverse((_, due))) = self.lanes[lane].pop() else { break };
                self.running.push((now + RUN_MS, lane, due));
            }
        }
        self.busy_ms += self.running.len() * usize::try_from(STEP_MS).unwrap();
    }

    #[expect(clippy::cast_precision_loss, reason = "small")]
    fn tick(&mut self, now: i64) {
        let (refused, admitted) = std::mem::take(&mut self.seen);
        // Least important first: batch, usual, urgent.
        let inverted = (refused[1] && admitted[2]) || (refused[0] && (admitted[1] || admitted[2]));
        self.told.inversions += usize::from(inverted);
        let standing = self.shedder.standing();
        let open = (0..3).filter(|lane| standing.lane(&TypeName::stored(MIX[*lane].0), &name("plan")) == Lane::Open);
        let head = open.filter_map(|lane| self.lanes[lane].peek().map(|Reverse((_, due))| now - due)).min();
        let depth = self.lanes.iter().map(|lane| lane.len() as u64).sum();
        self.finished.retain(|at| now - at < 60_000);
        let facts = QueueFacts {
            depth: Some(depth),
            delay_ms: Some(head.unwrap_or(0)),
            sla_ms: Some(SLA_MS.unsigned_abs()),
            drained_per_s: self.finished.len() as f64 / 60.0,
        };
        self.told.highest_delay_ms = self.told.highest_delay_ms.max(head.unwrap_or(0));
        let used_s = if self.work == Work::Cpu { self.busy_ms as f64 / 1_000.0 } else { 0.0 };
        let reading = CpuReading { at: Timestamp(now), used_s, cores: WORKERS as f64 };
        let enough = self.responses.count(Timestamp(now)) >= 20;
        let facts = Facts {
            cpu: self.cpu.read(Some(reading)),
            memory: Some(0.4),
            error_rate: Some(0.0),
            response_time_p95_ms: self.responses.quantile_ms(0.95, Timestamp(now)).filter(|_| enough),
            queues: BTreeMap::from([(name("plan"), facts)]),
        };
        self.shedder.tick(&facts, Timestamp(now));
        let standing = self.shedder.standing();
        let level = standing.level(&name("plan"));
        self.told.levels[usize::from(level)] += 1;
        let depth_is_active = standing.queues[&name("plan")].depth.active_since.is_some();
        let active = depth_is_active || standing.rules.iter().any(|rule| rule.active_since.is_some());
        let after = now / 1_000 > BEGIN_S + OVERLOAD_S;
        if active {
            self.last_active_s = now / 1_000;
            self.told.back_after_s = None;
        } else if after && level == 0 && self.told.back_after_s.is_none() {
            self.told.back_after_s = Some(now / 1_000 - self.last_active_s);
        }
    }
}

fn play(work: Work, then_tenths: usize) -> Told {
    let mut site = Site {
        work,
        shedder: Shedder::new(settings()),
        lanes: Default::default(),
        running: Vec::new(),
        cpu: CpuMeter::default(),
        busy_ms: 0,
        responses: Window::default(),
        finished: Vec::new(),
        told: Told { retry_after: (f64::MAX, 0.0), ..Told::default() },
        seen: Default::default(),
        last_active_s: 0,
    };
    let steps = (BEGIN_S + OVERLOAD_S + 900) * 10;
    for step in 0..steps {
        let now = step * STEP_MS;
        // Ten jobs make one tenth of a step's capacity: 1 is 100 a second.
        let overload = (BEGIN_S..BEGIN_S + OVERLOAD_S).contains(&(now / 1_000));
        match (overload, step % 2) {
            (true, _) => site.arrive(now, 3),
            (false, 0) if step < steps - 100 => site.arrive(now, then_tenths),
            _ => {}
        }
        site.work(now);
        if step % 10 == 9 {
            site.tick(now);
        }
    }
    site.told
}

fn judge(told: &Told) {
    println!("{told:?}");
    let seconds = usize::try_from(OVERLOAD_S - 30).unwrap();
    let goodput = told.done_under_load * 100 / (PEAK * seconds);
    assert_eq!(told.admitted[0], told.offered[0], "critical jobs are never refused");
    assert!(told.done[0] * 100 >= told.offered[0] * 99, "and they are done");
    assert_eq!(told.done, told.admitted, "what was accepted is done in the end");
    assert!(goodput >= 90, "{goodput} % of the peak");
    let refused: usize = told.refused.values().sum();
    assert_eq!(refused, told.offered.iter().sum::<usize>() - told.admitted.iter().sum::<usize>());
    assert!(refused > 0 && !told.refused.contains_key("manual"));
    assert!(told.retry_after.0 >= 0.8 && told.retry_after.1 <= 72.0, "{:?}", told.retry_after);
    assert_eq!(told.inversions, 0);
    assert!(told.back_after_s.is_some_and(|seconds| seconds <= 240), "{:?} s", told.back_after_s);
}

#[test]
fn work_that_fills_the_cpu_keeps_its_urgent_jobs() {
    let told = play(Work::Cpu, 1);
    judge(&told);
    assert!(told.refused.contains_key("cpu"));
    assert!(told.in_time[0] * 100 >= told.offered[0] * 85, "most urgent jobs are even within the SLA");
}

#[test]
fn work_that_waits_for_others_keeps_its_urgent_jobs() {
    let told = play(Work::Waiting, 1);
    judge(&told);
    assert!(told.refused.contains_key("queue_depth") && told.refused.contains_key("response_time_p95"));
}
