//! Three times the load that a daemon can do: a fifth critical, three tenths normal, half of a type that goes first.
//!
//! `scripts/overload.sh` plays it for long with the default rules and judges its figures; without
//! `GANGER_OVERLOAD_S` it is short, and speed is only printed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::daemon::{Daemon, Footing, Site};
use crate::support::wait::within;

on_both_footings! {
    three_times_the_load_keeps_what_is_urgent
}

/// Type, priority, and how many of ten submits; the most important first.
const MIX: [(&str, u8, usize); 3] = [("urgent", 1, 2), ("usual", 3, 3), ("batch", 3, 5)];
/// How long each job keeps a worker.
const RUN_MS: u64 = 100;
/// Between two handfuls of submits.
const TICK: Duration = Duration::from_millis(50);

/// Workers: for long 100 jobs a second at best; else few, for machines that have other things to do.
fn workers(is_long: bool) -> usize {
    if is_long { 10 } else { 2 }
}

fn config(is_long: bool) -> String {
    let types = MIX.map(|(name, ..)| {
        format!(
            "[job_types.{name}]\nqueue = \"plan\"\n[job_types.{name}.handler]\nkind = \"builtin\"\nname = \"sleep\"\n"
        )
    });
    // Short: the same rules at a scale of seconds. The machine that tests run on has a load of its own.
    let rules = "cpu = 1.0\nqueue_depth = 50\ndwell_ms = 1000\nstep_up_ms = 500\nstep_down_ms = 1000\nresponse_time_p95_ms = 2000000\n";
    format!(
        "{1}[queues.plan]\nsla_ms = 12000\n[pools.plan-workers]\nqueue = \"plan\"\nmin = {0}\nmax = {0}\n\
         scale_on = []\n[shedding]\nfirst = [\"batch\"]\n{2}",
        workers(is_long),
        types.concat(),
        if is_long { "" } else { rules }
    )
}

/// What came of one submit.
struct Told {
    class: usize,
    sent: Instant,
    answered: Instant,
    id: Option<String>,
    /// The rule that refused it, and `Retry-After`.
    refused: Option<(String, u64)>,
}

/// Offers `per_s` jobs a second for a while; answers what came of each.
async fn offer(daemon: &Daemon, per_s: f64, time: Duration) -> Vec<Told> {
    let told: Arc<Mutex<Vec<Told>>> = Arc::default();
    let mut submits = tokio::task::JoinSet::new();
    let (begin, mut sent) = (Instant::now(), 0_usize);
    let mut ticks = tokio::time::interval(TICK);
    while begin.elapsed() < time {
        ticks.tick().await;
        let due = (begin.elapsed().as_secs_f64() * per_s) as usize;
        for number in sent..due {
            // Ten submits hold the mix, spread over them.
            let class = [0, 2, 1, 2, 2, 1, 0, 2, 1, 2][number % 10];
            let (client, url, told) = (daemon.client.clone(), format!("{}/v1/jobs", daemon.url), told.clone());
            submits.spawn(async move {
                let sent = Instant::now();
                let (job_type, priority, _) = MIX[class];
                let submit = json!({"type": job_type, "priority": priority, "payload": {"ms": RUN_MS}});
                let response = client.post(url).json(&submit).send().await.unwrap_or_else(|error| panic!("{error:?}"));
                let (status, answered) = (response.status().as_u16(), Instant::now());
                let after = response.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
                let body: Value = response.json().await.expect("JSON");
                let id = (status == 201).then(|| body["id"].as_str().unwrap().to_owned());
                let refused = (status != 201).then(|| {
                    assert_eq!(body["code"], "shed", "{body}");
                    (body["rule"].as_str().expect("a rule").to_owned(), after.expect("Retry-After"))
                });
                told.lock().unwrap().push(Told { class, sent, answered, id, refused });
            });
        }
        sent = due.max(sent);
        while submits.try_join_next().is_some() {}
    }
    while let Some(ended) = submits.join_next().await {
        ended.unwrap();
    }
    std::mem::take(&mut *told.lock().unwrap())
}

