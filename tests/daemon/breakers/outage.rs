//! An outage: a dependency that is down for a while with many jobs queued on it, beside one that is well.
//!
//! `GANGER_OUTAGE_S` makes it last longer and the breaker's times the real ones; `scripts/dependency.sh` does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::target::{Call, Mood, Target, now_ms};
use super::{breaker, is_in, time, web};
use crate::support::daemon::{Daemon, Footing, Site};
use crate::support::wait::{until, within};

on_both_footings! {
    a_dead_dependency_is_left_alone_and_comes_back_gently
}

/// Workers of the pool: so many calls may be under way when the breaker opens.
const WORKERS: usize = 8;
/// The runbook's number of failures.
const FAILURES: usize = 5;
/// How long a call of either target takes, in milliseconds.
const CALL_MS: u64 = 20;

/// By how much a node's idea of the broker's clock may be off on a busy machine, in milliseconds.
const CLOCK_MS: i64 = 200;

/// How large the outage is.
struct Scale {
    jobs: usize,
    /// How long the dependency is down, in milliseconds.
    outage_ms: i64,
    open_ms: i64,
    slow_start_ms: i64,
}

impl Scale {
    /// Small enough for every run of the tests, unless `GANGER_OUTAGE_S` asks for the real thing.
    fn asked_for() -> Self {
        match std::env::var("GANGER_OUTAGE_S").ok().and_then(|seconds| seconds.parse::<i64>().ok()) {
            Some(seconds) => Self { jobs: 1_000, outage_ms: seconds * 1_000, open_ms: 60_000, slow_start_ms: 5_000 },
            None => Self { jobs: 120, outage_ms: 3_000, open_ms: 1_000, slow_start_ms: 500 },
        }
    }

    fn patience(&self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.outage_ms + 2 * self.open_ms).unwrap()) * 2
            + std::time::Duration::from_secs(120)
    }
}

fn settings(scale: &Scale, dead: &Target, well: &Target) -> String {
    let well = web(well, 0).replace("job_types.web", "job_types.well");
    format!(
        "[breakers]\nopen_ms = {}\nslow_start_ms = {}\n[pools.work-workers]\nmin = {WORKERS}\nmax = {WORKERS}\n{}{well}",
        scale.open_ms,
        scale.slow_start_ms,
        web(dead, 3)
    )
}

