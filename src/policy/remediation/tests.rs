use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::clock::Timestamp;
use crate::job::{PoolName, Priority, QueueName, TypeName};
use crate::operations::RemediationState;
use crate::policy::catalog::{Builtin, Catalog, HandlerSpec, JobType, OnLate, Ordering, Pool, Queue};
use crate::policy::retry::{Backoff, Jitter, RetryPolicy};

fn alert(name: &str, labels: &[(&str, &str)]) -> FiredAlert {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    FiredAlert {
        name: name.to_owned(),
        labels: labels.iter().map(own).collect(),
        annotations: BTreeMap::from([("summary".to_owned(), "600 jobs wait".to_owned())]),
        fingerprint: "f00d".to_owned(),
        starts_at: Timestamp(1_000),
        severity: "warning".to_owned(),
        incident: Some(7),
    }
}

fn action(name: &str, deed: Deed) -> Action {
    let verify = deed.figures()[0];
    Action {
        name: name.to_owned(),
        deed,
        dry_run: false,
        cool_down_ms: 300_000,
        per_hour_max: 6,
        timeout_ms: 30_000,
        verify,
        verify_ms: 60_000,
    }
}

fn response(name: &str, alert: &str, when: &[(&str, &str)], actions: &[&str], then: &[&str]) -> Response {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Response {
        name: name.to_owned(),
        alert: alert.to_owned(),
        when: when.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
        actions: names(actions),
        if_not_healed: names(then),
    }
}

fn rules(responses: Vec<Response>) -> Rules {
    let names = ["scale", "shed", "renew"];
    let actions = names.map(|name| (name.to_owned(), action(name, Deed::RenewLedgerPool)));
    let responses = responses.into_iter().map(|response| (response.name.clone(), response));
    Rules { actions: actions.into(), responses: responses.collect(), ..Rules::default() }
}

fn names(actions: &[Action]) -> Vec<&str> {
    actions.iter().map(|action| action.name.as_str()).collect()
}

#[test]
fn an_alert_leads_to_the_responses_that_its_labels_fit() {
    let rules = rules(vec![
        response("a", "HighQueueDepth", &[("queue", "exec")], &["scale"], &["shed"]),
        response("b", "HighQueueDepth", &[("queue", "*"), ("team", "")], &["renew", "scale"], &[]),
        response("c", "Other", &[], &["shed"], &[]),
    ]);
    let planned = |alert: &FiredAlert| -> Vec<(String, Vec<String>, Vec<String>)> {
        let own = |actions: &[Action]| names(actions).into_iter().map(str::to_owned).collect();
        plan(&rules, alert)
            .iter()
            .map(|chain| (chain.response.clone(), own(&chain.actions), own(&chain.if_not_healed)))
            .collect()
    };
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let both = planned(&alert("HighQueueDepth", &[("queue", "exec")]));
    assert_eq!(
        both,
        [("a".to_owned(), own(&["scale"]), own(&["shed"])), ("b".to_owned(), own(&["renew", "scale"]), own(&[]))]
    );
    let plan_queue = planned(&alert("HighQueueDepth", &[("queue", "plan")]));
    assert_eq!(plan_queue, [("b".to_owned(), own(&["renew", "scale"]), own(&[]))]);
    assert!(planned(&alert("HighQueueDepth", &[("queue", "plan"), ("team", "x")])).is_empty());
    assert!(planned(&alert("Unheard", &[])).is_empty());
}

#[test]
fn only_a_failure_leads_on() {
    use RemediationState::{DryRun, Failed, Healed, Suppressed};
    for (outcomes, leads_on) in [
        (vec![], false),
        (vec![Healed], false),
        (vec![Suppressed, DryRun], false),
        (vec![Failed], true),
        (vec![Healed, Failed, Suppressed], true),
    ] {
        assert_eq!(escalates(&outcomes), leads_on, "{outcomes:?}");
    }
}

