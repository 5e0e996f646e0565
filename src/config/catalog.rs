//! Queues, pools and job types: from text to the catalogue that the engine trusts.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;

use crate::job::{InvalidName, Priority, QueueName, TypeName};
use crate::policy::catalog::{Builtin, Catalog, HandlerSpec, JobType, OnLate, Ordering, Queue, Secret};
use crate::policy::retry::{Backoff, Jitter, RetryPolicy};

use super::clash::clash;
use super::reader::{Section, one_of};
use super::{ClassifyRule, DURATION_MS_MAX, pools};

/// More retries than this are an endless loop in disguise.
const RETRIES_MAX: u64 = 1_000;
/// The longest error class, in bytes: classes are metric labels.
const CLASS_BYTES_MAX: usize = 64;
/// What the only place for final failures is called.
const REVIEW_QUEUE: &str = "manual_review_queue";

/// What the catalogue sections say.
pub(super) struct Catalogued {
    pub(super) catalog: Catalog,
    pub(super) classify: BTreeMap<TypeName, Vec<ClassifyRule>>,
}

pub(super) fn read<'a>(root: &Section<'a>, defaults: &Section<'a>, servers: &BTreeSet<String>) -> Catalogued {
    let queues = queues(root, &defaults.table("queue"));
    let pools = pools::read(root, &defaults.table("pool"), &queues);
    let mut classify = BTreeMap::new();
    let types = job_types(root, &defaults.table("job_type"), &queues, servers, &mut classify);
    Catalogued { catalog: Catalog { queues, pools, types }, classify }
}

/// Checks the name of an entry; `None` after a problem was noted.
pub(super) fn named<T>(outer: &Section<'_>, name: &str, checked: Result<T, InvalidName>) -> Option<T> {
    checked.map_err(|error| outer.problem(name, format!("the name {error}"))).ok()
}

fn queues(root: &Section<'_>, defaults: &Section<'_>) -> BTreeMap<QueueName, Queue> {
    // The defaults are read as a queue of their own first, so that they are checked even when no queue is there.
    queue(defaults, QueueName::stored("default"));
    defaults.finish();
    let outer = root.table("queues");
    let mut queues = BTreeMap::new();
    for (name, section) in root.tables("queues") {
        let section = section.with_fallback(defaults);
        if let Some(name) = named(&outer, &name, QueueName::new(&name)) {
            queues.insert(name.clone(), queue(&section, name));
        }
        section.finish();
    }
    queues
}

fn queue(section: &Section<'_>, name: QueueName) -> Queue {
    let priorities = section.integer("priorities", 1, 5);
    // After a problem it takes all, so that no type is blamed for it.
    let priorities = if section.is_sound(&["priorities"]) { u8::try_from(priorities).unwrap_or(5) } else { 5 };
    let sla_ms = section.integer("sla_ms", 0, DURATION_MS_MAX);
    let slack = section.integers("slack_ms");
    let bad = slack.is_empty() || slack.len() > 5 || !slack.is_sorted() || slack.last() > Some(&DURATION_MS_MAX);
    if bad {
        section.problem("slack_ms", format!("expected 1 to 5 numbers, never falling, at most {DURATION_MS_MAX}"));
    }
    let mut slack_ms = [0; 5];
    for (at, slot) in slack_ms.iter_mut().enumerate() {
        let said = slack.get(at).or(slack.last()).copied().unwrap_or(0);
        *slot = i64::try_from(said).unwrap_or(i64::MAX);
    }
    Queue {
        name,
        priorities,
        sla_ms: (sla_ms > 0).then_some(sla_ms),
        ordering: section.choice("ordering", &[("deadline", Ordering::Deadline), ("strict", Ordering::Strict)]),
        slack_ms,
    }
}

/// The queue that a pool or a type names.
pub(super) fn queue_of(section: &Section<'_>, queues: &BTreeMap<QueueName, Queue>) -> Option<QueueName> {
    let expected = format!("the name of a queue: {}", one_of(queues.keys().map(QueueName::as_str)));
    let text = section.essential_text("queue", &expected);
    let known = queues.keys().find(|name| name.as_str() == text);
    if known.is_none() && !text.is_empty() {
        section.problem("queue", format!("there is no queue {text:?}; expected {expected}"));
    }
    known.cloned()
}

