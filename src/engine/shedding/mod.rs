//! Load shedding at work: once a second the facts are gathered and the policy is asked; what it says holds for
//! submits and claims until the next second.
//!
//! Each node judges by its own CPU, memory and runs; the depth of a queue is the same everywhere. What an operator
//! sets by hand holds on all nodes.

mod facts;
mod runs;
mod views;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::handler::Ran;
use crate::job::{NewJob, QueueName};
use crate::ledger::Setting;
use crate::mutant::mutant;
use crate::operations::EventKind;
use crate::policy::catalog::JobType;
use crate::policy::gate::Shed;
use crate::policy::pressure::CpuMeter;
use crate::policy::shedding::{Lane, Mode, Rule, RuleView, Settings, Shedder, Standing, Verdict};
use crate::policy::window::Window;
use crate::service::lock;
use crate::telemetry::metrics;

use super::Refusal;
use super::core::Core;

pub use views::{NodeShedding, QueueShedding, RuleShedding, SetByHand, SheddingFloor, SheddingView};

pub(super) use facts::waiting;
pub(super) use runs::Ended;
pub(super) use views::{own, raise, set, view};

/// Between two looks: what the policy's samples are counted in.
const PERIOD: Duration = Duration::from_secs(1);
/// How many wake-ups a pool may fall behind before it loses the oldest; then it looks anyway.
const WAKES_MAX: usize = 64;
/// The kind of the setting by which an operator overrides the rules, and its only name.
const SETTING: (&str, &str) = ("shedding", "mode");
/// The same of the setting by which a remedy holds a level at least, for a while.
pub(super) const FLOOR: (&str, &str) = ("shedding", "floor");

/// What load shedding knows and has decided.
#[derive(Debug)]
pub(super) struct Shedding {
    /// The start of the clock that its decisions are timed by, which never goes back.
    origin: Instant,
    desk: Mutex<Desk>,
    standing: ArcSwap<Standing>,
    runs: runs::Runs,
    /// Jobs that were refused lately, by queue.
    refused: Mutex<HashMap<QueueName, Window>>,
    /// Names queues whose lanes were opened.
    wakes: broadcast::Sender<QueueName>,
}

#[derive(Debug)]
struct Desk {
    shedder: Shedder,
    cpu: CpuMeter,
}

impl Shedding {
    /// Nothing is refused.
    pub(super) fn new(settings: &Settings) -> Self {
        let shedder = Shedder::new(settings.clone());
        Self {
            origin: Instant::now(),
            standing: ArcSwap::from_pointee(shedder.standing()),
            desk: Mutex::new(Desk { shedder, cpu: CpuMeter::default() }),
            runs: runs::Runs::default(),
            refused: Mutex::default(),
            wakes: broadcast::channel(WAKES_MAX).0,
        }
    }

    /// What holds now.
    pub(super) fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Names each queue in which lanes were opened that were passed over.
    pub(super) fn wakes(&self) -> broadcast::Receiver<QueueName> {
        self.wakes.subscribe()
    }

    /// How the lane of a type is treated, if not as ever.
    pub(super) fn lane(&self, known: &JobType) -> Option<Shed> {
        let standing = self.standing.load();
        let treatment = standing.lane(&known.name, &known.queue);
        let rule = standing.rules(&known.queue).first()?;
        (treatment != Lane::Open).then(|| Shed {
            rule: rule.name().to_owned(),
            level: standing.level(&known.queue),
            is_strict: treatment == Lane::Closed,
        })
    }

    /// Jobs a second that were refused in a queue over the last minute: load that is there all the same.
    pub(super) fn refused_per_s(&self, queue: &QueueName, now: Timestamp) -> f64 {
        lock(&self.refused).get(queue).map_or(0.0, |window| window.rate(now))
    }

    /// Notes a run that ended; `timed_out` where that is why it was stopped.
    pub(super) fn ended(&self, run: &Ended<'_>, ran: &Ran, timed_out: bool) {
        self.runs.ended(run, ran, timed_out);
    }

    /// The time by which decisions are timed.
    fn now(&self) -> Timestamp {
        Timestamp(i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// Watches and decides, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut changes = core.settings.changes();
    let mut due = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = changes.changed() => apply(&core),
            () = tokio::time::sleep_until(due) => {
                due = Instant::now() + PERIOD;
                tick(&core).await;
            }
        }
    }
}

