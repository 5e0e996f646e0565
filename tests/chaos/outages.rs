//! A store goes away for a while and comes back with everything.

use std::time::Duration;

use ganger::history::{Part, Submit};
use serde_json::json;

use super::clients;
use super::plan::{Plan, away, rounds};
use super::story::digest;
use super::world::{LEASE_MS, World, patiently};

/// Submits a job that runs longer than the outage and a lease together, and waits until it runs.
async fn long_job(world: &World) -> String {
    let ms = away().as_millis() as u64 + u64::from(LEASE_MS) + 500;
    let id = format!("long-{}", world.plan.seed);
    let payload = json!({ "ms": ms });
    let sent = Submit {
        job_type: "long".to_owned(),
        id: Some(id.clone()),
        fingerprint: "long".to_owned(),
        payload: digest(&payload),
        ..Submit::default()
    };
    let body = json!({ "type": "long", "id": id, "payload": payload });
    let url = world.nodes[0].daemon.as_ref().unwrap().url.clone();
    let (status, answer) = clients::call(&world.story, &world.http, &url, &sent, &body).await;
    assert_eq!(status, Some(201), "{answer}");
    patiently("the long job runs", || async { (!world.story.runs_of(&id).is_empty()).then_some(()) }).await;
    id
}

/// The long job ran once and cost nothing.
async fn one_run(world: &World, id: &str) {
    let job = patiently("the long job ends", || async {
        let job = world.nodes[0].body(&format!("/v1/jobs/{id}")).await?;
        (job["state"] != "running" && job["state"] != "ready").then_some(job)
    })
    .await;
    assert_eq!(
        (&job["state"], &job["attempts"], &job["crashes"]),
        (&json!("succeeded"), &json!(1), &json!(0)),
        "{job}"
    );
    assert_eq!(world.story.runs_of(id).len(), 1, "it ran once: {job}");
}

async fn without_redis(plan: Plan) {
    let mut world = World::start(plan).await;
    world.load().await;
    let id = long_job(&world).await;
    let from = world.story.now_us();
    for node in &world.nodes {
        node.broker.cut().await;
    }
    tokio::time::sleep(away()).await;
    let answers = world.story.answers(from, world.story.now_us());
    for node in &world.nodes {
        node.broker.mend().await;
    }
    world.all_open().await;
    world.story.fault("Redis away", Part::Broker, from);
    assert!(!answers.is_empty());
    let refused = answers.iter().filter(|status| !matches!(status, Some(200 | 201 | 409))).count();
    assert_eq!(refused, 0, "every submit is accepted while Redis is away: {answers:?}");
    world.note("accepted meanwhile", answers.len() as f64);
    world.progress(1.0).await;
    one_run(&world, &id).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_away_and_everything_is_accepted_and_goes_on() {
    for plan in rounds("redis-away") {
        without_redis(plan).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_away_and_no_outcome_is_lost() {
    for plan in rounds("postgres-away") {
        let mut world = World::start(plan).await;
        world.load().await;
        let id = long_job(&world).await;
        let from = world.story.now_us();
        for node in &world.nodes {
            node.ledger.cut().await;
        }
        tokio::time::sleep(away()).await;
        let answers = world.story.answers(from + 1_000_000, world.story.now_us());
        for node in &world.nodes {
            node.ledger.mend().await;
        }
        world.all_open().await;
        world.story.fault("Postgres away", Part::Ledger, from);
        let accepted = answers.iter().filter(|status| matches!(status, Some(200 | 201))).count();
        assert_eq!(accepted, 0, "nobody hears 201 without a ledger");
        world.note("refused meanwhile", answers.len() as f64);
        world.progress(1.0).await;
        one_run(&world, &id).await;
        world.finish().await;
    }
}

/// The server itself: its connections broken one by one, then stopped in order and started again.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_ends_its_backends_and_then_itself() {
    for plan in rounds("postgres-backends") {
        let mut world = World::start(Plan { own_postgres: true, ..plan }).await;
        world.load().await;
        let from = world.story.now_us();
        for _ in 0..3 {
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                          WHERE datname = current_database() AND pid <> pg_backend_pid()";
            world.database.execute(others).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        world.all_open().await;
        world.story.fault("backends terminated", Part::Ledger, from);
        world.progress(1.0).await;
        let from = world.story.now_us();
        let postgres = world.postgres.as_ref().unwrap();
        postgres.stop().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        postgres.restart().await;
        world.all_open().await;
        world.story.fault("Postgres stopped", Part::Ledger, from);
        world.progress(1.0).await;
        world.finish().await;
    }
}
