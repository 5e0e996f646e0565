//! Workers as operators see them: lists over all nodes, and orders to drain or replace one.
//!
//! A node shows its own workers as they are and those of others as their last heartbeat told. An order to another
//! node is a setting in the ledger, carried out and dropped by the node that it is for; whoever gave it waits for
//! that, for a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::WorkerName;
use crate::ledger::Setting;

use super::core::Core;
use super::post::Post;
use super::report::{self, Reported};
use super::{Refusal, settings};

/// The kind of setting that an order to another node is.
const KIND: &str = "worker";
/// How long an order to another node holds, in milliseconds: a node that comes back later should not obey it.
const ORDER_TTL_MS: i64 = 60_000;
/// How long a crew of this node may take to obey.
const LOCAL_PATIENCE: Duration = Duration::from_secs(5);
/// How long another node may take if nobody says for how long to wait: it reads its orders about once a second.
const REMOTE_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at what other nodes tell.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Between two heartbeats asked for while somebody waits for another node's worker.
const SPEAK_PERIOD: Duration = Duration::from_secs(1);
/// Workers that a heartbeat tells of: more would make its row too large to write every few seconds.
const TOLD_MAX: usize = 1_000;

/// What is to be done with a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerOrder {
    /// A replacement starts, the worker finishes its job and leaves.
    Drain,
    /// A replacement starts, the worker's job is stopped and given back.
    Replace,
}

/// An order on its way to a crew.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) worker: WorkerName,
    /// Which worker of that name.
    pub(super) hired_at: Timestamp,
    pub(super) what: WorkerOrder,
    pub(super) by: String,
    /// Why; may be empty.
    pub(super) reason: String,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It waits for a job.
    Idle,
    /// It runs one.
    Busy,
    /// It takes no more jobs and leaves after the one it has.
    Draining,
    /// Its handler does not answer.
    Hung,
}

/// A worker as the API shows it. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// The node it works on; told once for all of a node.
    #[serde(skip)]
    pub node: String,
    /// Its name, unique on its node at any time; used again.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// What it does.
    pub state: WorkerState,
    /// Since when it runs its job, or is idle.
    pub since_ms: i64,
    /// When it was hired.
    pub hired_ms: i64,
    /// The id and type of the job that it runs.
    pub job: Option<(String, String)>,
    /// Jobs that it has finished.
    pub jobs_done: u64,
    /// What the child processes of its job hold in memory, where that was measured.
    pub memory_bytes: Option<u64>,
    /// What is wrong with it, if something is.
    pub why: Option<String>,
    /// Who was hired in its place.
    pub replaced_by: Option<String>,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The worker.
    pub worker: WorkerView,
    /// Whether its crew is known to have taken the order.
    pub obeyed: bool,
    /// Whether it has left.
    pub left: bool,
    /// When its node was last heard of; `None` for the node that answers.
    pub heard_at: Option<Timestamp>,
}

/// An order to another node, as its setting has it.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    action: WorkerOrder,
    hired_ms: i64,
    reason: String,
}

impl WorkerOrder {
    /// Its word: `drain` or `replace`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Replace => "replace",
        }
    }
}

impl fmt::Display for WorkerOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl WorkerState {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Hung => "hung",
        }
    }
}

impl WorkerView {
    /// How it is called where several nodes are: `node:name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}:{}", self.node, self.name)
    }

    fn is(&self, other: &Self) -> bool {
        (&self.node, &self.name, self.hired_ms) == (&other.node, &other.name, other.hired_ms)
    }
}

/// The workers of this node, those that are not idle first when there are too many to tell of.
pub(super) fn to_tell(core: &Core) -> Vec<WorkerView> {
    let mut workers = here(core);
    if workers.len() > TOLD_MAX {
        workers.sort_by_key(|worker| worker.state == WorkerState::Idle);
        workers.truncate(TOLD_MAX);
    }
    workers
}

/// The workers of this node as they are.
fn here(core: &Core) -> Vec<WorkerView> {
    core.roster.posts().iter().map(|post| view(core, post)).collect()
}

