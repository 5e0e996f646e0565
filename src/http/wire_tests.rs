//! The shapes of `wire`, member by member.

use super::*;
use crate::broker::{Depth, LeaseView};
use crate::job::{JobId, NewJob, NodeId, Priority, QueueName, Rest, TypeName};
use crate::ledger::Scope;
use crate::policy::catalog::Queue;

fn spec() -> NewJob {
    NewJob {
        id: JobId::stored("order-7"),
        id_given: true,
        job_type: TypeName::stored("plan_generation"),
        queue: QueueName::stored("plan"),
        priority: Priority::NORMAL,
        payload: bytes::Bytes::from_static(br#"{"z":1.0,"a":10000000000000000000001}"#),
        labels: [("environment".to_owned(), "staging".to_owned())].into(),
        due_at: None,
        score: 12_000,
        timeout_ms: None,
        max_attempts: 4,
        idempotency_key: None,
        fingerprint: Default::default(),
        accepted_at: Timestamp(0),
        parent: None,
    }
}

fn job() -> Job {
    Job {
        seq: 1,
        spec: spec(),
        counters: Counters { attempts: 1, deliveries: 1, ..Counters::default() },
        waits_from: Timestamp(0),
        fence: 42,
        crashed_at: Vec::new(),
        history: vec![Attempt {
            attempt: 1,
            worker: "plan-worker-2".to_owned(),
            fence: 42,
            started_at: Timestamp(3),
            finished_at: Timestamp(213),
            outcome: State::Succeeded,
            error: None,
        }],
        error: None,
        rest: Some(Rest {
            state: State::Succeeded,
            result: Some(bytes::Bytes::from_static(b"{}")),
            finished_at: Timestamp(214),
        }),
    }
}

fn view(job: Job) -> JobView {
    JobView { state: job.ledger_state(Timestamp(500)), counters: job.counters, fence: job.fence, lease: None, job }
}

fn value(view: &JobView) -> serde_json::Value {
    serde_json::to_value(JobBody::of(view)).unwrap()
}

#[test]
fn a_finished_job_is_the_documented_example() {
    let text = serde_json::to_string(&JobBody::of(&view(job()))).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"id":"order-7","type":"plan_generation","queue":"plan","priority":3,"state":"succeeded","#,
            r#""payload":{"z":1.0,"a":10000000000000000000001},"result":{},"error":null,"labels":{"environment":"staging"},"#,
            r#""attempts":1,"max_attempts":4,"deliveries":1,"crashes":0,"deferrals":0,"fence":42,"#,
            r#""accepted_at":"1970-01-01T00:00:00.000Z","run_at":null,"started_at":"1970-01-01T00:00:00.003Z","#,
            r#""finished_at":"1970-01-01T00:00:00.214Z","wait_ms":3,"run_ms":210,"#,
            r#""history":[{"attempt":1,"worker":"plan-worker-2","fence":42,"started_at":"1970-01-01T00:00:00.003Z","#,
            r#""finished_at":"1970-01-01T00:00:00.213Z","outcome":"succeeded","error":null}]}"#,
        )
    );
}

#[test]
fn a_new_job_has_no_times_but_its_acceptance() {
    let mut new = Job { history: Vec::new(), rest: None, counters: Counters::default(), fence: 0, ..job() };
    new.spec.due_at = Some(Timestamp(90_000));
    new.spec.idempotency_key = Some("k".to_owned());
    new.spec.parent = Some(JobId::stored("order-6"));
    let json = serde_json::to_value(JobBody::accepted(&new)).unwrap();
    assert_eq!(json["state"], "scheduled");
    assert_eq!(json["run_at"], "1970-01-01T00:01:30.000Z");
    assert_eq!((&json["idempotency_key"], &json["parent"]), (&"k".into(), &"order-6".into()));
    for unknown in ["result", "error", "started_at", "finished_at", "wait_ms", "run_ms"] {
        assert!(json[unknown].is_null(), "{unknown}");
    }
}

#[test]
fn a_lease_lies_over_the_row() {
    let mut running = view(Job { rest: None, ..job() });
    running.state = State::Running;
    running.fence = 43;
    running.lease = Some(LeaseView { fence: 43, node: NodeId::stored("n"), claimed_at_ms: 1_000 });
    let json = value(&running);
    assert_eq!((&json["state"], &json["fence"]), (&"running".into(), &43.into()));
    assert_eq!(json["started_at"], "1970-01-01T00:00:01.000Z");
    assert_eq!((&json["wait_ms"], &json["run_ms"]), (&3.into(), &serde_json::Value::Null));
}

#[test]
fn a_retry_does_not_shorten_the_wait() {
    let mut retrying = view(Job { rest: None, ..job() });
    retrying.job.spec.due_at = Some(Timestamp(60_000));
    assert_eq!(value(&retrying)["wait_ms"], 3);
}

#[test]
fn a_queue_shows_its_depth_by_name_and_nulls_without_a_broker() {
    let queue = Queue {
        name: QueueName::stored("locator"),
        priorities: 3,
        sla_ms: Some(4_000),
        ordering: Ordering::Deadline,
        slack_ms: [0; 5],
    };
    let depth = Depth { ready: [1, 0, 2, 0, 0], later: 4, leased: 5, head_score: Some(7), ..Depth::default() };
    let pause = Pause {
        scope: Scope::Queue(QueueName::stored("locator")),
        by: "oncall".to_owned(),
        reason: "deploy".to_owned(),
        since: Timestamp(0),
    };
    let mut view = QueueView { queue, depth: Some(depth), pause: Some(pause), shed_level: 2 };
    assert_eq!(
        serde_json::to_string(&QueueBody::of(&view)).unwrap(),
        concat!(
            r#"{"name":"locator","priorities":3,"sla_ms":4000,"ordering":"deadline","#,
            r#""depth":{"critical":1,"high":0,"normal":2},"ready":3,"scheduled":4,"running":5,"#,
            r#""paused":{"by":"oncall","reason":"deploy","since":"1970-01-01T00:00:00.000Z"},"#,
            r#""shed_level":2,"next_deadline":"1970-01-01T00:00:00.007Z"}"#,
        )
    );
    view.depth = None;
    view.pause = None;
    let json = serde_json::to_value(QueueBody::of(&view)).unwrap();
    assert!(json["depth"].is_null() && json["running"].is_null() && json["paused"].is_null());
}
