//! Redis that loses, forgets or goes away: what runs goes on, what waits comes back.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Site, wait_for};
use crate::support::postgres::{Postgres, TestDatabase};
use crate::support::redis::Redis;
use crate::support::wait::until;

/// Two daemons on a Redis of their own.
struct World {
    redis: Redis,
    database: TestDatabase,
    site: Site,
    nodes: Vec<Daemon>,
}

impl World {
    async fn start(nodes: usize) -> Self {
        let redis = Redis::start().await;
        let database = Postgres::shared().await.database().await;
        let site = Site::on(&redis.url(), &database.url);
        let mut world = Self { redis, database, site, nodes: Vec::new() };
        for _ in 0..nodes {
            let node = world.site.start("").await;
            world.nodes.push(node);
        }
        world
    }

    /// Jobs that note their start in a file, with the id of each, and end once the gate is there.
    async fn gated(&self, count: usize) -> Vec<String> {
        let (starts, gate) = (self.site.folder().join("starts"), self.gate());
        let line = format!("echo $GANGER_JOB_ID >> {}; {}", starts.display(), wait_for(&gate));
        let mut ids = Vec::new();
        for number in 0..count {
            let node = &self.nodes[number % self.nodes.len()];
            ids.push(node.submit(json!({"type": "shell", "payload": line})).await);
        }
        for id in &ids {
            self.nodes[0].in_state(id, "running").await;
        }
        until("all have noted their start", || async { (self.starts().len() == count).then_some(()) }).await;
        ids
    }

    fn gate(&self) -> std::path::PathBuf {
        self.site.folder().join("gate")
    }

    fn open_gate(&self) {
        std::fs::write(self.gate(), "").unwrap();
    }

