//! The autoscaler in closed loop with a queue: M(t)/G/c, event by event.
//!
//! Jobs arrive as a Poisson process whose rate follows a profile, take a random time each, and are run by the workers
//! that the autoscaler gives. It sees what the daemon would see: CPU of each worker, waiting jobs, arrivals, run
//! times, and how full the machine is.

use std::collections::VecDeque;

use ganger::clock::Timestamp;
use ganger::config::{Config, ConfigFile, Sources};
use ganger::job::PoolName;
use ganger::policy::catalog::{Pool, ScaleSignal};
use ganger::policy::scaling::{
    Decision, Direction, Facts, Flow, Headroom, History, Limiter, Override, Reading, Rules, Usage, decide,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Arrivals a second at a second.
type Profile = fn(f64) -> f64;

/// Five minutes of little, then much, then little again.
fn step(at: f64) -> f64 {
    if (300.0..1_800.0).contains(&at) { 3.0 } else { 0.4 }
}

/// Slowly up to the same, and stays.
fn ramp(at: f64) -> f64 {
    (at / 1_200.0).min(1.0) * 3.0
}

/// Up over four minutes and down at once, again and again.
fn sawtooth(at: f64) -> f64 {
    at % 240.0 / 240.0 * 3.0
}

/// The same over twenty minutes, so that the pool shrinks in between.
fn slow_sawtooth(at: f64) -> f64 {
    0.2 + at % 1_200.0 / 1_200.0 * 2.8
}

/// How long jobs take.
#[derive(Debug, Clone, Copy)]
enum Runs {
    /// Memoryless.
    Exponential,
    /// One in ten takes ten times as long as the others.
    Mixed,
    /// All alike.
    Constant,
}

#[derive(Debug, Clone)]
struct Scene {
    profile: Profile,
    runs: Runs,
    /// The mean run time, in seconds.
    run_s: f64,
    /// How often the profile's arrivals come.
    times: f64,
    pool: Pool,
    /// Cores of the machine.
    cores: f64,
    /// What others use of them.
    others: f64,
    /// What a busy worker uses, as a share of `cpu_request`.
    busy_cpu: f64,
    seconds: u32,
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    /// How long each job waited, in seconds, in the order of arrival; what waits at the end included.
    waits: Vec<f64>,
    /// When the target changed (seconds), from what, to what.
    changes: Vec<(f64, usize, usize)>,
    /// Ticks under the veto, and those of them that wanted to grow.
    vetoed: usize,
    held: usize,
    largest: usize,
}

struct Worker {
    /// When its present job ends.
    until: Option<f64>,
    leaving: bool,
    /// Seconds of work since the last look.
    worked: f64,
    usage: Usage,
}

struct World {
    scene: Scene,
    rules: Rules,
    dice: SmallRng,
    workers: Vec<Worker>,
    waiting: VecDeque<f64>,
    arrivals: VecDeque<f64>,
    runs: VecDeque<f64>,
    outcome: Outcome,
}

fn defaults() -> Config {
    Config::load(&Sources { files: Vec::<ConfigFile>::new(), ..Sources::default() }).unwrap()
}

/// The runbook's plan pool, 2 to 10, with what it scales on.
fn plan(scale_on: &[ScaleSignal]) -> Pool {
    let pool = defaults().catalog.pools[&PoolName::new("plan-workers").unwrap()].clone();
    assert_eq!((pool.min, pool.max), (2, 10));
    Pool { scale_on: scale_on.to_vec(), ..pool }
}

fn scene(profile: Profile, runs: Runs, scale_on: &[ScaleSignal]) -> Scene {
    let pool = plan(scale_on);
    // Five jobs a worker, which is what "queue_depth" aims at, wait five run times: short of the SLA here too.
    let (run_s, times) = if scale_on == [ScaleSignal::QueueDepth] { (1.6, 1.5) } else { (2.4, 1.0) };
    Scene { profile, runs, run_s, times, pool, cores: 16.0, others: 0.2, busy_cpu: 1.0, seconds: 3_600 }
}

impl World {
    fn new(scene: Scene, seed: u64) -> Self {
        let workers = (0..scene.pool.min).map(|_| Worker::hired(0.0)).collect();
        let (waiting, arrivals, runs) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let (rules, dice) = (defaults().scaling, SmallRng::seed_from_u64(seed));
        Self { scene, rules, dice, workers, waiting, arrivals, runs, outcome: Outcome::default() }
    }

    /// A draw from the exponential distribution.
    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.dice.random::<f64>()).ln()
    }

    fn run_time(&mut self) -> f64 {
        let mean = self.scene.run_s;
        match self.scene.runs {
            Runs::Exponential => self.exponential(mean),
            Runs::Constant => mean,
            // 0.9 * short + 0.1 * 10 * short
            Runs::Mixed if self.dice.random::<f64>() < 0.1 => mean / 1.9 * 10.0,
            Runs::Mixed => mean / 1.9,
        }
    }

    /// The next arrival after `at`: by thinning a process at the highest rate.
    fn next_arrival(&mut self, mut at: f64) -> f64 {
        const MOST: f64 = 12.0;
        loop {
            at += self.exponential(1.0 / MOST);
            if self.dice.random::<f64>() * MOST < self.scene.times * (self.scene.profile)(at)
                || at > f64::from(self.scene.seconds)
            {
                return at;
            }
        }
    }

    /// Gives waiting jobs to idle workers.
    fn start_jobs(&mut self, now: f64) {
        while let Some(at) = self.workers.iter().position(|worker| worker.until.is_none() && !worker.leaving) {
            let Some(arrived) = self.waiting.pop_front() else { return };
            self.outcome.waits.push(now - arrived);
            let run_s = self.run_time();
            self.runs.push_back(run_s);
            if self.runs.len() > 200 {
                self.runs.pop_front();
            }
            self.workers[at].until = Some(now + run_s);
        }
    }

    /// Work goes on from `from` to `to`; nothing ends in between.
    fn work(&mut self, from: f64, to: f64) {
        for worker in self.workers.iter_mut().filter(|worker| worker.until.is_some()) {
            worker.worked += to - from;
        }
    }

    /// What the daemon would see.
    fn facts(&mut self, now: f64, tick_s: f64) -> Facts {
        self.arrivals.retain(|at| *at > now - 60.0);
        let Scene { cores, others, busy_cpu, ref pool, .. } = self.scene;
        let at = stamp(now);
        let mut used = others;
        for worker in &mut self.workers {
            let cpu_s = worker.worked * busy_cpu * pool.cpu_request;
            worker.usage.note(&self.rules, cpu_s, at);
            worker.worked = 0.0;
            used += cpu_s / tick_s;
        }
        let staying = self.workers.iter().filter(|worker| !worker.leaving);
        let cores_each: Vec<Option<f64>> = staying.clone().map(|it| it.usage.cores(&self.rules, at)).collect();
        let cpu = cores_each.iter().map(|cores| cores.map(|cores| cores / pool.cpu_request)).collect();
        let run_s = self.runs.iter().sum::<f64>() / self.runs.len().max(1) as f64;
        let flow = Flow { arrivals_per_s: self.arrivals.len() as f64 / now.min(60.0), run_s };
        let known: Vec<f64> = cores_each.iter().flatten().copied().collect();
        let each = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        let busy = staying.filter(|worker| worker.until.is_some()).count();
        Facts {
            cpu: Reading::Value(cpu),
            memory: Reading::NoSource,
            waiting: Reading::Value(self.waiting.len() as f64),
            shed_per_s: 0.0,
            busy,
            flow: if self.runs.is_empty() { Reading::NoSource } else { Reading::Value(flow) },
            headroom: Headroom {
                cores: Some(cores),
                cpu_pressure: Some((used / cores).min(1.0)),
                cpu_per_worker: each,
                ..Headroom::default()
            },
        }
    }

    /// Hires at once; idle workers leave at once, busy ones after their job.
    fn resize(&mut self, target: usize, now: f64) {
        let staying = self.workers.iter().filter(|worker| !worker.leaving).count();
        self.workers.extend((staying..target).map(|_| Worker::hired(now)));
        let mut surplus = staying.saturating_sub(target);
        for idle in [true, false] {
            for worker in self.workers.iter_mut().rev().filter(|w| !w.leaving && w.until.is_none() == idle) {
                if surplus > 0 {
                    worker.leaving = true;
                    surplus -= 1;
                }
            }
        }
        self.workers.retain(|worker| !worker.leaving || worker.until.is_some());
    }

    fn note(&mut self, now: f64, facts: &Facts, decision: &Decision) {
        let outcome = &mut self.outcome;
        outcome.largest = outcome.largest.max(decision.target);
        if decision.direction != Direction::Hold {
            outcome.changes.push((now, decision.current, decision.target));
        }
        if facts.headroom.cpu_pressure >= Some(self.rules.cpu_headroom) {
            outcome.vetoed += 1;
            outcome.held += usize::from(decision.limiter == Limiter::Headroom);
            assert_ne!(decision.direction, Direction::Up, "at {now}: {}", decision.reason);
        }
    }

    fn play(mut self) -> Outcome {
        let tick_s = self.rules.tick_ms as f64 / 1_000.0;
        let mut history = History::seeded(self.scene.pool.min, Timestamp(0));
        let (mut now, mut arrival, mut look) = (0.0, self.next_arrival(0.0), tick_s);
        while now < f64::from(self.scene.seconds) {
            let ending = self.workers.iter().filter_map(|worker| worker.until).fold(f64::INFINITY, f64::min);
            let next = arrival.min(look).min(ending);
            self.work(now, next);
            now = next;
            if now == ending {
                let ended = self.workers.iter_mut().find(|worker| worker.until == Some(now)).unwrap();
                ended.until = None;
                self.workers.retain(|worker| !worker.leaving || worker.until.is_some());
            } else if now == arrival {
                self.waiting.push_back(now);
                self.arrivals.push_back(now);
                arrival = self.next_arrival(now);
            } else {
                let facts = self.facts(now, tick_s);
                let at = stamp(now);
                let decision = decide(&self.rules, &self.scene.pool, &Override::default(), &history, &facts, at);
                history.note(&self.rules, &decision, at);
                self.note(now, &facts, &decision);
                self.resize(decision.target, now);
                look += tick_s;
            }
            self.start_jobs(now);
        }
        let left: Vec<f64> = self.waiting.iter().map(|arrived| now - arrived).collect();
        self.outcome.waits.extend(left);
        self.outcome
    }
}