async fn finished(daemon: &Daemon) -> f64 {
    let mut all = 0.0;
    for (job_type, ..) in MIX {
        let series = format!(r#"ganger_jobs_finished_total{{queue="plan",type="{job_type}",outcome="succeeded"}}"#);
        all += daemon.metric(&series).await;
    }
    all
}

/// Jobs a second that get done while enough wait.
async fn peak(daemon: &Daemon, workers: usize, time: Duration) -> f64 {
    daemon.call("PUT", "/v1/shedding", Some(json!({"mode": "off"}))).await;
    let count = (time.as_secs_f64() * 1_500.0 * workers as f64 / RUN_MS as f64) as usize;
    daemon.submit_many(&json!({"type": "usual", "payload": {"ms": RUN_MS}}), count).await;
    let (before, begin) = (finished(daemon).await, Instant::now());
    tokio::time::sleep(time).await;
    let rate = (finished(daemon).await - before) / begin.elapsed().as_secs_f64();
    daemon.post("/v1/queues/plan/purge", json!({})).await;
    daemon.call("PUT", "/v1/shedding", Some(json!({"mode": "auto"}))).await;
    rate
}

/// Submits that were admitted although something more important was refused just before and just after; levels last
/// longer than that. The most important class is never refused at all.
fn inversions(told: &[Told]) -> usize {
    const NEAR: Duration = Duration::from_millis(500);
    let urgent = told.iter().filter(|one| one.class == 0 && one.refused.is_some()).count();
    let refused: Vec<&Told> = told.iter().filter(|one| one.class == 1 && one.refused.is_some()).collect();
    let is_inverted = |admitted: &&Told| {
        let before = |one: &&Told| one.answered <= admitted.sent && admitted.sent - one.answered < NEAR;
        let after = |one: &&Told| one.sent >= admitted.answered && one.sent - admitted.answered < NEAR;
        refused.iter().any(before) && refused.iter().any(after)
    };
    urgent + told.iter().filter(|one| one.class == 2 && one.refused.is_none()).filter(is_inverted).count()
}

async fn level(daemon: &Daemon) -> (u64, bool) {
    let told = daemon.get("/v1/shedding").await;
    let queue = told["queues"].as_array().unwrap().iter().find(|queue| queue["queue"] == "plan").cloned();
    let active = told["rules"].as_array().unwrap().iter().any(|rule| rule["active"] == true);
    (queue.and_then(|queue| queue["level"].as_u64()).unwrap_or(0), active)
}

async fn three_times_the_load_keeps_what_is_urgent(footing: Footing) {
    let asked: Option<u64> = std::env::var("GANGER_OVERLOAD_S").ok().and_then(|seconds| seconds.parse().ok());
    let (is_long, time) = (asked.is_some(), Duration::from_secs(asked.unwrap_or(12)));
    let site = Site::new(footing).await;
    let daemon = site.start(&config(is_long)).await;
    let peak = peak(&daemon, workers(is_long), Duration::from_secs(if is_long { 20 } else { 4 })).await;
    assert!(peak > 0.0);
    offer(&daemon, peak / 2.0, Duration::from_secs(if is_long { 10 } else { 2 })).await;

    let (before, begin) = (finished(&daemon).await, Instant::now());
    let watch = async {
        let mut highest = 0;
        while begin.elapsed() < time {
            highest = highest.max(level(&daemon).await.0);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        (highest, (finished(&daemon).await - before) / begin.elapsed().as_secs_f64())
    };
    let (told, (highest, goodput)) = tokio::join!(offer(&daemon, peak * 3.0, time), watch);

    // Calm again, under a third of the load: how long after the last rule is over.
    let patience = Duration::from_secs(if is_long { 900 } else { 120 });
    let last_active = std::cell::Cell::new(Instant::now());
    let back = within(patience, "nothing is shed any more", || async {
        let (level, is_active) = level(&daemon).await;
        if is_active {
            last_active.set(Instant::now());
        } else if level == 0 {
            return Some(last_active.get().elapsed());
        }
        offer(&daemon, peak / 3.0, Duration::from_millis(200)).await;
        None
    })
    .await;

    let mut counts = [[0_usize; 3]; 3];
    let (mut rules, mut after) = (BTreeMap::<String, usize>::new(), (u64::MAX, 0));
    for one in &told {
        counts[one.class][0] += 1;
        counts[one.class][usize::from(one.refused.is_some()) + 1] += 1;
        if let Some((rule, seconds)) = &one.refused {
            *rules.entry(rule.clone()).or_default() += 1;
            after = (after.0.min(*seconds), after.1.max(*seconds));
        }
    }
    let mut succeeded = 0;
    for id in told.iter().filter(|one| one.class == 0).filter_map(|one| one.id.as_ref()) {
        succeeded += usize::from(daemon.at_rest(id).await["state"] == "succeeded");
    }
    let inversions = inversions(&told);
    println!(
        "FIGURES footing={footing:?} seconds={} peak_per_s={peak:.1} goodput_per_s={goodput:.1} urgent_offered={} \
         urgent_succeeded={succeeded} usual={:?} batch={:?} rules={rules:?} retry_after_s={after:?} highest_level={highest} \
         back_after_s={:.1} inversions={inversions}",
        time.as_secs(),
        counts[0][0],
        counts[1],
        counts[2],
        back.as_secs_f64()
    );
    assert!(succeeded * 100 >= counts[0][0] * 99, "{succeeded} of {} urgent jobs", counts[0][0]);
    assert_eq!(inversions, 0);
    assert!(highest >= 1 && counts[2][2] > 0, "load was shed");
    assert!(after.0 >= 1 && after.1 <= 72, "{after:?}");
    for (rule, count) in &rules {
        let counted = daemon.metric(&format!(r#"ganger_shed_total{{queue="plan",rule="{rule}"}}"#)).await;
        assert!(counted >= *count as f64, "{count} refusals by {rule} are counted as {counted}");
    }
    if is_long {
        assert!(goodput >= 0.9 * peak, "{goodput:.1} of {peak:.1} jobs a second");
        assert!(back <= Duration::from_secs(240), "back after {back:?}");
    }
}
