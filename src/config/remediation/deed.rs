//! What an action does: the keys of each kind.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::job::TypeName;
use crate::policy::catalog::Secret;
use crate::policy::remediation::{Call, Deed, Selector, Template};
use crate::policy::shedding::LEVEL_MAX;

use super::super::DURATION_MS_MAX;
use super::super::catalog::webhook_secret;
use super::super::pools::WORKERS_MAX;
use super::super::reader::{Section, one_of};
use super::Known;

/// The longest name of what handlers are told, in bytes.
const OVERRIDE_BYTES_MAX: usize = 64;
/// The longest text that is told otherwise, in bytes.
const OVERRIDE_VALUE_BYTES_MAX: usize = 1024;

/// The deed that a section describes; `None` after a problem was noted without which no other key can be judged.
pub(super) fn read(section: &Section<'_>, known: &Known<'_>) -> Option<Deed> {
    let kind = section.essential_text("kind", &one_of(Deed::KINDS.into_iter()));
    let ttl_ms = || i64::try_from(section.integer("ttl_ms", 1_000, DURATION_MS_MAX)).unwrap_or(i64::MAX);
    let small = |key: &str| u8::try_from(section.integer(key, 1, u64::from(LEVEL_MAX))).unwrap_or(1);
    Some(match kind.as_str() {
        "scale_pool" => scale_pool(section, known, ttl_ms()),
        "replace_unhealthy_workers" => Deed::ReplaceUnhealthyWorkers { pool: pool(section, known) },
        "renew_ledger_pool" => Deed::RenewLedgerPool,
        "enqueue_job" => enqueue_job(section, known),
        "restart_mcp_server" => Deed::RestartMcpServer {
            server: named(section, ["server", "server_label"], "MCP server", &known.servers()),
            command: if section.has("command") { section.texts("command") } else { Vec::new() },
        },
        "override" => Deed::Override { name: override_name(section), value: override_value(section), ttl_ms: ttl_ms() },
        "set_shedding" => Deed::SetShedding { up: small("up"), level_max: small("level_max"), ttl_ms: ttl_ms() },
        "pause_lane" => pause_lane(section, known, ttl_ms()),
        "post" => Deed::Post(post(section)),
        "command" => Deed::Command {
            program: section.essential_text("program", "a program"),
            args: if section.has("args") { section.texts("args") } else { Vec::new() },
            env: section.text_table("env"),
        },
        "" => return None,
        other => {
            let expected = one_of(Deed::KINDS.into_iter());
            section.problem("kind", format!("{other:?} is no kind of action; expected {expected}"));
            return None;
        }
    })
}

/// What one of two keys names: the thing itself, checked, or a label of the alert that will name it.
fn selector(section: &Section<'_>, [key, label_key]: [&str; 2], what: &str, known: &[&str]) -> Selector {
    let fixed = section.optional_text(key);
    if let Some(name) = fixed.as_ref().filter(|name| !known.contains(&name.as_str())) {
        let expected = one_of(known.iter().copied());
        section.problem(key, format!("there is no {what} {name:?}; expected {expected}"));
    }
    Selector { label: section.optional_text(label_key), fixed }
}

/// The same where one of the keys has to be there.
fn named(section: &Section<'_>, keys: [&str; 2], what: &str, known: &[&str]) -> Selector {
    let selector = selector(section, keys, what, known);
    if selector.fixed.is_none() && selector.label.is_none() {
        let [key, label_key] = keys;
        section.problem(key, format!("is missing; expected `{key}`, `{label_key}` or both"));
    }
    selector
}

fn pool(section: &Section<'_>, known: &Known<'_>) -> Selector {
    selector(section, ["pool", "pool_label"], "pool", &known.pools())
}

fn scale_pool(section: &Section<'_>, known: &Known<'_>, ttl_ms: i64) -> Deed {
    let (pool, queue_label) = (pool(section, known), section.optional_text("queue_label"));
    if pool.fixed.is_none() && pool.label.is_none() && queue_label.is_none() {
        section.problem("pool", "is missing; expected at least one of `pool`, `pool_label` and `queue_label`");
    }
    let add = usize::try_from(section.integer("add", 1, WORKERS_MAX)).unwrap_or(1);
    Deed::ScalePool { pool, queue_label, add, ttl_ms }
}

fn enqueue_job(section: &Section<'_>, known: &Known<'_>) -> Deed {
    let expected = one_of(known.types().into_iter());
    let name = section.essential_text("job_type", &expected);
    if !name.is_empty() && !known.types().contains(&name.as_str()) {
        section.problem("job_type", format!("there is no job type {name:?}; expected {expected}"));
    }
    let payload = section.optional_text("payload").unwrap_or_else(|| "{}".to_owned());
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&payload) {
        section.problem("payload", format!("is no JSON text: {error}"));
    }
    Deed::EnqueueJob { job_type: TypeName::stored(&name), payload }
}

fn pause_lane(section: &Section<'_>, known: &Known<'_>, ttl_ms: i64) -> Deed {
    let queue = selector(section, ["queue", "queue_label"], "queue", &known.queues());
    let job_type = selector(section, ["job_type", "type_label"], "job type", &known.types());
    if [&queue, &job_type].into_iter().all(|it| it.fixed.is_none() && it.label.is_none()) {
        section.problem("queue", "is missing; expected `queue`, `queue_label`, `job_type` or `type_label`");
    }
    Deed::PauseLane { queue, job_type, ttl_ms }
}

/// Variables and JSON members take any text, but whoever reads one wants to spell it.
fn override_name(section: &Section<'_>) -> String {
    let name = section.essential_text("name", "what is told otherwise, such as \"healing_threshold\"");
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.is_empty() && (name.len() > OVERRIDE_BYTES_MAX || !name.chars().all(fits)) {
        let expected = format!("letters, digits, `_`, `-` and `.`, at most {OVERRIDE_BYTES_MAX}");
        section.problem("name", format!("{name:?} cannot be one; expected {expected}"));
    }
    name
}

fn override_value(section: &Section<'_>) -> Value {
    let value = section.scalar("value");
    // Commands get it in their environment, which has bounds of its own.
    let bytes = value.as_str().map_or(0, str::len);
    if bytes > OVERRIDE_VALUE_BYTES_MAX {
        section.problem("value", format!("has {bytes} bytes; expected at most {OVERRIDE_VALUE_BYTES_MAX}"));
    }
    value
}

fn post(section: &Section<'_>) -> Call {
    // Nothing is posted as long as nobody says where.
    let url = if section.has("url") { section.http_url("url") } else { String::new() };
    let mut fields = BTreeMap::new();
    let table = section.table("fields");
    for (name, text) in section.text_table("fields") {
        match Template::parse(&text) {
            Ok(template) => _ = fields.insert(name, template),
            Err(error) => table.problem(&name, error.to_string()),
        }
    }
    let place = url::Url::parse(&url).ok().and_then(|url| {
        let host = url.host_str()?.to_owned();
        Some(url.port_or_known_default().map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
    });
    let bytes = |text: &str| Secret(text.as_bytes().to_vec());
    Call {
        place: place.unwrap_or_default(),
        url: bytes(&url),
        secret: section.secret("secret", "secret_file").map(|text| webhook_secret(section, text.expose())),
        token: section.secret("token", "token_file").map(|text| bytes(text.expose())),
        fields,
    }
}
