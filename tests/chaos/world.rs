//! A world of its own for each round: Redis, Postgres, nodes, a handler, and a network in between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ganger::history::{Part, Verdict};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::sync::MutexGuard;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clients::{self, Nodes};
use super::handler::Handler;
use super::operator;
use super::plan::{Footing, Plan};
use super::story::{DELAYS_MS, MAX_ATTEMPTS, SLACK_MS, Story, TIMEOUT_MS};
use crate::support::daemon::{Daemon, Site};
use crate::support::postgres::{Postgres, TestDatabase};
use crate::support::proxy::{Proxy, address_of};
use crate::support::redis::{Options, Redis};
use crate::support::wait::{until, within};

/// The lease and its renewal, in milliseconds.
pub const LEASE_MS: u32 = 3_000;
pub const RENEW_MS: u32 = 700;

/// How long everything may take to come to rest.
const REST_PATIENCE: Duration = Duration::from_secs(120);
/// Jobs asked for at once while coming to rest.
const READERS: usize = 32;

/// Worlds need the whole machine.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A node and its ways to everything else.
pub struct Node {
    site: Site,
    extra: String,
    port: u16,
    /// What its daemons that are gone have said.
    said: String,
    pub daemon: Option<Daemon>,
    pub broker: Proxy,
    pub ledger: Proxy,
    pub handler: Proxy,
}

pub struct World {
    pub plan: Plan,
    pub story: Story,
    pub redis: Redis,
    /// Its own when the plan says so.
    pub postgres: Option<Postgres>,
    pub database: TestDatabase,
    pub nodes: Vec<Node>,
    pub http: reqwest::Client,
    urls: Nodes,
    load: JoinSet<()>,
    stop: CancellationToken,
    figures: Vec<(&'static str, f64)>,
    _handler: Handler,
    _alone: MutexGuard<'static, ()>,
}

// === impl Node ===

impl Node {
    async fn new(number: usize, plan: &Plan, redis: &Redis, database: &TestDatabase, handler: &Handler) -> Self {
        let seed = plan.seed + number as u64;
        let broker = Proxy::to(&redis.url(), seed).await;
        let ledger = Proxy::to(&database.url, seed).await;
        let to_handler = Proxy::to(&handler.url, seed).await;
        let site = Site::on(&broker.url(&redis.url()), &ledger.url(&database.url));
        let url = format!("{}node-{number}", to_handler.url(&handler.url));
        let mut node = Self {
            site,
            extra: settings(&url),
            port: 0,
            said: String::new(),
            daemon: None,
            broker,
            ledger,
            handler: to_handler,
        };
        node.start().await;
        node
    }

    /// Starts it, on the port it had before.
    pub async fn start(&mut self) {
        let daemon = Daemon::spawn(self.site.command_on(self.port, &self.extra)).await;
        self.port = address_of(&daemon.url).port();
        self.daemon = Some(daemon);
    }

    pub fn signal(&self, signal: Signal) {
        self.daemon.as_ref().expect("a running node").signal(signal);
    }

    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("a running node");
        daemon.kill();
        self.said += &(daemon.log() + "\n");
    }

    /// SIGTERM, and waits for the end; answers the exit status.
    pub async fn drain(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let mut daemon = self.daemon.take().expect("a running node");
        let status = daemon.ended().await;
        self.said += &(daemon.log() + "\n");
        status
    }

    /// Its ways, for weather that is the same on some of them.
    pub fn links(&self) -> [(&Proxy, Part); 3] {
        [(&self.broker, Part::Broker), (&self.ledger, Part::Ledger), (&self.handler, Part::Handler)]
    }

    /// What it answers to a GET, if it does.
    pub async fn body(&self, path: &str) -> Option<Value> {
        let daemon = self.daemon.as_ref()?;
        let answer = daemon.client.get(format!("{}{path}", daemon.url)).timeout(Duration::from_secs(5)).send().await;
        serde_json::from_slice(&answer.ok()?.bytes().await.ok()?).ok()
    }

    /// Whether both stores are ready for it.
    async fn is_open(&self) -> bool {
        let Some(ready) = self.body("/readyz").await else { return self.daemon.is_none() };
        ready["broker"] == "ok" && ready["ledger"] == "ok"
    }
}