fn stamp(seconds: f64) -> Timestamp {
    Timestamp((seconds * 1_000.0) as i64)
}

impl Worker {
    fn hired(at: f64) -> Self {
        Self { until: None, leaving: false, worked: 0.0, usage: Usage::of_new(stamp(at)) }
    }
}

impl Outcome {
    /// The wait that a share `q` of the jobs stays below, in seconds.
    fn wait(&self, q: f64) -> f64 {
        let mut waits = self.waits.clone();
        waits.sort_by(f64::total_cmp);
        waits[((waits.len() - 1) as f64 * q) as usize]
    }

    /// The most changes of direction within ten minutes.
    fn turns(&self) -> usize {
        let up = |change: &(f64, usize, usize)| change.2 > change.1;
        let turns: Vec<f64> =
            self.changes.windows(2).filter(|pair| up(&pair[0]) != up(&pair[1])).map(|pair| pair[1].0).collect();
        turns
            .iter()
            .map(|from| turns.iter().filter(|at| (*from..*from + 600.0).contains(*at)).count())
            .max()
            .unwrap_or(0)
    }

    fn summary(&self) -> String {
        let (half, most) = (self.wait(0.5), self.wait(1.0));
        let (turns, changes, largest) = (self.turns(), self.changes.len(), self.largest);
        format!(
            "{} jobs, wait p50 {half:.2} p99 {:.2} max {most:.2} s, {changes} changes, {turns} turns in 10 min, up to \
             {largest} workers, vetoed {} held {}",
            self.waits.len(),
            self.wait(0.99),
            self.vetoed,
            self.held
        )
    }
}

