//! What a server says of itself, and whether it may be used.

/// The oldest server whose scripts have flags.
const VERSION_MIN: u64 = 7;

/// An answer of `INFO`.
#[derive(Debug)]
pub(super) struct Info(String);

impl Info {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }

    fn count(&self, name: &str) -> u64 {
        self.field(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Which server this is, and which history of data: changes with a restart and with a failover.
    pub(super) fn server(&self) -> String {
        let (run, data) = (self.field("run_id"), self.field("master_replid"));
        format!("{}/{}", run.unwrap_or("-"), data.unwrap_or("-"))
    }

    /// Whether it only follows another server.
    pub(super) fn is_replica(&self) -> bool {
        self.field("role") == Some("slave")
    }

    /// Whether it is a node of a Redis Cluster.
    pub(super) fn is_clustered(&self) -> bool {
        self.field("redis_mode") == Some("cluster")
    }

    /// The share of `maxmemory` that is in use; 0 without a `maxmemory`.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub(super) fn memory_ratio(&self) -> f64 {
        match self.count("maxmemory") {
            0 => 0.0,
            max => self.count("used_memory") as f64 / max as f64,
        }
    }

    /// Why the server cannot be used at all, and what to do about it.
    pub(super) fn misfit(&self) -> Option<String> {
        let version = self.field("redis_version").unwrap_or("unknown");
        let major = version.split('.').next().and_then(|major| major.parse::<u64>().ok());
        if major.is_none_or(|major| major < VERSION_MIN) {
            return Some(format!("its version is {version}; at least {VERSION_MIN}.0 is needed"));
        }
        match self.field("maxmemory_policy") {
            Some("noeviction") => None,
            policy => Some(format!(
                "its eviction policy is {}, so it may drop keys when memory runs out; \
                 run `CONFIG SET maxmemory-policy noeviction` there and set it in its configuration",
                policy.unwrap_or("unknown")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, policy: &str) -> Info {
        Info::new(format!("# Server\r\nredis_version:{version}\r\nrun_id:r\r\nmaxmemory_policy:{policy}\r\n"))
    }

    #[test]
    fn old_servers_and_servers_that_evict_are_refused_by_name() {
        assert_eq!(info("7.0.15", "noeviction").misfit(), None);
        assert!(info("6.2.1", "noeviction").misfit().unwrap().contains("6.2.1"));
        let reason = info("7.2.0", "allkeys-lru").misfit().unwrap();
        assert!(reason.contains("allkeys-lru") && reason.contains("CONFIG SET maxmemory-policy noeviction"));
    }
}