fn view(core: &Core, post: &Post) -> WorkerView {
    let setup = core.setup.load();
    let look = post.look();
    let is_lost = look.leaving.as_ref().is_some_and(|leaving| leaving.is_lost);
    let is_hung = is_lost || post.is_hung(&setup.health);
    let state = match (&look.leaving, &look.run) {
        _ if is_hung => WorkerState::Hung,
        (Some(_), _) => WorkerState::Draining,
        (None, Some(_)) => WorkerState::Busy,
        (None, None) => WorkerState::Idle,
    };
    let hung = is_hung.then_some(crate::policy::health::Why::Hung);
    WorkerView {
        node: core.params.node_name.clone(),
        name: post.name.to_string(),
        pool: post.pool.to_string(),
        state,
        since_ms: look.since.millis(),
        hired_ms: post.hired_at.millis(),
        job: look.run.map(|run| (run.id.to_string(), run.job_type.to_string())),
        jobs_done: look.jobs_done,
        memory_bytes: look.memory_bytes,
        why: hung.or(look.sick).map(|why| why.to_string()),
        replaced_by: look.leaving.and_then(|leaving| leaving.replaced_by).map(|name| name.to_string()),
    }
}

/// The workers of all nodes that live: this one's as they are, the others' as they last told.
pub(super) fn everywhere(core: &Core) -> Vec<WorkerView> {
    let mut workers = here(core);
    for Reported { name: node, report, .. } in report::all(core).into_iter().skip(1) {
        workers.extend(report.workers.into_iter().map(|worker| WorkerView { node: node.clone(), ..worker }));
    }
    workers.sort_by(|one, other| (&one.node, &one.pool, number(one)).cmp(&(&other.node, &other.pool, number(other))));
    workers
}

/// Its number, so that the tenth comes after the ninth, and its name.
fn number(worker: &WorkerView) -> (Option<u64>, &str) {
    (worker.name.rsplit('-').next().and_then(|tail| tail.parse().ok()), &worker.name)
}

/// The one worker of that name: `node:name`, or a bare name that only one node has.
pub(super) fn find(core: &Core, asked: &str) -> Result<WorkerView, Refusal> {
    let workers = everywhere(core);
    let mut meant: Vec<&WorkerView> = workers.iter().filter(|worker| worker.full_name() == asked).collect();
    if meant.is_empty() {
        meant = workers.iter().filter(|worker| worker.name == asked).collect();
    }
    match meant.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let known = workers.iter().map(WorkerView::full_name).collect::<Vec<_>>().join(", ");
            Err(Refusal::NotFound { what: "worker", name: asked.to_owned(), known: Some(known) })
        }
        several => {
            let choices = several.iter().map(|worker| worker.full_name()).collect();
            Err(Refusal::Ambiguous { what: "worker", name: asked.to_owned(), choices })
        }
    }
}

/// Has a worker drained or replaced, and waits up to `patience` until it has left.
pub(super) async fn order(
    core: &Core,
    asked: &str,
    what: WorkerOrder,
    by: &str,
    reason: &str,
    patience: Duration,
) -> Result<Ordered, Refusal> {
    let worker = find(core, asked)?;
    if worker.node != core.params.node_name {
        return order_elsewhere(core, worker, what, (by, reason), patience).await;
    }
    let end = Instant::now() + patience;
    let Some(post) = core.roster.posts().into_iter().find(|post| view(core, post).is(&worker)) else {
        return Ok(Ordered { worker, obeyed: true, left: true, heard_at: None });
    };
    let obeyed = order_here(core, &post, what, by, reason).await;
    let worker = view(core, &post);
    let left = wait_here(core, &post, end).await;
    Ok(Ordered { worker, obeyed, left, heard_at: None })
}

/// Tells a crew of this node; true once it has taken the order.
async fn order_here(core: &Core, post: &Arc<Post>, what: WorkerOrder, by: &str, reason: &str) -> bool {
    let mut changes = core.roster.changes();
    let (by, reason) = (by.to_owned(), reason.to_owned());
    let order = Order { worker: post.name.clone(), hired_at: post.hired_at, what, by, reason };
    if !core.roster.order(&post.pool, order) {
        return false;
    }
    let taken = async {
        while post.look().leaving.is_none() && is_here(core, post) {
            changes.changed().await;
        }
    };
    timeout_at(Instant::now() + LOCAL_PATIENCE, taken).await.is_ok()
}

fn is_here(core: &Core, post: &Arc<Post>) -> bool {
    core.roster.posts().iter().any(|other| Arc::ptr_eq(other, post))
}

