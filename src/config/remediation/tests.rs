use crate::config::{Config, ConfigErrors, ConfigFile, Sources};
use crate::job::{PoolName, TypeName};
use crate::policy::remediation::{Deed, FiredAlert, Verify, plan, target};

fn load(text: &str) -> Result<Config, ConfigErrors> {
    let file = ConfigFile::Text { name: "test.toml".into(), text: text.into() };
    Config::load(&Sources { files: vec![file], ..Sources::default() })
}

fn alert(name: &str, labels: &[(&str, &str)]) -> FiredAlert {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    FiredAlert {
        name: name.to_owned(),
        labels: labels.iter().map(own).collect(),
        annotations: [].into(),
        fingerprint: "f".to_owned(),
        starts_at: crate::clock::Timestamp(0),
        severity: String::new(),
        incident: None,
    }
}

/// What the default configuration does about an alert: kind and target of each action, and of those that follow.
fn done(alert: &FiredAlert) -> Vec<String> {
    let config = load("").unwrap();
    let servers: Vec<String> = config.mcp_servers.keys().cloned().collect();
    let chains = plan(&config.remediation, alert);
    let told = |action: &crate::policy::remediation::Action| {
        let target = target(&action.deed, alert, &config.catalog, &servers);
        let target = target.map_or_else(|why| why, |target| target.to_string());
        format!("{} on {target} until {}", action.deed.kind(), action.verify.name())
    };
    let all = chains.iter().flat_map(|chain| chain.actions.iter().chain(&chain.if_not_healed));
    all.map(told).collect()
}

#[test]
fn the_runbooks_alerts_and_playbooks_are_answered() {
    let deep = done(&alert("HighQueueDepth", &[("queue", "plan")]));
    assert_eq!(deep, ["scale_pool on pool plan-workers until queue_depth", "set_shedding on shedding until in_force"]);
    assert!(done(&alert("HighQueueDepth", &[]))[0].starts_with("scale_pool on pool exec-workers"));
    let sick = done(&alert("WorkerUnhealthy", &[("pool", "exec-workers")]));
    assert_eq!(sick, ["replace_unhealthy_workers on pool exec-workers until workers_healthy"]);
    let database = done(&alert("DatabaseConnectionExhausted", &[]));
    assert_eq!(database, ["renew_ledger_pool on ledger until ledger_answers"]);
    let misses = done(&alert("ElementRepositoryHighMissRate", &[]));
    assert_eq!(misses, ["enqueue_job on type cache_warming until job_succeeded"]);
    let silent = done(&alert("MCPServerUnresponsive", &[("server", "platform")]));
    assert_eq!(
        silent,
        ["restart_mcp_server on server platform until server_answers", "post on its `url` is not set until none"]
    );
    let healing = done(&alert("HealingSuccessRateLow", &[]));
    assert_eq!(
        healing,
        [
            "enqueue_job on type healing_refit until job_succeeded",
            "override on override healing_threshold until in_force"
        ]
    );
    assert!(done(&alert("Watchdog", &[])).is_empty());
}

#[test]
fn the_default_guards_are_the_documented_ones() {
    let rules = load("").unwrap().remediation;
    assert_eq!((rules.enabled, rules.dry_run, rules.per_hour_max), (true, false, 20));
    let renew = &rules.actions["renew_ledger_pool"];
    assert_eq!((renew.cool_down_ms, renew.per_hour_max, renew.verify_ms), (60_000, 5, 60_000));
    let scale = &rules.actions["scale_queue_workers"];
    assert_eq!((scale.cool_down_ms, scale.verify), (300_000, Verify::QueueDepth { below: 500 }));
    let Deed::ScalePool { pool, add, ttl_ms, .. } = &scale.deed else { panic!("{scale:?}") };
    assert_eq!((pool.fixed.as_deref(), *add, *ttl_ms), (Some("exec-workers"), 5, 600_000));
    let Deed::Override { value, .. } = &rules.actions["lower_healing_threshold"].deed else { panic!() };
    assert_eq!(value, &serde_json::json!(0.7));
    let catalog = load("").unwrap().catalog;
    assert!(catalog.pools.contains_key(&PoolName::stored("exec-workers")));
    assert!(catalog.types.contains_key(&TypeName::stored("healing_refit")));
}

#[test]
fn who_inherits_nothing_has_no_remedies() {
    let rules = load("inherit_defaults = false\n").unwrap().remediation;
    assert!(rules.actions.is_empty() && rules.responses.is_empty() && rules.enabled);
}