    /// Which jobs have started, a line for each start.
    fn starts(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.site.folder().join("starts")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn redis(&self) -> MultiplexedConnection {
        self.redis.connection().await
    }

    /// A metric summed over the nodes.
    async fn metric(&self, series: &str) -> f64 {
        let mut sum = 0.0;
        for node in &self.nodes {
            sum += node.metric(series).await;
        }
        sum
    }

    async fn until_metric(&self, series: &str, least: f64) {
        until(&format!("{series} reaches {least}"), || async { (self.metric(series).await >= least).then_some(()) })
            .await;
    }
}

fn spent(job: &Value) -> (i64, i64, i64) {
    let number = |name: &str| job[name].as_i64().unwrap();
    (number("attempts"), number("deliveries"), number("crashes"))
}

async fn flush(redis: &mut MultiplexedConnection) {
    redis::cmd("FLUSHALL").exec_async(redis).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_on_two_nodes_survives_a_flush_and_runs_once() {
    let world = World::start(2).await;
    let ids = world.gated(6).await;
    let waiting = world.nodes[0].submit_many(&json!({"type": "noop"}), 50).await;
    let before = world.metric("ganger_broker_rebuilds_total").await;
    flush(&mut world.redis().await).await;
    world.until_metric("ganger_broker_rebuilds_total", before + 1.0).await;
    until("the jobs that wait have run", || async {
        world.nodes[1].at_rest(waiting.last().unwrap()).await;
        Some(())
    })
    .await;
    for id in &ids {
        assert_eq!(world.nodes[1].job(id).await["state"], "running", "it got its lease back");
    }
    world.open_gate();
    for id in ids.iter().chain(&waiting) {
        let job = world.nodes[1].at_rest(id).await;
        assert_eq!((&job["state"], spent(&job)), (&json!("succeeded"), (1, 1, 0)), "{job}");
    }
    assert_eq!(world.starts().len(), ids.len(), "nothing ran twice");
    assert_eq!(world.metric("ganger_broker_rebuilds_total").await, before + 1.0, "one node rebuilt, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_while_redis_is_away_for_longer_than_a_lease() {
    let mut world = World::start(2).await;
    let ids = world.gated(4).await;
    for outage in ["frozen", "killed and back empty"] {
        if outage == "frozen" {
            world.redis.freeze();
        } else {
            world.redis.kill();
        }
        let accepted = world.nodes[0].submit_many(&json!({"type": "noop"}), 20).await;
        // Two leases of the tests' configuration, as the ledger's clock sees them pass.
        let begun = tokio::time::Instant::now();
        until("two leases have passed", || async { (begun.elapsed() > Duration::from_secs(6)).then_some(()) }).await;
        assert!(
            world.nodes[1]
                .client
                .get(format!("{}/readyz", world.nodes[1].url))
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
        if outage == "frozen" {
            world.redis.thaw();
        } else {
            world.redis.restart_empty().await;
        }
        for id in &accepted {
            assert_eq!(world.nodes[1].at_rest(id).await["state"], "succeeded");
        }
    }
    assert_eq!(world.starts().len(), ids.len(), "nothing ran twice");
    world.open_gate();
    for id in &ids {
        let job = world.nodes[1].at_rest(id).await;
        assert_eq!((&job["state"], spent(&job)), (&json!("succeeded"), (1, 1, 0)), "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_puts_right_what_a_hand_in_redis_has_broken() {
    let world = World::start(1).await;
    let node = &world.nodes[0];
    let paused = node.post("/v1/queues/work/pause", json!({"by": "test", "reason": "to break entries"})).await;
    assert_eq!(paused.0, 200, "{}", paused.1);
    let ids = node.submit_many(&json!({"type": "noop"}), 3).await;
    let [missing, misplaced, ghost] = ids.as_slice() else { unreachable!() };
    let mut redis = world.redis().await;
    let (lane, jobs) = ("ganger:{work}:lane:noop", "ganger:{work}:jobs");
    for id in [missing, misplaced] {
        redis::cmd("ZREM").arg(lane).arg(id).exec_async(&mut redis).await.unwrap();
    }
    redis::cmd("HDEL").arg(jobs).arg(missing).exec_async(&mut redis).await.unwrap();
    world.database.execute(&format!("DELETE FROM live WHERE id = '{ghost}'")).await;
    for kind in ["missing", "misplaced", "ghost"] {
        world.until_metric(&format!("ganger_broker_repairs_total{{kind=\"{kind}\"}}"), 1.0).await;
    }
    assert!(!redis::cmd("HEXISTS").arg(jobs).arg(ghost).query_async::<bool>(&mut redis).await.unwrap());
    redis::cmd("HSET").arg("ganger:{side}:ctl").arg("paused").arg("1").exec_async(&mut redis).await.unwrap();
    world.until_metric("ganger_broker_repairs_total{kind=\"pause\"}", 1.0).await;
    let side = node.submit(json!({"type": "side_sleep", "payload": {"ms": 1}})).await;
    node.at_rest(&side).await;
    let (status, answer) = node.post("/v1/queues/work/resume", json!({})).await;
    assert_eq!(status, 200, "{answer}");
    for id in [missing, misplaced] {
        let job = node.at_rest(id).await;
        assert_eq!((&job["state"], spent(&job)), (&json!("succeeded"), (1, 1, 0)), "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_installation_needs_no_repairs() {
    let world = World::start(2).await;
    let ids = world.nodes[0].submit_many(&json!({"type": "noop"}), 200).await;
    let held = world.gated(2).await;
    let later = world.nodes[1].submit(json!({"type": "noop", "delay_ms": 14_000})).await;
    for id in ids.iter().chain([&later]) {
        world.nodes[1].at_rest(id).await;
    }
    world.open_gate();
    for id in &held {
        world.nodes[0].at_rest(id).await;
    }
    for kind in ["outage", "missing", "misplaced", "ghost", "pause", "lease"] {
        assert_eq!(world.metric(&format!("ganger_broker_repairs_total{{kind=\"{kind}\"}}")).await, 0.0, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_its_node_does_not_know_is_given_back() {
    let world = World::start(1).await;
    let node = &world.nodes[0];
    let paused = node.post("/v1/queues/work/pause", json!({"by": "test", "reason": "to plant a lease"})).await;
    assert_eq!(paused.0, 200, "{}", paused.1);
    let held = node.submit(json!({"type": "side_sleep", "payload": {"ms": 600_000}, "timeout_ms": 60_000})).await;
    node.in_state(&held, "running").await;
    let id = node.submit(json!({"type": "noop"})).await;
    let mut redis = world.redis().await;
    // What a claim leaves whose answer is lost: an entry under a lease of this node, far from its end.
    let of = async |redis: &mut MultiplexedConnection, key: &str, id: &str| -> String {
        redis::cmd("HGET").arg(key).arg(id).query_async(redis).await.unwrap()
    };
    let running = of(&mut redis, "ganger:{side}:jobs", &held).await;
    let node_id = running.split(';').nth(6).unwrap().to_owned();
    let entry = of(&mut redis, "ganger:{work}:jobs", &id).await;
    let leased = format!("{entry};0.1.0.0;1;4294967297;{node_id};1700000000000;");
    let far = 4_000_000_000_000_i64;
    redis::pipe()
        .atomic()
        .cmd("ZREM")
        .arg("ganger:{work}:lane:noop")
        .arg(&id)
        .cmd("HSET")
        .arg("ganger:{work}:jobs")
        .arg(&id)
        .arg(leased)
        .cmd("ZADD")
        .arg("ganger:{work}:leases")
        .arg(far)
        .arg(&id)
        .cmd("HINCRBY")
        .arg("ganger:{work}:ctl")
        .arg("ready3")
        .arg(-1)
        .exec_async(&mut redis)
        .await
        .unwrap();
    world.until_metric("ganger_broker_repairs_total{kind=\"lease\"}", 1.0).await;
    let (status, answer) = node.post("/v1/queues/work/resume", json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let job = node.at_rest(&id).await;
    assert_eq!(
        (&job["state"], &job["deferrals"], &job["attempts"]),
        (&json!("succeeded"), &json!(1), &json!(1)),
        "{job}"
    );
    assert_eq!(node.job(&held).await["state"], "running", "the leases it knows stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn fences_start_anew_above_all_others_before_their_counter_ends() {
    let world = World::start(2).await;
    let before = world.nodes[0].metric("ganger_broker_epoch").await;
    let rebuilds = world.metric("ganger_broker_rebuilds_total").await;
    let held = world.gated(2).await;
    let mut redis = world.redis().await;
    redis::cmd("HSET").arg("ganger:{side}:ctl").arg("fence").arg(1_i64 << 31).exec_async(&mut redis).await.unwrap();
    let last = world.nodes[0].submit(json!({"type": "side_sleep", "payload": {"ms": 1}})).await;
    let last = world.nodes[0].at_rest(&last).await;
    for node in &world.nodes {
        until("the node is in the next epoch", || async {
            (node.metric("ganger_broker_epoch").await == before + 1.0).then_some(())
        })
        .await;
    }
    let next = world.nodes[1].submit(json!({"type": "side_sleep", "payload": {"ms": 1}})).await;
    let next = world.nodes[1].at_rest(&next).await;
    assert!(next["fence"].as_i64() > last["fence"].as_i64(), "{next}");
    // It counts from one again; a delivery whose answer was late is followed by another.
    assert_eq!(next["fence"].as_i64().unwrap() & 0xFFFF_FFFF, next["deliveries"].as_i64().unwrap(), "{next}");
    world.open_gate();
    for id in &held {
        let job = world.nodes[0].at_rest(id).await;
        assert_eq!((&job["state"], spent(&job)), (&json!("succeeded"), (1, 1, 0)), "{job}");
    }
    assert_eq!(world.metric("ganger_broker_rebuilds_total").await, rebuilds, "nothing was rebuilt for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_refuses_new_jobs_before_the_ledger_knows_of_them() {
    let world = World::start(1).await;
    let node = &world.nodes[0];
    let mut redis = world.redis().await;
    let accepted = node.submit(json!({"type": "noop", "delay_ms": 3_600_000})).await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec_async(&mut redis).await.unwrap();
    let submit = json!({"type": "noop", "labels": {"kind": "probe"}});
    let probes = until("new jobs are refused", || async {
        let (status, answer) = node.post("/v1/jobs", submit.clone()).await;
        (status != 201).then_some((status, answer["code"].clone()))
    })
    .await;
    assert_eq!(probes, (503, json!("broker_full")));
    let known = async || node.get("/v1/jobs?limit=1000").await["jobs"].as_array().unwrap().len();
    let before = known().await;
    for _ in 0..20 {
        assert_eq!(node.post("/v1/jobs", submit.clone()).await.0, 503);
    }
    assert_eq!(known().await, before, "a refused job stands in the ledger");
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").exec_async(&mut redis).await.unwrap();
    until("new jobs are accepted again", || async {
        (node.post("/v1/jobs", submit.clone()).await.0 == 201).then_some(())
    })
    .await;
    assert_eq!(node.job(&accepted).await["state"], "scheduled");
}
