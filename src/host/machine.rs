//! The real machine.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

use super::cgroup::{CpuLimit, Hierarchy};
use super::parse::{self, Mount};
use super::{CpuUsed, GroupUsage, Host, HostSample, MemoryUsed, Source, processes};

/// Reads the kernel's files.
#[derive(Debug)]
pub struct Machine {
    /// `/`, or a folder that holds a `proc` and a `sys` as a test wants them.
    root: PathBuf,
    mounts: Vec<Mount>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn new() -> Self {
        Self::below(Path::new("/"))
    }

    /// A machine whose `/proc` and `/sys` lie below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
        Self { root: root.to_owned(), mounts: parse::mounts(&mounts) }
    }

    fn proc(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.root.join("proc").join(file)).ok()
    }

    /// Looked up anew for each sample: a service manager may move the process.
    fn hierarchy(&self, own: &str, controller: &str) -> Option<Hierarchy> {
        Hierarchy::of(&self.root, &self.mounts, own, controller)
    }

    /// The cores that may be used, and what is used of them.
    fn cpu(&self, own: &str) -> (f64, Option<CpuUsed>) {
        let quotas = self.hierarchy(own, "cpu");
        let account = self.hierarchy(own, "cpuacct");
        let mut limits = self.hierarchy(own, "cpuset").map_or_else(Vec::new, |sets| sets.sets(account.as_ref()));
        limits.extend(quotas.iter().flat_map(|quotas| quotas.quotas(account.as_ref())));
        let machine = self.proc("stat").and_then(|stat| parse::machine_cpu(&stat));
        // The machine is the outermost limit. Of equal ones the outermost counts: more may share it.
        let machine = machine.map(|cpu| CpuLimit {
            cores: f64::from(cpu.cpus),
            source: Source::Machine,
            used_s: Some(cpu.used_s),
            throttled_s: 0.0,
        });
        let binding = machine.into_iter().chain(limits).reduce(
            |outer, inner| {
                if inner.cores < outer.cores { inner } else { outer }
            },
        );
        let Some(CpuLimit { cores, source, used_s, throttled_s }) = binding else {
            let cpus = std::thread::available_parallelism().ok().and_then(|cpus| u32::try_from(cpus.get()).ok());
            return (f64::from(cpus.unwrap_or(1)), None);
        };
        (cores, used_s.map(|used_s| CpuUsed { source, used_s, throttled_s }))
    }

    /// The fullest of the groups that limit memory; the machine where none does.
    fn memory(&self, own: &str) -> Option<MemoryUsed> {
        let info = self.proc("meminfo").unwrap_or_default();
        let bytes = |key: &str| parse::kilobytes(&info, key);
        let total = bytes("MemTotal").filter(|total| *total > 0);
        let group = self.hierarchy(own, "memory").and_then(|groups| groups.memory(total.unwrap_or(u64::MAX)));
        group.or_else(|| {
            let (total, available) = (total?, bytes("MemAvailable").or_else(|| bytes("MemFree"))?);
            Some(MemoryUsed {
                source: Source::Machine,
                used_bytes: total.saturating_sub(available),
                limit_bytes: total,
            })
        })
    }

    /// How long tasks of this process's group waited for `resource`; of the machine where groups do not tell.
    fn stalled(&self, own: &str, resource: &str, line: &str) -> Option<f64> {
        let group = self.hierarchy(own, resource).filter(|groups| groups.source == Source::CgroupV2);
        let group = group.and_then(|groups| groups.nearest(&format!("{resource}.pressure")));
        parse::stalled(&group.or_else(|| self.proc(&format!("pressure/{resource}")))?, line)
    }
}

impl Host for Machine {
    fn sample(&self) -> HostSample {
        let own = self.proc("self/cgroup").unwrap_or_default();
        let (cores, cpu) = self.cpu(&own);
        HostSample {
            cores,
            cpu,
            memory: self.memory(&own),
            cpu_stalled: self.stalled(&own, "cpu", "some"),
            memory_stalled: self.stalled(&own, "memory", "full"),
        }
    }

    fn groups(&self, pgids: &[i32]) -> Vec<GroupUsage> {
        processes::usage(&self.root.join("proc"), pgids)
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of CPU are far below 2^52")]
    fn reaped_cpu_s(&self) -> f64 {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return 0.0 };
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
    }

    fn thread_cpu_ns(&self) -> u64 {
        let spent = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        spent.ok().and_then(|spent| u64::try_from(spent.num_nanoseconds()).ok()).unwrap_or(0)
    }
}