#[test]
fn every_kind_has_its_keys() {
    let text = "[remediation.actions]\n\
        a = { kind = 'scale_pool', pool = 'plan-workers', add = 2, ttl_ms = 5000 }\n\
        b = { kind = 'pause_lane', type_label = 'job_type', ttl_ms = 5000, verify = 'alert_resolved' }\n\
        c = { kind = 'command', program = 'sh', args = ['-c', 'true'], env = { A = 'b' } }\n\
        d = { kind = 'post', url = 'https://u:p@status.example/x', secret = 's', fields = { t = '{alert}' } }\n\
        e = { kind = 'restart_mcp_server', server = 'platform', command = ['systemctl', 'restart', 'x'] }\n\
        f = { kind = 'override', name = 'mode', value = 'safe' }\n\
        [remediation.alerts.x]\nalert = 'A'\nwhen = { queue = 'e*' }\nactions = ['a', 'b', 'c', 'd', 'e', 'f']\n";
    let rules = load(text).unwrap().remediation;
    assert_eq!(rules.responses["x"].alert, "A");
    let Deed::Post(call) = &rules.actions["d"].deed else { panic!() };
    assert_eq!((call.place.as_str(), call.fields.len()), ("status.example:443", 1));
    assert!(!format!("{call:?}").contains("u:p"), "{call:?}");
    assert_eq!(rules.actions["b"].verify, Verify::AlertResolved);
    assert_eq!(rules.actions["c"].verify, Verify::Nothing);
}

#[test]
fn mistakes_are_told_with_their_key() {
    for (text, key, words) in [
        ("actions.a = { kind = 'scale' }", "actions.a.kind", "\"scale\" is no kind of action; expected \"scale_pool\""),
        ("actions.a = { }", "actions.a.kind", "is missing"),
        ("actions.a = { kind = 'scale_pool', add = 1 }", "actions.a.pool", "at least one of"),
        ("actions.a = { kind = 'scale_pool', add = 0, pool = 'exec-workers' }", "actions.a.add", "from 1 to"),
        (
            "actions.a = { kind = 'scale_pool', add = 1, pool = 'x' }",
            "actions.a.pool",
            "no pool \"x\"; expected \"exec-",
        ),
        ("actions.a = { kind = 'enqueue_job', job_type = 'x' }", "actions.a.job_type", "no job type \"x\""),
        (
            "actions.a = { kind = 'enqueue_job', job_type = 'plan_generation', payload = '{' }",
            "actions.a.payload",
            "is no JSON",
        ),
        ("actions.a = { kind = 'restart_mcp_server', server = 'x' }", "actions.a.server", "no MCP server \"x\""),
        ("actions.a = { kind = 'restart_mcp_server' }", "actions.a.server", "`server_label`"),
        ("actions.a = { kind = 'pause_lane', queue = 'x' }", "actions.a.queue", "no queue \"x\""),
        ("actions.a = { kind = 'override', name = 'a b', value = 1 }", "actions.a.name", "cannot be one"),
        ("actions.a = { kind = 'override', name = 'a', value = [] }", "actions.a.value", "a number, a text"),
        ("actions.a = { kind = 'override', name = 'a', value = nan }", "actions.a.value", "a number, a text"),
        ("actions.a = { kind = 'set_shedding', up = 6, level_max = 2 }", "actions.a.up", "from 1 to 5"),
        ("actions.a = { kind = 'post', url = 'ftp://x' }", "actions.a.url", "http:// or https://"),
        (
            "actions.a = { kind = 'post', url = 'http://x', fields = { t = '{queue}' } }",
            "actions.a.fields.t",
            "has {queue}; expected alert",
        ),
        ("actions.a = { kind = 'command' }", "actions.a.program", "is missing"),
        ("actions.a = { kind = 'renew_ledger_pool', pool = 'x' }", "actions.a.pool", "is not a known key"),
        ("actions.a = { kind = 'renew_ledger_pool', verify = 'pool_size' }", "actions.a.verify", "\"ledger_answers\""),
        ("actions.a = { kind = 'renew_ledger_pool', cool_down_ms = -1 }", "actions.a.cool_down_ms", "from 0"),
        ("actions.'a/b' = { kind = 'renew_ledger_pool' }", "actions.a/b", "cannot be one"),
        ("alerts.X = { actions = ['nothing'] }", "alerts.X.actions", "there is no action \"nothing\""),
        ("alerts.X = { actions = [], if_not_healed = ['y'] }", "alerts.X.if_not_healed", "no action \"y\""),
        ("actions_per_hour = 0", "actions_per_hour", "from 1"),
    ] {
        let told = load(&format!("[remediation]\n{text}\n")).unwrap_err().to_string();
        assert!(told.starts_with(&format!("remediation.{key}: ")) && told.contains(words), "{text}: {told}");
        assert_eq!(told.lines().count(), 1, "{text}: {told}");
    }
}
