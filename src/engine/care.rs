//! Looking after the workers of a pool: facts to the policy, its verdicts to the crew.
//!
//! The policy (`policy/health`) decides; here is what it is told and what follows. Nothing here asks whether a store
//! can be reached.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::mutant::mutant;
use crate::operations::EventKind;
use crate::policy::health::{self, HealthRules, Plan, Staff, Tallied, Verdict, Why, WorkerLimits, worker};
use crate::telemetry::metrics;

use super::crew::Crew;
use super::post::Post;
use super::running::StopReason;

/// Between two looks for hung workers. The other checks have a period of their own.
const LOOK_PERIOD: Duration = Duration::from_millis(900);
/// After a pause of this length between two looks it was the process that stood still, and its workers with it: they
/// get until the next look to answer.
const STANDSTILL: Duration = Duration::from_secs(5);

impl Crew {
    /// One look at all workers, if one is due: who is sick is replaced as far as the policy lets it.
    pub(super) async fn care(&mut self) {
        let now = Instant::now();
        let since = now.duration_since(self.chart.looked_at);
        if since < LOOK_PERIOD {
            return;
        }
        self.chart.looked_at = now;
        if since > STANDSTILL {
            return;
        }
        let setup = self.core.setup.load_full();
        let Some(limits) = setup.catalog.pools.get(&self.pool).map(|pool| pool.limits) else { return };
        let rules = &setup.health;
        if now >= self.chart.check_at {
            self.chart.check_at = now + Duration::from_millis(rules.check_ms);
            self.check(&limits, rules);
        }
        let plan = self.plan(&limits, rules, now);
        self.carry_out(plan, rules, now).await;
    }

    /// One look because a remedy asks for it: all who are known to be sick are replaced now, however many were lately.
    /// A remedy has a budget of its own. What a pool that panics is kept from it is kept from here too.
    pub(super) async fn care_by_order(&mut self) {
        if !self.core.roster.take_care_order(&self.pool) {
            return;
        }
        let setup = self.core.setup.load_full();
        let Some(limits) = setup.catalog.pools.get(&self.pool).map(|pool| pool.limits) else { return };
        let now = Instant::now();
        self.chart.replaced.clear();
        let unbounded = HealthRules { replace_share: 1.0, ..setup.health.clone() };
        let plan = self.plan(&limits, &unbounded, now);
        self.carry_out(plan, &setup.health, now).await;
    }

    async fn carry_out(&mut self, plan: Plan, rules: &HealthRules, now: Instant) {
        self.note_panic(plan.panic);
        for (number, why) in plan.replace {
            self.chart.replaced.push_back(now);
            self.say(number, why, "replaced");
            metrics::worker_replaced(self.pool.as_str(), why.label());
            match why {
                Why::Hung => self.abandon(number).await,
                // What it held too much for may be over; then its present job is not to blame.
                Why::Memory { .. } if self.holds_nothing(number) => self.drain(number),
                Why::Memory { .. } => self.replace(number, StopReason::Memory),
                Why::SuccessRate { .. } | Why::Jobs(_) | Why::Growth(_) => self.drain(number),
            }
        }
        if let Some((number, why)) = plan.recycle {
            self.say(number, why, "recycled");
            metrics::worker_recycled(self.pool.as_str(), why.label());
            self.drain(number);
        }
        // Those on their way out are nobody's member any more, but their jobs must not wait for them.
        for number in self.hung_leavers(rules) {
            self.abandon(number).await;
        }
    }

    fn holds_nothing(&self, number: usize) -> bool {
        self.workers.get(&number).is_none_or(|worker| worker.post.look().memory_bytes.is_none())
    }

    fn say(&self, number: usize, why: Why, what: &str) {
        let Some(post) = self.workers.get(&number).map(|worker| &worker.post) else { return };
        tracing::warn!(worker.name = %post.name, pool.name = %self.pool, reason = why.label(),
            "Worker {} is {what}: {why}", post.name);
        // A healthy worker that was due is no news.
        if what != "recycled" {
            self.tell(&post.name, format!("Worker {} is {what}: {why}", post.name), true);
        }
    }