fn job_types(
    root: &Section<'_>,
    defaults: &Section<'_>,
    queues: &BTreeMap<QueueName, Queue>,
    servers: &BTreeSet<String>,
    classify: &mut BTreeMap<TypeName, Vec<ClassifyRule>>,
) -> BTreeMap<TypeName, JobType> {
    let retry_defaults = defaults.table("retry");
    retry(&retry_defaults);
    retry_defaults.finish();
    let nothing = HandlerSpec::Builtin(Builtin::Noop);
    job_type(defaults, TypeName::stored("default"), None, nothing, retry(&retry_defaults), servers);
    defaults.finish();
    let outer = root.table("job_types");
    let mut types = BTreeMap::new();
    for (name, section) in root.tables("job_types") {
        let retry_section = section.table("retry").with_fallback(&retry_defaults);
        let section = section.with_fallback(defaults);
        let retry = retry(&retry_section);
        retry_section.finish();
        let queue = queue_of(&section, queues).and_then(|name| queues.get(&name));
        if !section.has("handler") {
            section.problem("handler", "is missing; expected a table with `kind`");
        }
        let handler_section = section.table("handler");
        let (handler, rules) = if section.has("handler") {
            handler(&handler_section, servers)
        } else {
            (HandlerSpec::Builtin(Builtin::Noop), Vec::new())
        };
        if let Some(name) = named(&outer, &name, TypeName::new(&name)) {
            let known = job_type(&section, name.clone(), queue, handler, retry, servers);
            check_priority(root, &section, queue, known.priority);
            types.insert(name.clone(), known);
            classify.insert(name, rules);
        }
        section.finish();
    }
    classify.retain(|_, rules| !rules.is_empty());
    types
}

/// A type's priority must be one that its queue takes.
fn check_priority(root: &Section<'_>, section: &Section<'_>, queue: Option<&Queue>, said: Priority) {
    let Some(queue) = queue.filter(|queue| said.number() > queue.priorities) else { return };
    let defaults = root.table("defaults").table("queue");
    let of_queue = root.table("queues").table(queue.name.as_str()).with_fallback(&defaults);
    let least = of_queue.says("priorities", queue.priorities);
    clash(&section.says("priority", said.number()), ["above", "below"], &least, "");
}

fn job_type(
    section: &Section<'_>,
    name: TypeName,
    queue: Option<&Queue>,
    handler: HandlerSpec,
    retry: RetryPolicy,
    servers: &BTreeSet<String>,
) -> JobType {
    let said = section.priority("priority");
    let sla_ms = section.integer("sla_ms", 0, DURATION_MS_MAX);
    let depends_on = section.texts("depends_on");
    for breaker in &depends_on {
        let unknown = breaker.strip_prefix("mcp:").filter(|server| !servers.contains(*server));
        if let Some(server) = unknown {
            section.problem("depends_on", format!("there is no MCP server {server:?}"));
        } else if breaker.trim().is_empty() {
            section.problem("depends_on", "names a breaker without a name");
        } else if breaker.chars().any(char::is_control) || matches!(breaker.as_str(), "." | "..") {
            section.problem("depends_on", format!("{breaker:?} cannot be the name of a breaker"));
        }
    }
    JobType {
        name,
        queue: queue.map_or_else(|| QueueName::stored("unknown"), |queue| queue.name.clone()),
        priority: said,
        timeout_ms: section.integer("timeout_ms", 1, DURATION_MS_MAX),
        sla_ms: if sla_ms > 0 { Some(sla_ms) } else { queue.and_then(|queue| queue.sla_ms) },
        depends_on,
        on_late: section
            .choice("on_late", &[("run", OnLate::Run), ("expire", OnLate::Expire), ("escalate", OnLate::Escalate)]),
        retry,
        handler,
    }
}

fn retry(section: &Section<'_>) -> RetryPolicy {
    let base_delay_ms = section.integer("base_delay_ms", 0, DURATION_MS_MAX);
    let max_delay_ms = section.integer("max_delay_ms", 0, DURATION_MS_MAX);
    if base_delay_ms > max_delay_ms {
        let base = section.says("base_delay_ms", base_delay_ms);
        clash(&base, ["above", "below"], &section.says("max_delay_ms", max_delay_ms), "");
    }
    let escalate = section.optional_text("escalate_on_failure");
    if escalate.as_ref().is_some_and(|place| place != REVIEW_QUEUE) {
        section.problem("escalate_on_failure", format!("expected {REVIEW_QUEUE:?} or an empty text"));
    }
    RetryPolicy {
        max_retries: u32::try_from(section.integer("max_retries", 0, RETRIES_MAX)).unwrap_or(0),
        backoff: section.choice(
            "backoff_strategy",
            &[("exponential", Backoff::Exponential), ("linear", Backoff::Linear), ("immediate", Backoff::Immediate)],
        ),
        base_delay_ms,
        max_delay_ms,
        jitter: section.choice("jitter", &[("full", Jitter::Full), ("none", Jitter::None)]),
        retry_on_errors: classes(section, "retry_on_errors"),
        no_retry_errors: classes(section, "no_retry_errors"),
        escalate_on_failure: escalate.is_some(),
    }
}

pub(super) fn classes(section: &Section<'_>, key: &str) -> Vec<String> {
    let classes = section.texts(key);
    for class in &classes {
        check_class(section, key, class);
    }
    classes
}

