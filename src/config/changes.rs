//! Which keys a reload cannot apply.

use config::{Value, ValueKind};

use super::Config;

/// The tables that a running daemon takes over; `app` hands them on. Everything else waits for the next start.
const RELOADED: [&str; 16] = [
    "inherit_defaults",
    "defaults",
    "queues",
    "pools",
    "scaling",
    "job_types",
    "mcp_servers",
    "handlers",
    "shedding",
    "health",
    "incidents",
    "measures",
    "remediation",
    "stuck",
    "breakers",
    "retry_budget",
];

impl Config {
    /// The keys that say something else than in `running`, and that only a restart applies, in order.
    #[must_use]
    pub fn needs_restart(&self, running: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        compare(&mut keys, "", Some(&running.effective.0), Some(&self.effective.0));
        keys.retain(|key| !RELOADED.iter().any(|table| key.split('.').next() == Some(table)));
        keys.sort_unstable();
        keys
    }
}

/// Notes the paths at which two trees differ.
fn compare(keys: &mut Vec<String>, path: &str, before: Option<&Value>, after: Option<&Value>) {
    let table = |value: Option<&Value>| match value.map(|value| &value.kind) {
        Some(ValueKind::Table(table)) => Some(table.clone()),
        _ => None,
    };
    let (old, new) = (table(before), table(after));
    if old.is_none() && new.is_none() {
        if before.map(|value| &value.kind) != after.map(|value| &value.kind) {
            keys.push(path.to_owned());
        }
        return;
    }
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let added = new.keys().filter(|name| !old.contains_key(*name));
    for name in old.keys().chain(added) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        compare(keys, &path, old.get(name), new.get(name));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigErrors, ConfigFile, Sources};

    fn load(text: &str) -> Result<Config, ConfigErrors> {
        let file = ConfigFile::Text { name: "test.toml".into(), text: text.into() };
        Config::load(&Sources { files: vec![file], ..Sources::default() })
    }

    #[test]
    fn what_a_reload_cannot_apply_is_named() {
        let running = load("[server]\nnode = 'a'\n[pools.plan-workers]\nmin = 3\n").unwrap();
        assert_eq!(running.needs_restart(&running), [] as [&str; 0]);
        let changed = "[server]\nnode = 'b'\n[lease]\nttl_ms = 60000\n[auth.tokens.ci]\nrole = 'submit'\n\
                       token = '0123456789abcdef'\n[queues.plan]\nsla_ms = 1\n[handlers]\nterm_grace_ms = 9\n";
        let keys = load(changed).unwrap().needs_restart(&running);
        assert_eq!(keys, ["auth.tokens.ci.role", "auth.tokens.ci.token", "lease.ttl_ms", "server.node"]);
    }
}
