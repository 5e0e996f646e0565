//! A commit that happened and whose answer did not arrive.

use ganger::history::{Part, Submit};
use serde_json::{Value, json};

use super::clients;
use super::plan::{Plan, rounds};
use super::story::digest;
use super::world::World;
use crate::support::wait::until;

/// What Postgres says at the end of each answer: ready for the next query, outside of a transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

fn wish(name: &str, payload: Value, keyed: bool) -> (Submit, Value) {
    let mut body = json!({ "type": "fast", "payload": payload });
    body[if keyed { "idempotency_key" } else { "id" }] = json!(name);
    let sent = Submit {
        job_type: "fast".to_owned(),
        key: keyed.then(|| name.to_owned()),
        id: (!keyed).then(|| name.to_owned()),
        fingerprint: digest(&body["payload"]),
        payload: digest(&body["payload"]),
        ..Submit::default()
    };
    (sent, body)
}

/// Accepts are committed and the node never hears it: the client is told so, or the node finds out
/// by itself; either way its repeat finds the one job.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_an_accept_is_lost() {
    for plan in rounds("lost-accept") {
        let mut world = World::start(Plan { nodes: 1, ..plan }).await;
        let url = world.nodes[0].daemon.as_ref().unwrap().url.clone();
        for (number, keyed) in [true, false].into_iter().enumerate() {
            let marker = format!("marker-{number}-{}", world.plan.seed);
            let (sent, body) = wish(&format!("lost-{marker}"), json!({ "marker": marker }), keyed);
            let from = world.story.now_us();
            let proxy = &world.nodes[0].ledger;
            // A name takes a transaction; its commit is a statement of its own.
            proxy.lose_answer(&[marker.as_bytes(), b"COMMIT"], READY);
            let sprung = proxy.sprung();
            let (first, answer) = clients::call(&world.story, &world.http, &url, &sent, &body).await;
            assert_eq!(proxy.sprung(), sprung + 1, "the answer was lost");
            assert!(matches!(first, Some(200 | 201 | 503)), "{first:?} {answer}");
            assert!(first != Some(503) || answer["outcome"] == "unknown", "{answer}");
            world.story.fault("lost answer to an accept", Part::Ledger, from);
            let (again, second) = until("the repeat is answered", || async {
                let (status, answer) = clients::call(&world.story, &world.http, &url, &sent, &body).await;
                matches!(status, Some(200 | 201)).then_some((status, answer))
            })
            .await;
            assert_eq!(again, Some(200), "the job is there already: {second}");
            if let Some(id) = answer["id"].as_str() {
                assert_eq!(second["id"], id);
            }
        }
        world.load().await;
        let verdict = world.finish().await;
        assert_eq!(verdict.summary.jobs_repeated, 0);
    }
}

/// An outcome is committed and the node never hears it: it repeats the commit, and nothing runs twice.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_settle_is_lost() {
    for plan in rounds("lost-settle") {
        let mut world = World::start(Plan { nodes: 1, ..plan }).await;
        let url = world.nodes[0].daemon.as_ref().unwrap().url.clone();
        let id = format!("settled-{}", world.plan.seed);
        let (sent, body) = wish(&id, json!({ "ms": 300 }), false);
        let from = world.story.now_us();
        let (status, answer) = clients::call(&world.story, &world.http, &url, &sent, &body).await;
        assert_eq!(status, Some(201), "{answer}");
        until("it runs", || async { (!world.story.runs_of(&id).is_empty()).then_some(()) }).await;
        let (run, fence, _) = world.story.runs_of(&id)[0];
        // The handler's result is the first thing that names this run on the way to the ledger.
        let result = json!({ "run": run, "fence": fence }).to_string();
        let proxy = &world.nodes[0].ledger;
        proxy.lose_answer(&[result.as_bytes()], READY);
        until("the answer is lost", || async { (proxy.sprung() > 0).then_some(()) }).await;
        let job = world.nodes[0].daemon.as_ref().unwrap().at_rest(&id).await;
        assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)), "{job}");
        world.all_open().await;
        world.story.fault("lost answer to a settle", Part::Ledger, from);
        world.load().await;
        let verdict = world.finish().await;
        assert_eq!((world_runs(&verdict), verdict.summary.jobs_repeated), (true, 0));
    }
}

fn world_runs(verdict: &ganger::history::Verdict) -> bool {
    verdict.summary.runs > 0
}