/// The plan queue's SLA, in seconds.
const SLA_S: f64 = 12.0;
const SEEDS: u64 = 4;

#[test]
fn the_wait_stays_within_the_sla_and_the_pool_is_calm() {
    use ScaleSignal::{Cpu, Latency, QueueDepth};
    let profiles: [(&str, Profile); 4] =
        [("step", step), ("ramp", ramp), ("sawtooth", sawtooth), ("slow sawtooth", slow_sawtooth)];
    let signals: [&[ScaleSignal]; 3] = [&[Cpu, QueueDepth], &[QueueDepth], &[Cpu, QueueDepth, Latency]];
    for (name, profile) in profiles {
        for runs in [Runs::Exponential, Runs::Mixed, Runs::Constant] {
            for scale_on in signals {
                let mut worst = (0.0_f64, 0.0_f64, 0);
                for seed in 0..SEEDS {
                    let outcome = World::new(scene(profile, runs, scale_on), seed).play();
                    let told = format!("{name}, {runs:?}, {scale_on:?}, seed {seed}: {}", outcome.summary());
                    worst =
                        (worst.0.max(outcome.wait(0.99)), worst.1.max(outcome.wait(1.0)), worst.2.max(outcome.turns()));
                    assert!(outcome.wait(0.99) <= SLA_S, "{told}");
                    assert!(outcome.turns() <= 2, "{told}\n{:?}", outcome.changes);
                }
                println!(
                    "{name}, {runs:?}, {scale_on:?}: worst p99 {:.2} s, max {:.2} s, {} turns",
                    worst.0, worst.1, worst.2
                );
            }
        }
    }
}

/// Workers that burn cores on a machine with few of them: growing would only make it worse.
#[test]
fn nothing_grows_on_a_machine_that_is_full() {
    for seed in 0..SEEDS {
        let flood = Scene { cores: 2.0, others: 0.3, ..scene(step, Runs::Exponential, &[ScaleSignal::QueueDepth]) };
        let outcome = World::new(flood, seed).play();
        let told = outcome.summary();
        assert!(outcome.vetoed > 0 && outcome.held > 0 && outcome.largest < 10, "seed {seed}: {told}");
        assert!(outcome.turns() <= 2, "seed {seed}: {told}\n{:?}", outcome.changes);
    }
}

/// Where all ten workers are not enough, all ten work, without a pause in between.
#[test]
fn a_flood_beyond_all_capacity_keeps_every_worker() {
    let flood =
        Scene { run_s: 6.0, ..scene(|at| if at > 60.0 { 3.0 } else { 0.1 }, Runs::Mixed, &[ScaleSignal::QueueDepth]) };
    let outcome = World::new(flood, 1).play();
    assert_eq!((outcome.largest, outcome.turns()), (10, 0), "{}", outcome.summary());
    assert!(outcome.changes.iter().all(|(_, from, to)| to > from), "{:?}", outcome.changes);
}