/// Submits the numbered jobs for the dead one at once; answers their ids.
async fn queue_up(daemon: &Daemon, scale: &Scale) -> Vec<String> {
    let batch: Vec<Value> = (0..scale.jobs).map(|n| json!({"type": "web", "payload": n})).collect();
    let (status, answer) = daemon.post("/v1/jobs/batch", json!(batch)).await;
    assert_eq!(status, 200, "{answer}");
    answer.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// Offers as many jobs for the healthy one, spread over the outage; answers their ids.
async fn offer(daemon: &Daemon, scale: &Scale) -> Vec<String> {
    let from = tokio::time::Instant::now();
    let mut ids = Vec::new();
    for n in 0..scale.jobs {
        let share = n as f64 / scale.jobs as f64;
        let at = std::time::Duration::from_millis((share * scale.outage_ms as f64 * 0.9) as u64);
        tokio::time::sleep_until(from + at).await;
        ids.push(daemon.submit(json!({"type": "well", "payload": n})).await);
    }
    ids
}

/// The job's wait that 99 of 100 stay below, in milliseconds.
async fn wait_p99(daemon: &Daemon, ids: &[String]) -> i64 {
    let mut waits = Vec::new();
    for id in ids {
        waits.push(daemon.at_rest(id).await["wait_ms"].as_i64().unwrap());
    }
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

async fn a_dead_dependency_is_left_alone_and_comes_back_gently(footing: Footing) {
    let scale = Scale::asked_for();
    let (dead, well) = (Target::start(Mood::Fails).await, Target::start(Mood::Takes(CALL_MS)).await);
    let site = Site::new(footing).await;
    let daemon = site.start(&settings(&scale, &dead, &well)).await;
    let held = queue_up(&daemon, &scale).await;
    let opened = is_in(&daemon, &dead.breaker, "open").await;
    let down_until = now_ms() + scale.outage_ms;

    // The healthy jobs run while the others wait.
    let healthy = offer(&daemon, &scale).await;
    let healthy_p99 = wait_p99(&daemon, &healthy).await;
    within(scale.patience(), "the outage is over", || async { (now_ms() >= down_until).then_some(()) }).await;
    let failed = dead.calls().len();
    let probes = probes(&daemon, &dead.breaker).await;
    assert!(failed <= FAILURES + WORKERS + probes, "{failed} calls, {probes} of them probes");
    let periods = usize::try_from((now_ms() - time(&opened["since"])) / scale.open_ms).unwrap() + 1;
    assert!(probes <= periods, "{probes} probes in {periods} periods");
    assert!(probes >= 1 || scale.outage_ms < scale.open_ms, "it was looked at whether it is back");

    dead.set(Mood::Takes(CALL_MS));
    let closed = within(scale.patience(), "it closes", || async {
        let found = breaker(&daemon, &dead.breaker).await;
        (found["state"] == "closed").then_some(found)
    })
    .await;
    let mut jobs = Vec::new();
    for id in &held {
        jobs.push(daemon.at_rest(id).await);
    }
    judge_attempts(&jobs);
    judge_order(&dead.calls(), &jobs);
    judge_slow_start(&scale, &dead.calls(), time(&closed["since"]));
    println!(
        "{footing:?}: {} + {} jobs, down for {} ms: {failed} calls while it was down, {probes} of them probes; \
         p99 wait of the healthy ones {healthy_p99} ms",
        scale.jobs, scale.jobs, scale.outage_ms
    );
    compare(footing, &scale, healthy_p99).await;
}

/// The same load without an outage, where a real measurement was asked for.
async fn compare(footing: Footing, scale: &Scale, with_outage: i64) {
    if std::env::var_os("GANGER_OUTAGE_S").is_none() {
        return;
    }
    let (other, well) = (Target::start(Mood::Takes(CALL_MS)).await, Target::start(Mood::Takes(CALL_MS)).await);
    let site = Site::new(footing).await;
    let daemon = site.start(&settings(scale, &other, &well)).await;
    for id in queue_up(&daemon, scale).await {
        daemon.at_rest(&id).await;
    }
    let healthy = offer(&daemon, scale).await;
    let without = wait_p99(&daemon, &healthy).await;
    println!("{footing:?}: p99 wait of the same jobs without an outage {without} ms, with it {with_outage} ms");
}

/// Probes that were made, as the node counts them.
async fn probes(daemon: &Daemon, name: &str) -> usize {
    let mut probes = 0.0;
    for outcome in ["failed", "succeeded"] {
        probes +=
            daemon.metric(&format!("ganger_breaker_probes_total{{breaker=\"{name}\",outcome=\"{outcome}\"}}")).await;
    }
    probes as usize
}

/// Only the failures that opened it were paid for, one each.
fn judge_attempts(jobs: &[Value]) {
    let mut spent = 0;
    for job in jobs {
        assert_eq!(job["state"], "succeeded", "{job}");
        spent += job["attempts"].as_u64().unwrap() - 1;
    }
    assert_eq!(spent, FAILURES as u64, "attempts that failures cost");
}

/// Jobs that were only held run in the order in which they were submitted: their claims are numbered so.
fn judge_order(calls: &[Call], jobs: &[Value]) {
    let held: Vec<u64> =
        jobs.iter().enumerate().filter(|(_, job)| job["deliveries"] == 1).map(|(n, _)| n as u64).collect();
    assert!(held.len() >= jobs.len() - FAILURES - 2 * WORKERS, "{} of {} jobs were held", held.len(), jobs.len());
    let mut worked: Vec<(u64, u64)> =
        calls.iter().filter(|call| call.worked).map(|call| (call.fence, call.payload.as_u64().unwrap())).collect();
    worked.sort_unstable();
    let order: Vec<u64> = worked.into_iter().map(|(_, n)| n).filter(|n| held.contains(n)).collect();
    assert_eq!(order, held);
}

/// After the closing 1, 2, 4, ... calls are under way at most, a step at a time.
fn judge_slow_start(scale: &Scale, calls: &[Call], closed_at: i64) {
    let mut seen = BTreeMap::new();
    for call in calls.iter().filter(|call| call.at_ms > closed_at) {
        let step = (call.at_ms - closed_at) / scale.slow_start_ms;
        let latest = (call.at_ms - closed_at + CLOCK_MS) / scale.slow_start_ms;
        let cap = if latest < 6 { 1 << latest } else { usize::MAX };
        assert!(call.at_once <= cap, "{} calls at once in step {step}", call.at_once);
        let most = seen.entry(step).or_insert(0);
        *most = call.at_once.max(*most);
    }
    println!("calls at once by step of the slow start: {seen:?}");
    let at_first = |call: &&Call| call.at_ms > closed_at && call.at_ms < closed_at + scale.slow_start_ms - CLOCK_MS;
    let most = calls.iter().filter(at_first).map(|call| call.at_once).max();
    assert_eq!(most, Some(1), "one at a time at first: {seen:?}");
}

// === Two nodes ===

/// Short times for two nodes, and a probe that may hang.
const SHARED: &str = "[breakers]\nopen_ms = 1000\nslow_start_ms = 100\nprobe_ms_max = 1500\n";

/// Two nodes that both hold the breaker open, with nothing under way.
async fn two_open(site: &Site, target: &Target) -> ([Daemon; 2], Vec<String>) {
    let settings = |node: &str| format!("[server]\nnode = \"{node}\"\n{SHARED}{}", web(target, 3));
    let nodes = [site.start(&settings("left")).await, site.start(&settings("right")).await];
    let ids = nodes[0].submit_many(&json!({"type": "web", "payload": 1}), 60).await;
    for node in &nodes {
        until("both know that it is down", || async {
            let found = breaker(node, &target.breaker).await;
            (found["state"] != "closed" && found["in_flight"] == 0).then_some(())
        })
        .await;
    }
    (nodes, ids)
}

/// With two nodes the dead one hears of one probe a period, not of two.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_make_one_probe_a_period() {
    let target = Target::start(Mood::Fails).await;
    let site = Site::new(Footing::Cluster).await;
    let (nodes, ids) = two_open(&site, &target).await;
    let before = target.calls().len();
    assert!(before <= 2 * (FAILURES + 4) + 1, "{before} calls until both nodes knew");
    until("some periods have passed", || async { (target.calls().len() >= before + 4).then_some(()) }).await;
    let calls = target.calls();
    for pair in calls[before..].windows(2) {
        let gap = pair[1].at_ms - pair[0].at_ms;
        // The opening counts from the failure, by the clock of the broker as each node reckons it.
        assert!(gap >= 1_000 - CLOCK_MS, "two probes within {gap} ms");
    }
    target.set(Mood::Works);
    for id in &ids {
        assert_eq!(nodes[1].at_rest(id).await["state"], "succeeded");
    }
    for node in &nodes {
        is_in(node, &target.breaker, "closed").await;
    }
}

/// The node that probes is killed with its probe under way: the permit's deadline passes, the breaker opens again,
/// and the other node probes.
#[tokio::test(flavor = "multi_thread")]
async fn a_prober_that_is_killed_does_not_keep_it_half_open() {
    let target = Target::start(Mood::Fails).await;
    let site = Site::new(Footing::Cluster).await;
    let (nodes, ids) = two_open(&site, &target).await;
    let [mut left, mut right] = nodes;
    target.set(Mood::Hangs);
    let prober = until("a probe hangs", || async {
        let found = breaker(&left, &target.breaker).await;
        let probe = found["probes"].as_array().unwrap().iter().find(|probe| probe["state"] == "running")?.clone();
        Some(probe)
    })
    .await;
    let deadline = time(&prober["deadline"]);
    let (prober, survivor) = if prober["node"] == "left" { (&mut left, &right) } else { (&mut right, &left) };
    let probed = until("its call has come", || async {
        let calls = target.calls();
        calls.last().filter(|call| !call.worked && call.at_ms >= deadline - 2_600).map(|_| calls.len())
    })
    .await;
    prober.kill();
    let reopened = is_in(survivor, &target.breaker, "open").await;
    assert!(reopened["why"].as_str().unwrap().contains("nobody reported on it"), "{reopened}");
    assert!(time(&reopened["since"]) >= deadline, "{reopened}");
    until("the other node probes", || async { (target.calls().len() > probed).then_some(()) }).await;
    assert!(target.calls()[probed].at_ms >= deadline + 1_000 - CLOCK_MS, "before the opening was over");
    target.release(Mood::Works);
    for id in &ids {
        assert_eq!(survivor.at_rest(id).await["state"], "succeeded");
    }
}