/// Waits until a worker of this node has left; true if it did.
async fn wait_here(core: &Core, post: &Arc<Post>, end: Instant) -> bool {
    let mut changes = core.roster.changes();
    let gone = async {
        while is_here(core, post) {
            changes.changed().await;
        }
    };
    timeout_at(end, gone).await.is_ok()
}

/// Writes to another node, and waits for up to `patience` until it has obeyed and the worker has left, or until the
/// node counts as gone, its workers with it. Without patience it only waits for a sign that the node obeys.
async fn order_elsewhere(
    core: &Core,
    worker: WorkerView,
    what: WorkerOrder,
    (by, reason): (&str, &str),
    patience: Duration,
) -> Result<Ordered, Refusal> {
    let end = Instant::now() + patience;
    let no_later = |at: Instant| if patience.is_zero() { at } else { at.min(end) };
    let now = core.clock.now();
    let letter = Letter { action: what, hired_ms: worker.hired_ms, reason: reason.to_owned() };
    let setting = Setting {
        kind: KIND.to_owned(),
        name: worker.full_name(),
        value: serde_json::to_string(&letter).unwrap_or_default(),
        by: by.to_owned(),
        since: now,
        until: Some(now.plus_ms(ORDER_TTL_MS)),
    };
    settings::set(core, &setting).await?;
    let pending = || core.settings.get(KIND, &setting.name, core.clock.now()).is_some_and(|other| other == setting);
    let present = || everywhere(core).into_iter().find(|other| other.is(&worker));
    let is_gone = || present().is_none();
    until(core, no_later(Instant::now() + REMOTE_PATIENCE), || !pending() || is_gone()).await;
    let obeyed = !pending();
    // Its own words, as soon as its next heartbeat has them.
    let words_by = no_later(Instant::now() + SPEAK_PERIOD);
    until(core, words_by, || present().is_none_or(|now| now.state == WorkerState::Draining)).await;
    let left = until(core, end, is_gone).await;
    let worker = present().unwrap_or(worker);
    let obeyed = obeyed || worker.state == WorkerState::Draining;
    Ok(Ordered { heard_at: heard_at(core, &worker.node), worker, obeyed, left })
}

/// When the node of that name was last heard of.
fn heard_at(core: &Core, name: &str) -> Option<Timestamp> {
    core.membership.others().iter().filter(|node| node.name == name).map(|node| node.heartbeat_at).max()
}

/// Looks again and again, with fresh words of the other nodes, until `fact` or until `end`.
async fn until(core: &Core, end: Instant, fact: impl Fn() -> bool) -> bool {
    let mut spoken = Instant::now();
    core.membership.speak();
    loop {
        if fact() {
            return true;
        }
        let now = Instant::now();
        if now >= end {
            return false;
        }
        if now.duration_since(spoken) >= SPEAK_PERIOD {
            spoken = now;
            core.membership.speak();
        }
        tokio::time::sleep(LOOK_PERIOD.min(end - now)).await;
    }
}

/// Carries out what other nodes write to this one, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut changes = core.settings.changes();
    loop {
        obey_letters(&core).await;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = changes.changed() => {}
        }
    }
}

async fn obey_letters(core: &Core) {
    let address = format!("{}:", core.params.node_name);
    for setting in core.settings.of_kind(KIND, core.clock.now()) {
        let Some(name) = setting.name.strip_prefix(&address) else { continue };
        let letter: Option<Letter> = serde_json::from_str(&setting.value).ok();
        let is_meant = |post: &&Arc<Post>, letter: &Letter| {
            post.name.as_str() == name && post.hired_at.millis() == letter.hired_ms
        };
        let posts = core.roster.posts();
        let meant = letter.and_then(|letter| Some((posts.iter().find(|post| is_meant(post, &letter))?, letter)));
        match meant {
            Some((post, Letter { action, reason, .. }))
                if !order_here(core, post, action, &setting.by, &reason).await =>
            {
                continue;
            }
            Some(_) => {}
            None => tracing::info!(worker.name = name, "The order of {} for worker {name} comes too late", setting.by),
        }
        if let Err(refusal) = settings::drop_one(core, KIND, &setting.name, setting.since).await {
            tracing::warn!("An order that was carried out stays in the ledger until it lapses: {refusal}");
        }
        core.membership.speak();
    }
}