    /// Measures and examines every member.
    fn check(&self, limits: &WorkerLimits, rules: &HealthRules) {
        let posts: Vec<Arc<Post>> = self.workers.values().filter(|w| !w.is_leaving).map(|w| w.post.clone()).collect();
        self.measure(&posts);
        let facts: Vec<_> = posts.iter().map(|post| post.facts(rules, |at| self.core.health.at(at)).0).collect();
        let tallied: Vec<Tallied> = facts.iter().map(|facts| facts.tallied).collect();
        for ((post, facts), median) in posts.iter().zip(&facts).zip(worker::medians(&tallied, rules)) {
            post.checked(facts.examine(limits, median, rules), rules);
        }
    }

    /// Reads what the child processes of each hold, one walk over the process table for all.
    fn measure(&self, posts: &[Arc<Post>]) {
        let group = |post: &Arc<Post>| post.run().and_then(|run| run.footprint.group());
        let groups: Vec<Option<i32>> = posts.iter().map(group).collect();
        let asked: Vec<i32> = groups.iter().flatten().copied().collect();
        let mut usages = if asked.is_empty() { Vec::new() } else { self.core.host.groups(&asked) }.into_iter();
        for (post, group) in posts.iter().zip(groups) {
            post.measured(group.and_then(|_| usages.next()).map(|usage| usage.resident_bytes));
        }
    }

    fn plan(&mut self, limits: &WorkerLimits, rules: &HealthRules, now: Instant) -> Plan {
        let window = Duration::from_millis(rules.replace_window_ms);
        while self.chart.replaced.front().is_some_and(|at| now.duration_since(*at) >= window) {
            self.chart.replaced.pop_front();
        }
        let moment = self.core.health.at(now);
        let members = self.workers.iter().filter(|(_, worker)| !worker.is_leaving);
        let verdicts: Vec<(usize, Verdict)> = members
            .map(|(number, worker)| {
                let (facts, condition) = worker.post.facts(rules, |at| self.core.health.at(at));
                (*number, facts.verdict(&condition, limits, moment))
            })
            .collect();
        let replaced = if mutant!(replaces_without_budget) { 0 } else { self.chart.replaced.len() };
        let lost = self.workers.values().filter(|worker| worker.is_lost).count();
        let is_draining = self.workers.values().any(|worker| worker.is_leaving && !worker.is_lost);
        health::plan(&Staff { workers: &verdicts, replaced, lost, is_draining }, rules)
    }

    fn note_panic(&mut self, panic: bool) {
        metrics::pool_panic(self.pool.as_str(), self.core.params.node_name.as_str(), panic);
        if std::mem::replace(&mut self.chart.panic, panic) == panic {
            return;
        }
        let pool = &self.pool;
        let words = if panic { "panics: the cause is shared, and nobody is replaced" } else { "panics no more" };
        let detail = serde_json::json!({ "pool": pool.as_str(), "is_replaced": false });
        self.core.timeline.note(EventKind::Worker, pool.as_str(), format!("Pool {pool} {words}"), Some(detail));
        if panic {
            tracing::error!(pool.name = %pool,
                "PoolPanic: so many workers of pool {pool} are unhealthy that the cause is shared; nobody is replaced");
        } else {
            tracing::warn!(pool.name = %pool, "Pool {pool} panics no more");
        }
    }

    /// Those on their way out whose handlers do not answer, and whose jobs were not given back yet.
    fn hung_leavers(&self, rules: &HealthRules) -> Vec<usize> {
        let hung = self.workers.iter().filter(|(_, w)| w.is_leaving && !w.is_lost && w.post.is_hung(rules));
        hung.map(|(number, _)| *number).collect()
    }
}