fn check_class(section: &Section<'_>, key: &str, class: &str) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if class.is_empty() || class.len() > CLASS_BYTES_MAX || !class.chars().all(fits) {
        let expected = format!("letters, digits, `_`, `-` and `.`, at most {CLASS_BYTES_MAX}");
        section.problem(key, format!("{class:?} cannot be an error class; expected {expected}"));
    }
}

fn handler(section: &Section<'_>, servers: &BTreeSet<String>) -> (HandlerSpec, Vec<ClassifyRule>) {
    #[derive(Clone, Copy)]
    enum Kind {
        Mcp,
        Http,
        Command,
        Builtin,
    }
    let kinds = [("mcp", Kind::Mcp), ("http", Kind::Http), ("command", Kind::Command), ("builtin", Kind::Builtin)];
    let known = section.optional_text("kind").is_some_and(|kind| kinds.iter().any(|(word, _)| *word == kind));
    let kind = section.choice("kind", &kinds);
    if !known {
        // Without its kind no other key can be judged.
        return (HandlerSpec::Builtin(Builtin::Noop), Vec::new());
    }
    let mut rules = Vec::new();
    let spec = match kind {
        Kind::Mcp => {
            rules = classify_rules(section);
            mcp(section, servers)
        }
        Kind::Http => HandlerSpec::Http {
            url: section.http_url("url"),
            secret: section.secret("secret", "secret_file").map(|text| webhook_secret(section, text.expose())),
        },
        Kind::Command => HandlerSpec::Command {
            program: section.essential_text("program", "a program"),
            args: if section.has("args") { section.texts("args") } else { Vec::new() },
            env: section.text_table("env"),
            exit_classes: exit_classes(section),
        },
        Kind::Builtin => HandlerSpec::Builtin(section.choice(
            "name",
            &[("noop", Builtin::Noop), ("echo", Builtin::Echo), ("sleep", Builtin::Sleep), ("fail", Builtin::Fail)],
        )),
    };
    section.finish();
    (spec, rules)
}

fn mcp(section: &Section<'_>, servers: &BTreeSet<String>) -> HandlerSpec {
    let expected = format!("the name of an MCP server: {}", one_of(servers.iter().map(String::as_str)));
    let server = section.essential_text("server", &expected);
    if !server.is_empty() && !servers.contains(&server) {
        section.problem("server", format!("there is no MCP server {server:?}; expected {expected}"));
    }
    let steps = section.has("mode") && section.choice("mode", &[("tool", false), ("steps", true)]);
    let tool = section.optional_text("tool");
    match (&tool, steps) {
        (Some(_), true) => {
            section.problem("tool", "excludes `mode = \"steps\"`, where the payload names the tools");
        }
        (None, false) => section.problem("tool", "is missing; expected a tool's name, or `mode = \"steps\"`"),
        _ => {}
    }
    HandlerSpec::Mcp { server, tool: tool.filter(|_| !steps) }
}

fn classify_rules(section: &Section<'_>) -> Vec<ClassifyRule> {
    let mut rules = Vec::new();
    for rule in section.list_of_tables("classify") {
        let pattern = rule.essential_text("match", "a pattern with `*` for any text");
        let class = rule.essential_text("class", "an error class");
        if !class.is_empty() {
            check_class(&rule, "class", &class);
        }
        rule.finish();
        rules.push(ClassifyRule { pattern, class });
    }
    rules
}

fn exit_classes(section: &Section<'_>) -> BTreeMap<i32, String> {
    let table = section.table("exit_classes");
    let mut classes = BTreeMap::new();
    for (code, class) in section.text_table("exit_classes") {
        check_class(&table, &code, &class);
        match code.parse() {
            Ok(number @ 1..=255) => {
                classes.insert(number, class);
            }
            _ => table.problem(&code, "is not an exit code; expected 1 to 255"),
        }
    }
    classes
}

/// `whsec_` and base64 as the Standard Webhooks write it, or the bytes of the text itself.
pub(super) fn webhook_secret(section: &Section<'_>, text: &str) -> Secret {
    let Some(encoded) = text.strip_prefix("whsec_") else { return Secret(text.as_bytes().to_vec()) };
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
    Secret(decoded.unwrap_or_else(|_| {
        let key = if section.has("secret") { "secret" } else { "secret_file" };
        section.problem(key, "begins with `whsec_`, but what follows is not base64");
        Vec::new()
    }))
}

impl Section<'_> {
    fn priority(&self, key: &str) -> Priority {
        let text = self.word(key);
        let found = Priority::from_name(&text).or_else(|| Priority::from_number(text.parse().ok()?));
        found.unwrap_or_else(|| {
            let names = one_of(crate::job::PRIORITY_NAMES.into_iter());
            self.problem(key, format!("{text:?} is no priority; expected 1 to 5, or {names}"));
            Priority::NORMAL
        })
    }
}
