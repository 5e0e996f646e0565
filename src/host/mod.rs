//! The machine below: what it allows this process to use, and what is used of it.
//!
//! In a container the host's own figures mislead: `/proc/stat` and `/proc/meminfo` tell of a machine that the
//! daemon may only use a part of. So limits are looked for where they are set, in the control groups (v2, v1, or
//! both side by side), the process's own and every one above it, and what is used is read from the very group
//! whose limit binds. Only where nothing limits the process does the whole machine count.
//!
//! Everything here is read synchronously from small files of the kernel; a reading costs well below a
//! millisecond. What cannot be read is absent, never zero and never an error: the decision what absence means
//! is not taken here.

mod cgroup;
mod machine;
mod manual;
mod parse;
mod processes;

pub use machine::Machine;
pub use manual::ManualHost;

/// Where readings come from.
pub trait Host: Send + Sync + std::fmt::Debug {
    /// What is allowed and what is used now.
    fn sample(&self) -> HostSample;

    /// What the processes of each process group use, in the order asked; one walk over the process table
    /// for all of them. A group without a process uses nothing.
    fn groups(&self, pgids: &[i32]) -> Vec<GroupUsage>;

    /// CPU seconds of all children of this process that have ended and been waited for, with their own waited-for
    /// children. Only grows. Work that comes and goes between two calls of [`Host::groups`] is seen here.
    fn reaped_cpu_s(&self) -> f64;

    /// CPU time of the calling thread so far, in nanoseconds.
    fn thread_cpu_ns(&self) -> u64;
}

/// One reading of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostSample {
    /// CPU cores that this process may use: the smallest of the quotas and sets of all its groups and the machine's
    /// own number. Above 0.
    pub cores: f64,
    /// CPU used of that; `None` where it cannot be read.
    pub cpu: Option<CpuUsed>,
    /// Memory; `None` where it cannot be read.
    pub memory: Option<MemoryUsed>,
    /// Share of the last 10 s in which some task waited for a CPU, 0 to 1; `None` without pressure information.
    pub cpu_stalled: Option<f64>,
    /// Share of the last 10 s in which every task waited for memory, 0 to 1; `None` without pressure information.
    pub memory_stalled: Option<f64>,
}

/// CPU time of whatever shares the cores of [`HostSample::cores`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuUsed {
    /// Who counted it.
    pub source: Source,
    /// Seconds of CPU used so far. Only grows, unless the process is moved to another group.
    pub used_s: f64,
    /// Seconds in which the quota held tasks back so far; 0 without a quota.
    pub throttled_s: f64,
}

/// Memory of whatever shares the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUsed {
    /// Who counted it.
    pub source: Source,
    /// Bytes in use that the kernel cannot take back at once (the inactive part of the page cache left out).
    pub used_bytes: u64,
    /// Bytes that may be used. Above 0.
    pub limit_bytes: u64,
}

/// Who counted a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A control group of the unified hierarchy.
    CgroupV2,
    /// A control group of an older, separate hierarchy.
    CgroupV1,
    /// The machine as a whole: nothing limits this process.
    Machine,
}

/// What one process group uses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GroupUsage {
    /// Its processes.
    pub processes: usize,
    /// CPU seconds of its processes and of the children that they have waited for. Falls when a process ends.
    pub cpu_s: f64,
    /// Resident bytes of its processes; pages that they share count for each.
    pub resident_bytes: u64,
}

impl MemoryUsed {
    /// The share of the limit in use.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "bytes of a machine are far below 2^52")]
    pub fn ratio(&self) -> f64 {
        self.used_bytes as f64 / self.limit_bytes.max(1) as f64
    }
}

impl Source {
    /// A word for people and the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup_v2",
            Self::CgroupV1 => "cgroup_v1",
            Self::Machine => "machine",
        }
    }
}

#[cfg(test)]
mod tests;
