use std::collections::BTreeSet;

use super::*;
use crate::job::{PoolName, Priority, QueueName};
use crate::policy::catalog::{Builtin, HandlerSpec, ScaleSignal};
use crate::policy::retry::Backoff;

fn sources(text: &str, environment: &[(&str, &str)]) -> Sources {
    Sources {
        check_redis_url: Some(|url| url.contains("://").then_some(()).ok_or_else(|| "is no URL".to_owned())),
        files: vec![ConfigFile::Text { name: "test.toml".into(), text: text.into() }],
        environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        flags: Flags::default(),
    }
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    Config::load(&sources(text, &[]))
}

/// The problems of a configuration, one per line.
fn problems(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

/// Key lines of the default file: path, line, and the line before.
fn default_keys() -> Vec<(String, &'static str, &'static str)> {
    let (mut section, mut before, mut keys) = (String::new(), "", Vec::new());
    for line in DEFAULT_TOML.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            keys.push((format!("{section}{key}"), line, before));
        }
        before = line;
    }
    keys
}

#[test]
fn the_defaults_are_the_runbooks() {
    let config = Config::load(&Sources::default()).unwrap();
    let catalog = &config.catalog;
    assert_eq!(catalog.queues.len(), 3);
    let queue = |name: &str| &catalog.queues[&QueueName::stored(name)];
    assert_eq!(
        (queue("plan").sla_ms, queue("exec").sla_ms, queue("locator").sla_ms),
        (Some(12_000), None, Some(4_000))
    );
    assert_eq!(queue("locator").priorities, 3);
    assert_eq!(queue("locator").slack_ms, [1_000, 2_500, 4_000, 4_000, 4_000]);
    let pools: Vec<_> =
        catalog.pools.values().map(|p| (p.worker_prefix.as_str(), p.worker_type.as_str(), p.min, p.max)).collect();
    assert_eq!(
        pools,
        [("exec-worker", "execution", 5, 20), ("locator-worker", "locator", 1, 5), ("plan-worker", "plan", 2, 10)]
    );
    let job_type = |name: &str| &catalog.types[&TypeName::stored(name)];
    let healing = &job_type("element_healing").retry;
    assert_eq!((healing.max_retries, healing.backoff, healing.escalate_on_failure), (1, Backoff::Immediate, true));
    assert_eq!(healing.retry_on_errors, ["dom_analysis_timeout"]);
    let testing = &job_type("test_execution").retry;
    assert_eq!((testing.max_retries, testing.backoff, testing.base_delay_ms), (2, Backoff::Linear, 5_000));
    assert_eq!(testing.no_retry_errors, ["element_not_found", "assertion_failure"]);
    let planning = job_type("plan_generation");
    assert_eq!((planning.retry.max_retries, planning.retry.max_delay_ms, planning.sla_ms), (3, 10_000, Some(12_000)));
    let tool = Some("generate_plan".to_owned());
    assert_eq!(planning.handler, HandlerSpec::Mcp { server: "platform".into(), tool });
    // The six of the runbook, what an approved healing starts, and what two of its playbooks start.
    assert_eq!(catalog.types.len(), 9);
    assert_eq!(config.shedding.first.len(), 3);
    assert_eq!((config.lock.ttl_ms, config.lock.wait_ms, config.result_cache.ttl_ms), (300_000, 10_000, 3_600_000));
    assert_eq!((config.breakers.failures, config.breakers.open_ms), (5, 60_000));
    assert!(matches!(config.ledger, LedgerConfig::Sqlite { path, .. } if path.ends_with("ganger-data/ganger.db")));
    assert!(config.redis.is_none());
    assert_eq!(config.scaling, crate::policy::scaling::Rules::default());
}

#[test]
fn every_default_has_a_reason_beside_or_above_it() {
    let keys = default_keys();
    assert!(keys.len() > 100);
    for (path, line, before) in keys {
        assert!(before.starts_with('#') || line.contains(" # "), "`{path}` has no comment");
    }
}