/// The handler fails often; what breakers and budgets do about that has tests of its own, and the checker judges the
/// policy alone.
fn settings(handler: &str) -> String {
    let mut text = format!(
        "[redis]\ntimeout_ms = 1000\n[ledger]\ntimeout_ms = 2000\n\
         [lease]\nttl_ms = {LEASE_MS}\nrenew_ms = {RENEW_MS}\n\
         [breakers]\nerrors = [\"nothing\"]\nslow_start_ms = 0\n\
         [retry_budget]\nshare = 1.0\n[shedding]\nmode = \"off\"\n\
         [queues.flow]\nslack_ms = {SLACK_MS:?}\n[queues.calm]\n\
         [pools.flow-workers]\nqueue = \"flow\"\nmin = 32\nmax = 32\nscale_on = []\n\
         [pools.calm-workers]\nqueue = \"calm\"\nmin = 4\nmax = 4\nscale_on = []\n"
    );
    for name in super::story::TYPES {
        let queue = super::story::queue_of(name);
        let timeout_ms = if name == "long" { 600_000 } else { TIMEOUT_MS };
        let (base, max) = DELAYS_MS;
        text += &format!(
            "[job_types.{name}]\nqueue = \"{queue}\"\ntimeout_ms = {timeout_ms}\n\
             handler = {{ kind = \"http\", url = \"{handler}\" }}\n\
             [job_types.{name}.retry]\nmax_retries = {}\nbase_delay_ms = {base}\nmax_delay_ms = {max}\njitter = \"none\"\n",
            MAX_ATTEMPTS - 1
        );
    }
    text
}

// === impl World ===