fn catalog() -> Catalog {
    let queue = |name: &str| Queue {
        name: QueueName::stored(name),
        priorities: 5,
        sla_ms: None,
        ordering: Ordering::Deadline,
        slack_ms: [0; 5],
    };
    let pool = |name: &str, queue: &str| Pool {
        name: PoolName::stored(name),
        queue: QueueName::stored(queue),
        worker_type: queue.to_owned(),
        worker_prefix: name.to_owned(),
        min: 1,
        max: 5,
        scale_on: Vec::new(),
        target_cpu: 0.7,
        target_memory: 0.7,
        target_queue_depth: 5.0,
        limits: crate::policy::health::WorkerLimits::default(),
        target_latency_ms: 1,
        cpu_request: 1.0,
        memory_request_bytes: 1,
    };
    let known = JobType {
        name: TypeName::stored("noop"),
        queue: QueueName::stored("exec"),
        priority: Priority::NORMAL,
        timeout_ms: 1,
        sla_ms: None,
        depends_on: Vec::new(),
        on_late: OnLate::Run,
        retry: RetryPolicy {
            max_retries: 0,
            backoff: Backoff::Immediate,
            base_delay_ms: 0,
            max_delay_ms: 0,
            jitter: Jitter::None,
            retry_on_errors: Vec::new(),
            no_retry_errors: Vec::new(),
            escalate_on_failure: false,
        },
        handler: HandlerSpec::Builtin(Builtin::Noop),
    };
    let pools = [pool("exec-workers", "exec"), pool("more-workers", "exec"), pool("plan-workers", "plan")];
    Catalog {
        queues: ["exec", "plan", "idle"].map(|name| (QueueName::stored(name), queue(name))).into(),
        pools: pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect(),
        types: [(known.name.clone(), known)].into(),
    }
}

fn selector(label: Option<&str>, fixed: Option<&str>) -> Selector {
    Selector { label: label.map(str::to_owned), fixed: fixed.map(str::to_owned) }
}

fn told(deed: &Deed, labels: &[(&str, &str)]) -> Result<String, String> {
    let servers = ["platform".to_owned()];
    target(deed, &alert("A", labels), &catalog(), &servers).map(|target| target.to_string())
}

#[test]
fn a_pool_is_named_by_its_label_by_its_queue_or_by_the_configuration() {
    let scale = |pool, queue_label: Option<&str>| Deed::ScalePool {
        pool,
        queue_label: queue_label.map(str::to_owned),
        add: 5,
        ttl_ms: 1,
    };
    let deed = scale(selector(Some("worker_pool"), Some("plan-workers")), Some("queue"));
    assert_eq!(told(&deed, &[]).unwrap(), "pool plan-workers");
    assert_eq!(told(&deed, &[("queue", "exec")]).unwrap(), "pool exec-workers, more-workers");
    let both = [("queue", "exec"), ("worker_pool", "plan-workers")];
    assert_eq!(told(&deed, &both).unwrap(), "pool plan-workers");
    assert_eq!(told(&deed, &[("queue", "idle")]).unwrap_err(), "no pool serves queue idle");
    assert!(told(&deed, &[("queue", "gone")]).unwrap_err().contains("no queue \"gone\""));
    assert!(told(&deed, &[("worker_pool", "gone")]).unwrap_err().contains("no pool \"gone\""));
    let unnamed = scale(selector(None, None), Some("queue"));
    assert_eq!(told(&unnamed, &[]).unwrap_err(), "the alert has no label \"queue\" that names a queue");
}

#[test]
fn everything_else_is_named_too() {
    let all = Deed::ReplaceUnhealthyWorkers { pool: selector(Some("pool"), None) };
    assert_eq!(told(&all, &[]).unwrap(), "pool exec-workers, more-workers, plan-workers");
    assert_eq!(told(&all, &[("pool", "plan-workers")]).unwrap(), "pool plan-workers");
    let restart = Deed::RestartMcpServer { server: selector(Some("server"), None), command: Vec::new() };
    assert_eq!(told(&restart, &[("server", "platform")]).unwrap(), "server platform");
    assert!(told(&restart, &[("server", "x")]).unwrap_err().contains("no MCP server \"x\""));
    assert!(told(&restart, &[]).unwrap_err().contains("no label \"server\""));
    let pause =
        Deed::PauseLane { queue: selector(Some("queue"), None), job_type: selector(Some("type"), None), ttl_ms: 1 };
    assert_eq!(told(&pause, &[("queue", "plan")]).unwrap(), "queue plan");
    assert_eq!(told(&pause, &[("queue", "plan"), ("type", "noop")]).unwrap(), "type noop");
    assert!(told(&pause, &[]).is_err());
    let job = |name: &str| Deed::EnqueueJob { job_type: TypeName::stored(name), payload: String::new() };
    assert_eq!(told(&job("noop"), &[]).unwrap(), "type noop");
    assert!(told(&job("gone"), &[]).unwrap_err().contains("no job type \"gone\""));
    assert_eq!(told(&Deed::RenewLedgerPool, &[]).unwrap(), "ledger");
}

