//! The table of scripts: name, text and the number of keys that each declares.
//!
//! Scripts reach a server only through the explicit load of [`super::RedisBroker`]'s `identity`, after
//! it has checked who that server is. A server that does not know a script has lost something, and
//! loading it unasked would hide that.

use std::sync::LazyLock;

use crate::mutant::source;

/// One script.
#[derive(Debug)]
pub(super) struct Script {
    /// Its file, without the ending.
    pub(super) name: &'static str,
    /// How many keys it declares; more may follow, one per lane, if `has_lanes`.
    pub(super) keys: usize,
    /// Whether one key per lane follows.
    pub(super) has_lanes: bool,
    /// The text that is loaded.
    pub(super) text: String,
    /// Its SHA-1, by which it is called.
    pub(super) sha: String,
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) admit: Script,
    pub(super) advance: Script,
    pub(super) claim: Script,
    pub(super) depth: Script,
    pub(super) enter: Script,
    pub(super) inspect: Script,
    pub(super) leases: Script,
    pub(super) note: Script,
    pub(super) open: Script,
    pub(super) pause: Script,
    pub(super) place: Script,
    pub(super) push: Script,
    pub(super) reap: Script,
    pub(super) remove: Script,
    pub(super) renew: Script,
    pub(super) reset: Script,
    pub(super) restore: Script,
    pub(super) scan: Script,
    pub(super) settle: Script,
}

/// The table.
pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    admit: script("admit", 1, false, source!("lua/admit.lua")),
    advance: script("advance", 1, false, source!("lua/advance.lua")),
    claim: script("claim", 4, true, source!("lua/claim.lua")),
    depth: script("depth", 5, true, source!("lua/depth.lua")),
    enter: script("enter", 1, false, source!("lua/enter.lua")),
    inspect: script("inspect", 2, false, source!("lua/inspect.lua")),
    leases: script("leases", 3, false, source!("lua/leases.lua")),
    note: script("note", 1, false, source!("lua/note.lua")),
    open: script("open", 5, false, source!("lua/open.lua")),
    pause: script("pause", 1, false, source!("lua/pause.lua")),
    place: script("place", 3, true, source!("lua/place.lua")),
    push: script("push", 5, false, source!("lua/push.lua")),
    reap: script("reap", 4, false, source!("lua/reap.lua")),
    remove: script("remove", 4, false, source!("lua/remove.lua")),
    renew: script("renew", 3, false, source!("lua/renew.lua")),
    reset: script("reset", 5, false, source!("lua/reset.lua")),
    restore: script("restore", 4, false, source!("lua/restore.lua")),
    scan: script("scan", 4, false, source!("lua/scan.lua")),
    settle: script("settle", 4, false, source!("lua/settle.lua")),
});

impl Scripts {
    /// Every script, for loading.
    pub(super) fn all(&self) -> [&Script; 19] {
        [
            &self.admit,
            &self.advance,
            &self.claim,
            &self.depth,
            &self.enter,
            &self.inspect,
            &self.leases,
            &self.note,
            &self.open,
            &self.pause,
            &self.place,
            &self.push,
            &self.reap,
            &self.remove,
            &self.renew,
            &self.reset,
            &self.restore,
            &self.scan,
            &self.settle,
        ]
    }
}

/// Puts a script together. The shebang has to stay the first line, so the library goes in behind it.
fn script(name: &'static str, keys: usize, has_lanes: bool, source: &'static str) -> Script {
    let (shebang, body) = source.split_once('\n').unwrap_or((source, ""));
    let library = source!("lua/lib/entry.lua");
    let text = format!("{shebang}\n{library}\n{body}");
    let sha = redis::Script::new(&text).get_hash().to_owned();
    Script { name, keys, has_lanes, text, sha }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_table_agree_on_name_and_keys() {
        for script in SCRIPTS.all() {
            let lines: Vec<&str> = script.text.lines().collect();
            assert!(lines[0].starts_with("#!lua"), "{}: no shebang", script.name);
            assert!(lines.contains(&format!("-- {}.lua", script.name).as_str()), "{}: no name line", script.name);
            let keys = if script.has_lanes {
                format!("-- Keys: {} and one per lane", script.keys)
            } else {
                format!("-- Keys: {}", script.keys)
            };
            assert!(lines.iter().any(|line| line.starts_with(&keys)), "{}: {keys} expected", script.name);
        }
    }

    #[test]
    fn only_what_adds_entries_may_fail_for_want_of_memory() {
        for script in SCRIPTS.all() {
            let is_bare = script.text.starts_with("#!lua\n");
            assert_eq!(is_bare, script.name == "push", "{}", script.name);
        }
    }
}