impl World {
    /// Starts everything; nothing is offered yet.
    pub async fn start(plan: Plan) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        println!("{}: GANGER_CHAOS_SEED={} ({:?}, {} nodes)", plan.scenario, plan.seed, plan.footing, plan.nodes);
        let Footing::Plain = plan.footing;
        let mut options = Options { appendonly: plan.appendonly, ..Options::default() };
        for (name, value) in &plan.redis {
            options = options.set(name, value);
        }
        let redis = Redis::start_with(options).await;
        let (postgres, database) = if plan.own_postgres {
            let postgres = Postgres::start().await;
            let database = postgres.database().await;
            (Some(postgres), database)
        } else {
            (None, Postgres::shared().await.database().await)
        };
        let story = Story::begin();
        let handler = Handler::start(story.clone()).await;
        let mut nodes = Vec::new();
        for number in 0..plan.nodes {
            nodes.push(Node::new(number, &plan, &redis, &database, &handler).await);
        }
        let urls = nodes.iter().filter_map(|node| node.daemon.as_ref()).map(|daemon| daemon.url.clone()).collect();
        let http = reqwest::Client::builder().build().expect("a client");
        Self {
            plan,
            story,
            redis,
            postgres,
            database,
            nodes,
            http,
            urls: Arc::new(Mutex::new(urls)),
            load: JoinSet::new(),
            stop: CancellationToken::new(),
            figures: Vec::new(),
            _handler: handler,
            _alone: alone,
        }
    }

    /// Begins to offer jobs, and waits until some have run.
    pub async fn load(&mut self) {
        let (plan, story, urls) = (self.plan.clone(), self.story.clone(), self.urls.clone());
        let (http, stop) = (self.http.clone(), self.stop.clone());
        self.load.spawn(clients::offer(plan.clone(), story.clone(), urls.clone(), http.clone(), stop.clone()));
        if plan.operators {
            self.load.spawn(operator::act(plan, story, urls, http, stop));
        }
        self.progress(1.0).await;
    }

    /// Waits until as many runs have ended as are offered in `seconds`.
    pub async fn progress(&self, seconds: f64) {
        let wanted = self.story.ended() + (f64::from(self.plan.rate) * seconds) as u64;
        until("jobs run", || async { (self.story.ended() >= wanted).then_some(()) }).await;
    }

    /// The value of a series, summed over the nodes that live.
    pub async fn metric(&self, series: &str) -> f64 {
        let mut sum = 0.0;
        for daemon in self.nodes.iter().filter_map(|node| node.daemon.as_ref()) {
            sum += daemon.metric(series).await;
        }
        sum
    }

    /// Waits until every node is open and reports both stores as ready.
    pub async fn all_open(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            until(&format!("node {number} is open"), || async { node.is_open().await.then_some(()) }).await;
        }
    }

    /// How often the broker was rebuilt.
    pub async fn rebuilds(&self) -> f64 {
        self.metric("ganger_broker_rebuilds_total").await
    }

    /// Waits until the broker was rebuilt once more than `before`, and is open on every node. Notes how
    /// long that took since `from_us`, and how long nothing started.
    pub async fn rebuilt(&mut self, before: f64, from_us: i64) {
        until("the broker is rebuilt", || async { (self.rebuilds().await > before).then_some(()) }).await;
        self.all_open().await;
        self.note("rebuilds", self.rebuilds().await - before);
        self.note("rebuilt after s", seconds(self.story.now_us() - from_us));
        // Claims that were answered before the loss may still start at once.
        let lost = from_us + 50_000;
        let first = until("a job starts", || async { self.story.first_start_after(lost) }).await;
        self.note("first start after s", seconds(first - from_us));
    }

    pub fn note(&mut self, figure: &'static str, value: f64) {
        self.figures.push((figure, value));
    }

    /// Ends the load, lets everything come to rest, reads every job, and has the history judged.
    ///
    /// # Panics
    /// When an invariant is broken, with where the history is.
    pub async fn finish(mut self) -> Verdict {
        self.stop.cancel();
        while let Some(done) = self.load.join_next().await {
            done.expect("the load does not panic");
        }
        self.all_open().await;
        let calm = self.story.now_us();
        let url = self.urls.lock().unwrap()[0].clone();
        until("the queue is resumed", || async { operator::leave(&self.story, &self.http, &url).await.then_some(()) })
            .await;
        let resting = Instant::now();
        let mut known = 0;
        // Jobs at rest may have enqueued others.
        loop {
            let ids = self.story.ids();
            if ids.len() == known {
                break;
            }
            known = ids.len();
            self.read(ids.into_iter().collect(), true).await;
        }
        self.note("at rest after s", resting.elapsed().as_secs_f64());
        self.note("silent for s", seconds(self.story.longest_silence(calm)));
        self.story.drained();
        self.read(self.story.ids().into_iter().collect(), false).await;
        self.judge().await
    }

    /// Reads jobs, each until it is at rest if asked.
    async fn read(&self, ids: Vec<String>, until_rest: bool) {
        let end = Instant::now() + REST_PATIENCE;
        let mut readers: JoinSet<()> = JoinSet::new();
        for (number, id) in ids.into_iter().enumerate() {
            while readers.len() >= READERS {
                readers.join_next().await.expect("a reader").expect("a reader does not panic");
            }
            let urls = self.urls.lock().unwrap();
            let url = format!("{}/v1/jobs/{id}", urls[number % urls.len()]);
            drop(urls);
            let url = if until_rest { format!("{url}?wait=2s") } else { url };
            let (story, http) = (self.story.clone(), self.http.clone());
            readers.spawn(async move {
                loop {
                    // Who got no answer asks again: what nobody reads, nobody can judge.
                    let rested = read_one(&story, &http, &url, &id).await;
                    if rested.is_some_and(|rested| rested || !until_rest) || Instant::now() > end {
                        return;
                    }
                }
            });
        }
        while let Some(done) = readers.join_next().await {
            done.expect("a reader does not panic");
        }
    }

    async fn judge(mut self) -> Verdict {
        for series in ["stale_results_total", "leases_lost_total"] {
            let sum = self.metric(&format!("ganger_{series}{{queue=\"flow\"}}")).await;
            self.note(if series.starts_with("stale") { "stale results" } else { "leases lost" }, sum);
        }
        let (path, verdict) = self.story.judge(&format!("{}-{}", self.plan.scenario, self.plan.seed));
        for (number, node) in self.nodes.iter().enumerate() {
            let log = node.said.clone() + &node.daemon.as_ref().map(Daemon::log).unwrap_or_default();
            std::fs::write(path.with_extension(format!("node-{number}.log")), log).expect("a log beside the history");
        }
        let s = verdict.summary;
        print!(
            "FIGURES scenario={} seed={} jobs={} runs={} unknown={} repeated={} without_fault={} violations={}",
            self.plan.scenario,
            self.plan.seed,
            s.accepted,
            s.runs,
            s.unknown,
            s.jobs_repeated,
            s.jobs_repeated_without_fault,
            s.violations
        );
        for (figure, value) in &self.figures {
            print!(" {}={value:.2}", figure.replace(' ', "_"));
        }
        println!();
        let told: Vec<String> = verdict.violations.iter().take(10).map(|v| format!("{v:?}")).collect();
        assert!(
            verdict.is_sound(),
            "{} violations; ganger verify-history {}; GANGER_CHAOS_SEED={}\n{}",
            s.violations,
            path.display(),
            self.plan.seed,
            told.join("\n")
        );
        assert_eq!(s.jobs_repeated_without_fault, 0, "only what was in flight at the fault runs again");
        verdict
    }
}

/// Reads one job; answers whether it is at rest or nowhere, `None` without an answer.
async fn read_one(story: &Story, http: &reqwest::Client, url: &str, id: &str) -> Option<bool> {
    let asked_us = story.now_us();
    let answer = http.get(url).timeout(Duration::from_secs(10)).send().await;
    let status = answer.as_ref().map(|response| response.status().as_u16()).ok();
    let body: Option<Value> = match answer {
        Ok(response) => response.bytes().await.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()),
        Err(_) => None,
    };
    match (status, body) {
        (Some(404), _) => {
            story.read(asked_us, id, None);
            Some(true)
        }
        (Some(200), Some(job)) => {
            story.read(asked_us, id, Some(&job));
            Some(!["scheduled", "ready", "running", "retrying"].iter().any(|state| job["state"] == *state))
        }
        _ => {
            // The node was asked too early, or too many asked.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Microseconds in seconds.
pub fn seconds(us: i64) -> f64 {
    us as f64 / 1_000_000.0
}

/// Waits longer than usual: for what a fault of a minute leaves behind.
pub async fn patiently<T, F: Future<Output = Option<T>>>(what: &str, fact: impl FnMut() -> F) -> T {
    within(Duration::from_secs(180), what, fact).await
}