fn rendered(text: &str) -> String {
    let alert = alert("HighQueueDepth", &[("queue", "exec"), ("pod-name", "a\0b")]);
    let facts = Facts { alert: &alert, action: "scale", target: "pool x", node: "n1", number: 3 };
    Template::parse(text).unwrap().render(&facts)
}

#[test]
fn places_are_filled_and_what_is_missing_is_empty() {
    assert_eq!(
        rendered("{alert} ({severity}) since {starts_at} for {label.queue}: {annotation.summary}"),
        "HighQueueDepth (warning) since 1970-01-01T00:00:01.000Z for exec: 600 jobs wait"
    );
    assert_eq!(rendered("#{incident} {action} {target} {node} [{label.gone}]"), "#7 scale pool x n1 []");
    assert_eq!(rendered("{{alert}} and }"), "{alert} and }");
    assert_eq!(Template::parse("a {alert").unwrap_err(), InvalidTemplate::Open);
    let unknown = Template::parse("{queue}").unwrap_err().to_string();
    assert!(unknown.starts_with("has {queue}; expected alert, "), "{unknown}");
    assert!(Template::parse("{label.}").is_err());
}

#[test]
fn a_command_hears_every_label_and_no_nul() {
    let alert = alert("A", &[("pod-name", "a\0b")]);
    let facts = Facts { alert: &alert, action: "x", target: "y", node: "n", number: 3 };
    let variables = facts.variables();
    assert_eq!(variables["GANGER_LABEL_POD_NAME"], "a\u{fffd}b");
    assert_eq!((variables["GANGER_ALERT"].as_str(), variables["GANGER_REMEDIATION"].as_str()), ("A", "3"));
    assert_eq!(facts.json()["alert"]["labels"], json!({"pod-name": "a\0b"}));
}

#[test]
fn an_action_is_silent_for_no_longer_than_its_parts() {
    let mut one = action("x", Deed::RenewLedgerPool);
    assert_eq!(one.longest_ms(), 90_000);
    one.verify = Verify::Nothing;
    assert_eq!(one.longest_ms(), 30_000);
}

proptest! {
    #[test]
    fn a_text_with_doubled_braces_is_itself(text in ".*") {
        let escaped = text.replace('{', "{{").replace('}', "}}");
        prop_assert_eq!(rendered(&escaped), text);
    }

    #[test]
    fn no_text_is_too_odd_to_be_read(text in "[{}a-z. ]{0,40}") {
        let read = Template::parse(&text);
        prop_assert!(read.is_ok() || text.contains('{'), "{:?}", read);
    }

    /// Nothing is done that no response names, and nothing twice in a row of one response.
    #[test]
    fn a_plan_holds_what_is_named(queue in "[a-c]", pattern in "[a-c*]", listed in proptest::collection::vec(0_usize..4, 0..5)) {
        let known = ["scale", "shed", "renew", "gone"];
        let listed: Vec<&str> = listed.into_iter().map(|at| known[at]).collect();
        let rules = rules(vec![response("r", "A", &[("queue", &pattern)], &listed, &[])]);
        let chains = plan(&rules, &alert("A", &[("queue", &queue)]));
        let fits = pattern == "*" || pattern == queue;
        prop_assert_eq!(chains.len(), usize::from(fits));
        let wanted: Vec<&str> = listed.into_iter().filter(|name| *name != "gone").collect();
        for chain in &chains {
            prop_assert_eq!(names(&chain.actions), wanted.clone());
        }
    }
}