/// Goes by the settings in force: the configured ones, with the mode that an operator may have set.
pub(super) fn apply(core: &Core) {
    let settings = settings(core);
    let standing = {
        let mut desk = lock(&core.shedding.desk);
        desk.shedder.set(settings);
        desk.shedder.standing()
    };
    publish(core, standing);
}

fn settings(core: &Core) -> Settings {
    let configured = core.setup.load().shedding.clone();
    let floor = floor(core).map_or(0, |(_, level)| level);
    Settings { mode: mode(core).unwrap_or(configured.mode), floor, ..configured }
}

/// The level that a remedy holds at least, and the setting that says so.
fn floor(core: &Core) -> Option<(Setting, u8)> {
    let (kind, name) = FLOOR;
    let setting = core.settings.get(kind, name, core.clock.now())?;
    let level = serde_json::from_str::<views::Letter>(&setting.value).ok()?.mode.parse().ok()?;
    Some((setting, level))
}

/// The mode that an operator has set.
fn mode(core: &Core) -> Option<Mode> {
    let (kind, name) = SETTING;
    let setting = core.settings.get(kind, name, core.clock.now())?;
    Mode::parse(&serde_json::from_str::<views::Letter>(&setting.value).ok()?.mode)
}

async fn tick(core: &Core) {
    let setup = core.setup.load_full();
    let depths = facts::depths(core, &setup).await;
    let settings = settings(core);
    let now = core.shedding.now();
    let standing = {
        let mut desk = lock(&core.shedding.desk);
        let facts = facts::gather(core, &setup, &mut desk.cpu, &depths, now);
        desk.shedder.set(settings);
        // The changes are told by what is in force, which an operator may have set.
        let _changes = desk.shedder.tick(&facts, now);
        desk.shedder.standing()
    };
    publish(core, standing);
}

/// Lets a standing hold, tells of what changed, and wakes the pools whose lanes were opened.
fn publish(core: &Core, standing: Standing) {
    let before = core.shedding.standing.swap(Arc::new(standing));
    let after = core.shedding.standing.load();
    for (old, new) in before.rules.iter().zip(&after.rules) {
        tell_rule(old, new, None);
    }
    let setup = core.setup.load();
    for queue in setup.catalog.queues.keys() {
        if let (Some(old), Some(new)) = (before.queues.get(queue), after.queues.get(queue)) {
            tell_rule(&old.depth, &new.depth, Some(queue));
        }
        tell_level(core, &before, &after, queue);
        let is_opened = |known: &JobType| {
            let (old, new) = (before.lane(&known.name, queue), after.lane(&known.name, queue));
            old != new && new != Lane::Closed
        };
        if setup.catalog.types_of(queue).any(is_opened) {
            // Without a pool nobody listens.
            drop(core.shedding.wakes.send(queue.clone()));
        }
        metrics::shed_level(queue.as_str(), after.level(queue));
    }
    let depth_is_active = after.queues.values().any(|queue| queue.depth.active_since.is_some());
    metrics::shed_rule(Rule::QueueDepth.name(), depth_is_active);
    for view in &after.rules {
        metrics::shed_rule(view.rule.name(), view.active_since.is_some());
    }
}

fn tell_rule(old: &RuleView, new: &RuleView, queue: Option<&QueueName>) {
    let (enter, exit) = (new.threshold.enter, new.threshold.exit);
    let (rule, value) = (new.rule, value(new));
    let place = queue.map_or_else(String::new, |queue| format!(" of queue {queue}"));
    match (old.active_since, new.active_since) {
        (None, Some(_)) => tracing::warn!(shed.rule = %rule, shed.value = new.value, shed.enter = enter,
            queue.name = queue.map(QueueName::as_str), "Rule {rule}{place} is active: {value}, above {enter}"),
        (Some(_), None) => tracing::info!(shed.rule = %rule, shed.value = new.value, shed.exit = exit,
            queue.name = queue.map(QueueName::as_str), "Rule {rule}{place} is over: {value}, not above {exit}"),
        _ => {}
    }
}