#[test]
fn the_manual_has_the_whole_default_file() {
    let manual = include_str!("../../docs/CONFIG.md");
    let fence = format!("```toml\n{DEFAULT_TOML}```");
    assert!(manual.contains(&fence), "docs/CONFIG.md must end with config/default.toml as it is");
}

#[test]
fn all_problems_are_told_together_with_key_and_source() {
    let mut sources = sources(
        "[server]\nlistne = 'x'\n[pools.plan-workers]\nmin = 0\nmax = '7'\n[job_types.x.retry]\njitter = 'some'\n",
        &[("GANGER__LEASE__TTL_MS", "soon"), ("GANGER__QUEUES__PLAN__PRIORITYS", "3"), ("OTHER", "x")],
    );
    sources.flags.listen = Some("nowhere".into());
    let told = Config::load(&sources).unwrap_err();
    let told: BTreeSet<(&str, &str)> = told.0.iter().map(|it| (it.key.as_str(), it.source.as_str())).collect();
    let file = "file test.toml";
    let expected = BTreeSet::from([
        ("server.listne", file),
        ("server.listen", "flag --listen"),
        ("pools.plan-workers.min", file),
        ("pools.plan-workers.max", file),
        ("job_types.x.retry.jitter", file),
        ("job_types.x.queue", file),
        ("job_types.x.handler", file),
        ("lease.ttl_ms", "environment"),
        ("queues.plan.prioritys", "environment"),
    ]);
    assert_eq!(told, expected);
}

#[test]
fn a_problem_says_what_would_be_right() {
    assert_eq!(
        problems("[server]\nlistne = 'x'"),
        "server.listne: is not a known key; did you mean `listen`? (file test.toml)"
    );
    let text = problems("[job_types.plan_generation.retry]\nbase_delay_ms = -1\nbackoff_strategy = 'cubic'");
    assert!(text.contains("expected a whole number from 0 to 2592000000, found -1"), "{text}");
    assert!(text.contains(r#"expected "exponential", "linear" or "immediate", found "cubic""#), "{text}");
    let text = problems("a = 1\nb = = 2\n");
    assert!(text.starts_with("file test.toml: line 2, column 5: "), "{text}");
    let missing = ConfigFile::Path("/nowhere/ganger.toml".into());
    let text = Config::load(&Sources { files: vec![missing], ..Sources::default() }).unwrap_err().to_string();
    assert!(text.starts_with("file /nowhere/ganger.toml: cannot be read"), "{text}");
}

#[test]
fn a_later_layer_wins() {
    let mut sources = sources(
        "[server]\nlisten = '127.0.0.1:1'\nnode = 'a'\n[shutdown]\nsoft_ms = 5\n",
        &[
            ("GANGER__SERVER__LISTEN", "127.0.0.1:2"),
            ("GANGER__SERVER__NODE", "7"),
            ("GANGER__POOLS__PLAN_WORKERS__MIN", "3"),
            ("GANGER__POOLS__PLAN_WORKERS__TARGET_CPU", "1"),
            ("GANGER__SHEDDING__FIRST", "analytics_queries, report_generation"),
            ("GANGER__QUEUES__PLAN__SLACK_MS", "1,2,3,4,5"),
            ("GANGER__SHEDDING__MODE", "2"),
        ],
    );
    sources.flags = Flags { listen: Some("localhost:3".into()), data_dir: Some("/d".into()), ..Flags::default() };
    sources.files.push(ConfigFile::Text { name: "second.toml".into(), text: "server.node = 'b'".into() });
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:3");
    assert_eq!(config.server.node.as_deref(), Some("7"));
    assert_eq!(config.shutdown.soft_ms, 5);
    let pool = &config.catalog.pools[&PoolName::stored("plan-workers")];
    assert_eq!((pool.min, pool.target_cpu, pool.max), (3, 1.0, 10));
    assert_eq!(config.shedding.first.len(), 2);
    assert_eq!(config.shedding.mode, SheddingMode::Level(2));
    assert_eq!(config.catalog.queues[&QueueName::stored("plan")].slack_ms, [1, 2, 3, 4, 5]);
    assert!(matches!(config.ledger, LedgerConfig::Sqlite { path, .. } if path == std::path::Path::new("/d/ganger.db")));
}

#[test]
fn everything_can_be_renamed() {
    let config = load(
        "inherit_defaults = false\n[queues.mail]\n[pools.posties]\nqueue = 'mail'\n\
         [job_types.letter]\nqueue = 'mail'\npriority = 2\nhandler = { kind = 'builtin', name = 'echo' }\n",
    )
    .unwrap();
    let catalog = &config.catalog;
    assert_eq!((catalog.queues.len(), catalog.pools.len(), catalog.types.len()), (1, 1, 1));
    let pool = &catalog.pools[&PoolName::stored("posties")];
    assert_eq!((pool.worker_prefix.as_str(), pool.worker_type.as_str()), ("postie", "mail"));
    assert_eq!((pool.min, pool.max, &pool.scale_on), (1, 5, &vec![ScaleSignal::QueueDepth]));
    let letter = &catalog.types[&TypeName::stored("letter")];
    assert_eq!((letter.priority, letter.timeout_ms, letter.sla_ms), (Priority::from_number(2).unwrap(), 60_000, None));
    assert_eq!(letter.handler, HandlerSpec::Builtin(Builtin::Echo));
    assert_eq!(letter.retry.max_retries, 3);
    assert!(config.mcp_servers.is_empty() && config.shedding.first.is_empty());
}

#[test]
fn a_default_type_can_get_another_handler() {
    let text = "[job_types.plan_generation.handler]\nkind = 'command'\nprogram = 'make'\nargs = ['plan']\n\
                exit_classes = { '2' = 'assertion_failure' }\nenv = { CI = '1' }\n[mcp_servers.platform]\n\
                url = 'http://localhost/mcp'\n";
    let config = load(text).unwrap();
    let HandlerSpec::Command { program, args, env, exit_classes } =
        &config.catalog.types[&TypeName::stored("plan_generation")].handler
    else {
        panic!("not a command");
    };
    assert_eq!((program.as_str(), args.as_slice(), env["CI"].as_str()), ("make", &["plan".to_owned()][..], "1"));
    assert_eq!(exit_classes[&2], "assertion_failure");
    assert!(matches!(config.mcp_servers["platform"].target, McpTarget::Url { .. }));
}

#[test]
fn mcp_servers_have_defaults_and_hide_their_secrets() {
    let text = "[defaults.mcp_server]\nkeep_ms = 7\n[mcp_servers.web]\nurl = 'https://u:hunter2@h/mcp'\ntoken = 'hunter2'\n\
                headers = { X-Team = 'hunter2' }\nidle_ms = 5\n[mcp_servers.child]\ncommand = ['sh', '-c', 'x']\n\
                env = { A = 'hunter2' }\nafter_steps = 'reuse'\nprotocol = 'initialize'\napi_role = 'read'\n";
    let config = Config::load(&sources(text, &[("GANGER__MCP_SERVERS__CHILD__CONNECTIONS", "9")])).unwrap();
    let (web, child) = (&config.mcp_servers["web"], &config.mcp_servers["child"]);
    assert_eq!((web.idle_ms, web.keep_ms, web.connections, child.keep_ms, child.connections), (5, 7, 4, 7, 9));
    assert_eq!((child.after_steps, child.protocol), (McpAfterSteps::Reuse, McpProtocol::Initialize));
    assert_eq!((web.api_role, child.api_role), (McpApiRole::None, McpApiRole::Read));
    let McpTarget::Url { token, headers, .. } = &web.target else { panic!("no url") };
    assert_eq!((token.as_ref().unwrap().expose(), headers["X-Team"].expose()), ("hunter2", "hunter2"));
    assert!(!show(&config, true).contains("hunter2"), "{}", show(&config, true));
    for (text, expected) in [
        (
            "[mcp_servers.a]\nconnections = 0\ncommand = ['x']",
            "mcp_servers.a.connections: expected a whole number from 1",
        ),
        ("[mcp_servers.a]\ncommand = ['x']\napi_role = 'operate'", "mcp_servers.a.api_role: expected"),
        (
            "[mcp_servers.a]\nurl = 'http://h'\nheaders = { Mcp-Session-Id = 'x' }",
            "mcp_servers.a.headers.Mcp-Session-Id: cannot",
        ),
        ("[mcp_servers.a]\nurl = 'http://h'\nenv = { A = 'x' }", "mcp_servers.a.env: is not a known key"),
        ("[mcp_servers.a]\ncommand = []", "mcp_servers.a.command: expected a program"),
        (
            "[defaults.mcp_server]\nkeep_m = 1",
            "defaults.mcp_server.keep_m: is not a known key; did you mean `keep_ms`?",
        ),
    ] {
        let told = problems(text);
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn references_must_lead_somewhere() {
    let told = problems(
        "[pools.p]\nqueue = 'nowhere'\n[shedding]\nfirst = ['nothing']\n[job_types.t]\nqueue = 'nirvana'\n\
         depends_on = ['mcp:nobody', 'mcp:platform']\n[job_types.t.handler]\nkind = 'mcp'\nserver = 'noone'\ntool = 'x'\n",
    );
    for (key, name) in [
        ("pools.p.queue", "\"nowhere\""),
        ("shedding.first", "\"nothing\""),
        ("job_types.t.queue", "\"nirvana\""),
        ("job_types.t.depends_on", "\"nobody\""),
        ("job_types.t.handler.server", "\"noone\""),
    ] {
        assert!(told.lines().any(|line| line.starts_with(key) && line.contains(name)), "{key} in\n{told}");
    }
    assert_eq!(told.lines().count(), 5, "{told}");
}

#[test]
fn bounds_are_held_and_named() {
    for (text, key, bound) in [
        ("pools.plan-workers.min = 11", "pools.plan-workers.min", "above `max` = 10"),
        ("pools.plan-workers.target_cpu = 1.5", "pools.plan-workers.target_cpu", "at most 1"),
        ("pools.plan-workers.target_queue_depth = 0", "pools.plan-workers.target_queue_depth", "above 0"),
        ("pools.plan-workers.target_cpu = 0", "pools.plan-workers.target_cpu", "above 0"),
        ("pools.plan-workers.cpu_request = -0.5", "pools.plan-workers.cpu_request", "above 0"),
        ("defaults.pool.memory_request_bytes = 0", "defaults.pool.memory_request_bytes", "from 1"),
        ("defaults.pool.target_latency_ms = 0", "defaults.pool.target_latency_ms", "from 1"),
        ("pools.plan-workers.scale_on = ['load']", "pools.plan-workers.scale_on", "\"latency\""),
        ("scaling.tick_ms = 0", "scaling.tick_ms", "from 100"),
        ("scaling.tolerance = -0.1", "scaling.tolerance", "above 0"),
        ("scaling.down_window_ms = 0", "scaling.down_window_ms", "from 1000"),
        ("scaling.down_window_ms = -300000", "scaling.down_window_ms", "from 1000"),
        ("scaling.up_window_ms = 400000", "scaling.up_window_ms", "above `down_window_ms` = 300000"),
        ("scaling.cpu_window_ms = 0", "scaling.cpu_window_ms", "from 1000"),
        ("scaling.up_workers = 0", "scaling.up_workers", "from 1"),
        ("scaling.down_period_ms = 0", "scaling.down_period_ms", "from 1000"),
        ("scaling.cpu_headroom = 1.1", "scaling.cpu_headroom", "at most 1"),
        ("lease.ttl_ms = 20000", "lease.ttl_ms", "not more than twice `renew_ms` = 10000 (a default)"),
        ("queues.plan.priorities = 6", "queues.plan.priorities", "from 1 to 5"),
        (
            "job_types.batch_locator_generation.priority = 4",
            "job_types.batch_locator_generation.priority",
            "is 4, above `queues.locator.priorities` = 3 (a default)",
        ),
        ("job_types.plan_generation.timeout_ms = 0", "job_types.plan_generation.timeout_ms", "from 1 to 2592000000"),
        ("retention.key_age_s = 3600", "retention.key_age_s", "from 86400"),
        ("server.listen = '127.0.0.1:70000'", "server.listen", "ADDRESS:PORT"),
        ("queues.plan.slack_ms = [3, 2]", "queues.plan.slack_ms", "never falling"),
        ("queues.'a b' = {}", "queues.a b", "the name has the character ' '"),
        ("logging.filter = 'x=y=z'", "logging.filter", "no filter"),
        ("defaults.queue.priorities = 0", "defaults.queue.priorities", "from 1 to 5"),
        ("pools.plan-worker = { queue = 'plan' }", "pools.plan-workers", "is that of pool plan-worker too"),
        (
            "job_types.plan_generation.handler = { mode = 'steps', tool = 'x' }",
            "job_types.plan_generation.handler.tool",
            "excludes `mode",
        ),
    ] {
        let told = problems(text);
        assert!(told.starts_with(key) && told.contains(bound), "{text}: {told}");
        assert_eq!(told.lines().count(), 1, "{text}: {told}");
    }
}

#[test]
fn a_rule_of_shedding_exits_below_where_it_enters() {
    let defaults = Config::load(&Sources::default()).unwrap().shedding;
    let rules = [defaults.cpu, defaults.memory, defaults.queue_depth, defaults.error_rate, defaults.response_time_p95];
    let told = rules.map(|rule| (rule.enter, (rule.exit * 1e6).round() / 1e6, rule.samples, rule.dwell_ms));
    let expected = [
        (0.95, 0.85, 3, 30_000),
        (0.9, 0.82, 1, 30_000),
        (1_000.0, 800.0, 2, 30_000),
        (0.2, 0.1, 2, 60_000),
        (30_000.0, 20_000.0, 2, 60_000),
    ];
    assert_eq!(told, expected);
    let lower = load("shedding = { queue_depth = 10, memory = 0.97 }").unwrap().shedding;
    assert_eq!((lower.queue_depth.exit, lower.memory_critical), (8.0, 0.97));
    for (text, key, bound) in [
        ("shedding.cpu_exit = 0.95", "shedding.cpu_exit", "not below `cpu` = 0.95 (a default)"),
        ("shedding.memory_critical = 0.8", "shedding.memory_critical", "is 0.8, below `memory` = 0.9 (a default)"),
        ("shedding = { memory_critical = 0.8, memory = 0.85 }", "shedding.memory_critical", "below `memory` = 0.85"),
        ("shedding = { queue_depth = 10, queue_depth_exit = 11 }", "shedding.queue_depth_exit", "below `queue_depth`"),
        ("shedding.memory_exit = 0.99", "shedding.memory_exit", "below `memory`"),
        ("shedding.error_rate_exit = 0.3", "shedding.error_rate_exit", "below `error_rate`"),
        ("shedding.response_time_p95_exit_ms = 30000", "shedding.response_time_p95_exit_ms", "below"),
        ("shedding.error_rate = 1.5", "shedding.error_rate", "at most 1"),
        ("shedding.cpu = 0", "shedding.cpu", "above 0"),
        ("shedding.cpu_exit = -0.1", "shedding.cpu_exit", "from 0 to 1"),
        ("shedding.dwell_ms = -1", "shedding.dwell_ms", "from 0"),
        ("shedding.step_up_ms = 0", "shedding.step_up_ms", "from 1"),
        ("shedding.probe_share = 2", "shedding.probe_share", "from 0 to 1"),
        ("shedding.mode = 6", "shedding.mode", "1 to 5"),
    ] {
        let told = problems(text);
        assert!(told.starts_with(key) && told.contains(bound), "{text}: {told}");
        assert_eq!(told.lines().count(), 1, "{text}: {told}");
    }
}

#[test]
fn there_are_two_footings_only() {
    let redis = "redis.url = 'redis://r'\n";
    let postgres = "ledger.url = 'postgres://u:hunter2@p/d'\n";
    let told = problems(redis);
    assert!(told.starts_with("redis.url") && told.contains("ledger.url"), "{told}");
    let told = problems(postgres);
    assert!(told.starts_with("ledger.url") && told.contains("redis.url"), "{told}");
    let told = problems(&format!("redis.url = 'cache:6379'\n{postgres}"));
    assert!(told.starts_with("redis.url") && told.contains("is no URL"), "{told}");
    let config = load(&format!("{redis}{postgres}")).unwrap();
    assert!(matches!(config.ledger, LedgerConfig::Postgres { .. }) && config.redis.is_some());
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn off_loopback_needs_a_token_or_words() {
    let open = "[server]\nlisten = '0.0.0.0:7521'\n";
    assert!(problems(open).starts_with("server.listen"));
    assert!(load(&format!("{open}allow_off_loopback_without_auth = '{ALLOW_WITHOUT_AUTH}'")).is_ok());
    assert!(problems("server.allow_off_loopback_without_auth = 'yes'").contains(ALLOW_WITHOUT_AUTH));
    let token = "[auth.tokens.ci]\nrole = 'submit'\ntoken = '0123456789abcdef'\n";
    let config = load(&format!("{open}{token}")).unwrap();
    assert_eq!(config.auth.tokens["ci"].roles, BTreeSet::from([Role::Submit]));
}

#[test]
fn secrets_come_from_files_and_are_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pg"), "postgres://u:hunter2@p/d\n").unwrap();
    std::fs::write(folder.path().join("token"), "hunter2-hunter2-hunter2\n").unwrap();
    let text = "ledger.url_file = 'pg'\nredis.url = 'redis://:hunter2@r/0'\n\
                auth.tokens.ci = { roles = ['read', 'operate'], token_file = 'token' }\n\
                [job_types.x]\nqueue = 'exec'\n\
                handler = { kind = 'http', url = 'http://u:hunter2@h/', secret = 'whsec_aHVudGVyMg==' }\n\
                [job_types.y]\nqueue = 'exec'\nhandler = { kind = 'command', program = 'x', env = { KEY = 'hunter2' } }\n";
    let config = Config::load(&sources(text, &[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())])).unwrap();
    assert!(matches!(&config.ledger, LedgerConfig::Postgres { url, .. } if url.expose() == "postgres://u:hunter2@p/d"));
    assert_eq!(config.auth.tokens["ci"].token.expose(), "hunter2-hunter2-hunter2");
    let HandlerSpec::Http { secret: Some(secret), .. } = &config.catalog.types[&TypeName::stored("x")].handler else {
        panic!("no secret");
    };
    assert_eq!(secret.0, b"hunter2");
    let shown = show(&config, true);
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
    assert!(!format!("{:?} {:?} {:?}", config.ledger, config.redis, config.auth).contains("hunter2"));

    let told = problems("auth.tokens.ci = { role = 'read', token = 'hunter2', token_file = '/nowhere/x' }");
    assert!(told.contains("auth.tokens.ci.token_file: excludes `token`") && !told.contains("hunter2"), "{told}");
    let told = problems("auth.tokens.ci = { role = 'read', token = 'hunter2' }");
    assert!(told.contains("at least 16") && !told.contains("hunter2"), "{told}");
    let told = problems("auth.tokens.ci = { role = 'read', token_file = '/nowhere/x' }");
    assert!(told.contains("/nowhere/x cannot be read"), "{told}");
}

#[test]
fn credentials_of_a_service_manager_count_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let at = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    let text = "server.listen = '0.0.0.0:7521'\nredis.url = 'redis://file'\nledger.url = 'postgres://file/d'\n";
    write("api-token", "\n");
    let told = Config::load(&sources(text, &at)).unwrap_err().to_string();
    assert!(told.starts_with("server.listen"), "an empty credential is none: {told}");

    write("api-token", "hunter2-hunter2-hunter2\n");
    write("redis-url", "redis://:hunter2@credential/0\n");
    write("database-url", "postgres://u:hunter2@credential/d\n");
    let config = Config::load(&sources(text, &at)).unwrap();
    assert_eq!(config.redis.as_ref().unwrap().url.expose(), "redis://:hunter2@credential/0");
    assert!(matches!(&config.ledger, LedgerConfig::Postgres { url, .. } if url.expose().contains("credential")));
    assert_eq!(config.auth.tokens["api-token"].roles, BTreeSet::from([Role::Submit, Role::Read, Role::Operate]));
    let shown = show(&config, true);
    assert!(
        !shown.contains("hunter2") && shown.contains("url_file = \"redis-url\"  # credential redis-url"),
        "{shown}"
    );

    // What is said to this process alone counts more.
    let config = Config::load(&sources(text, &[at[0], ("GANGER__REDIS__URL", "redis://environment")])).unwrap();
    assert_eq!(config.redis.unwrap().url.expose(), "redis://environment");

    write("api-token", "short");
    let told = Config::load(&sources(text, &at)).unwrap_err().to_string();
    assert!(told.contains("auth.tokens.api-token.token_file") && told.contains("credential api-token"), "{told}");
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let text = "[queues.'odd.name']\n[job_types.t]\nqueue = 'odd.name'\n[job_types.t.handler]\nkind = 'mcp'\n\
                server = 'platform'\nmode = 'steps'\nclassify = [{ match = '*Time\"out*', class = 'timeout' }]\n";
    let config = Config::load(&sources(text, &[("GANGER__POOLS__PLAN_WORKERS__MIN", "3")])).unwrap();
    let again = load(&show(&config, true)).unwrap();
    assert_eq!(again.catalog, config.catalog);
    assert_eq!(again.classify, config.classify);
    assert_eq!(again.classify[&TypeName::stored("t")][0].pattern, "*Time\"out*");
    assert_eq!(show(&again, false), show(&config, false));
    assert!(show(&config, true).contains("min = 3  # environment"));
}

#[test]
fn the_examples_load() {
    let checksums = load(include_str!("../../examples/checksums/ganger.toml")).unwrap();
    let types: Vec<&str> = checksums.catalog.types.keys().map(TypeName::as_str).collect();
    assert_eq!(types, ["sha256", "sha256_http"]);
    let bench = load(include_str!("../../examples/bench/ganger.toml")).unwrap();
    let pool = &bench.catalog.pools[&PoolName::stored("bench-workers")];
    assert_eq!((pool.min, pool.max, bench.shedding.mode), (64, 64, SheddingMode::Off));
}

#[test]
fn absurd_thresholds_of_health_are_told_with_their_key() {
    let config = load("[health]\nhung_after_ms = 700\n[handlers]\nterm_grace_ms = 600\n").unwrap();
    let defaults = crate::policy::health::HealthRules::default();
    assert_eq!(config.health, crate::policy::health::HealthRules { hung_after_ms: 700, ..defaults });
    let table = [
        ("[health]\nmemory = 1.5", "health.memory: expected a number above 0, at most 1, found 1.5"),
        ("[health]\nsuccess_rate = -0.1", "health.success_rate: expected a number above 0"),
        ("[health]\ncheck_ms = -5", "health.check_ms: expected a whole number from 100"),
        ("[health]\nunhealthy_after = 0", "health.unhealthy_after: expected a whole number from 1"),
        ("[health]\nreplace_share = 0", "health.replace_share: expected a number above 0"),
        ("[health]\nhung_after_ms = 5000", "health.hung_after_ms: is 5000, not above `handlers.term_grace_ms` = 5000"),
        ("[health]\npanics = 1", "health.panics: is not a known key"),
        (
            "[pools.exec-workers]\nworker_memory_bytes = 100\nrecycle_memory_bytes = 100",
            "pools.exec-workers.recycle_memory_bytes: is 100, not below `worker_memory_bytes` = 100",
        ),
        ("[pools.exec-workers]\nrecycle_after_jobs = -1", "pools.exec-workers.recycle_after_jobs: expected a whole"),
    ];
    for (text, expected) in table {
        let told = problems(text);
        assert!(told.starts_with(expected), "{told}");
    }
}