fn tell_level(core: &Core, before: &Standing, after: &Standing, queue: &QueueName) {
    let (from, to) = (before.level(queue), after.level(queue));
    if from == to {
        return;
    }
    let rules = if to > 0 { after.rules(queue) } else { before.rules(queue) };
    let why = if before.mode == after.mode {
        let of_floor = why_of_floor(core, before, after, queue);
        let measured = rules.iter().map(|rule| after.value_of(rule, queue));
        of_floor.into_iter().chain(measured).collect::<Vec<_>>().join(", ")
    } else {
        format!("shedding is set to {}", after.mode)
    };
    let words = format!("Queue {queue} sheds at level {to} (was {from}): {why}");
    let detail = serde_json::json!({ "from": from, "to": to, "rules": rules.to_string(),
        "is_ordered": before.mode != after.mode });
    core.timeline.note(EventKind::Shedding, queue.as_str(), words, Some(detail));
    if to > from {
        tracing::warn!(queue.name = %queue, shed.level = to, shed.from = from, shed.rules = %rules,
            "Queue {queue} sheds at level {to} (was {from}): {why}");
    } else {
        tracing::info!(queue.name = %queue, shed.level = to, shed.from = from, shed.rules = %rules,
            "Queue {queue} sheds at level {to} (was {from}): {why}");
    }
}

/// What the level that a remedy holds at least has to do with the level of a queue that changed.
fn why_of_floor(core: &Core, before: &Standing, after: &Standing, queue: &QueueName) -> Option<String> {
    if after.floor > 0 && after.rules(queue).contains(Rule::Manual) {
        let by = floor(core).map_or_else(|| "a remedy".to_owned(), |(setting, _)| setting.by);
        return Some(format!("{by} holds level {} at least", after.floor));
    }
    let is_over = before.floor > after.floor && before.rules(queue).contains(Rule::Manual);
    is_over.then(|| format!("a remedy holds level {} no longer", before.floor))
}

fn value(view: &RuleView) -> String {
    view.value.map_or_else(|| "unknown".to_owned(), |value| ((value * 1_000.0).round() / 1_000.0).to_string())
}

/// Refuses what is shed among checked submits, but nothing that is known already: whoever repeats a submit hears what
/// became of it.
pub(super) async fn refuse(core: &Core, checked: &mut [Result<NewJob, Refusal>]) {
    let standing = core.shedding.standing();
    if standing.is_calm() {
        return;
    }
    let shed = |job: &NewJob| match standing.verdict(&job.job_type, job.priority, &job.queue, core.chance.share()) {
        Verdict::Admit => None,
        Verdict::Shed { rule, level } => Some((rule, level)),
    };
    let mut refused: Vec<(usize, Rule, u8)> = Vec::new();
    for (at, job) in checked.iter().enumerate() {
        refused.extend(job.as_ref().ok().and_then(&shed).map(|(rule, level)| (at, rule, level)));
    }
    if refused.is_empty() {
        return;
    }
    let keyed = |at: &usize| checked[*at].as_ref().ok().filter(|job| job.id_given || job.idempotency_key.is_some());
    let asked: Vec<(usize, NewJob)> =
        refused.iter().filter_map(|(at, ..)| keyed(at).map(|job| (*at, job.clone()))).collect();
    let mut known = Vec::new();
    if !asked.is_empty() && !mutant!(duplicates_shed) {
        let jobs: Vec<NewJob> = asked.iter().map(|(_, job)| job.clone()).collect();
        match core.ledger.knows(&jobs).await {
            Ok(answers) => known.extend(asked.iter().zip(answers).filter(|(_, known)| *known).map(|((at, _), _)| *at)),
            // Whether they are known cannot be said; the ledger's own refusal says so.
            Err(error) => {
                core.session.ledger_failed(&error);
                known.extend(asked.iter().map(|(at, _)| *at));
            }
        }
    }
    let now = core.clock.now();
    for (at, rule, level) in refused {
        if known.contains(&at) {
            continue;
        }
        let Ok(job) = &checked[at] else { continue };
        let queue = job.queue.clone();
        core.refused.count(&queue);
        metrics::shed(queue.as_str(), rule.name());
        metrics::admitted(queue.as_str(), "refused", 1);
        lock(&core.shedding.refused).entry(queue.clone()).or_default().record(now, 0, false);
        let wait_s = standing.retry_after_s(&queue, rule, core.chance.share(), core.shedding.now());
        checked[at] = Err(Refusal::Shed { rule: rule.name(), level, queue, retry_after_s: whole_seconds(wait_s) });
    }
}

/// A header holds whole seconds; to the nearest, so that the spread stays one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 72")]
fn whole_seconds(seconds: f64) -> u32 {
    seconds.round().max(1.0) as u32
}
