//! The control groups that this process is in, and what they allow.

use std::fs;
use std::path::{Path, PathBuf};

use super::parse::{self, Mount};
use super::{MemoryUsed, Source};

/// One hierarchy of groups, as far as this process can see it.
#[derive(Debug, Clone)]
pub(super) struct Hierarchy {
    pub(super) source: Source,
    /// The folder it is mounted on.
    mount: PathBuf,
    /// This process's group and all above it, innermost first; paths below `mount`.
    levels: Vec<PathBuf>,
}

/// A limit on CPU and who sets it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CpuLimit {
    pub(super) cores: f64,
    pub(super) source: Source,
    /// CPU seconds that its group has used; `None` where that cannot be read.
    pub(super) used_s: Option<f64>,
    pub(super) throttled_s: f64,
}

impl Hierarchy {
    /// The hierarchy that has `controller`: a separate one if there is one, else the unified one.
    pub(super) fn of(root: &Path, mounts: &[Mount], own: &str, controller: &str) -> Option<Self> {
        let separate = |mount: &&Mount| mount.kind == "cgroup" && mount.options.iter().any(|known| known == controller);
        let unified = |mount: &&Mount| mount.kind == "cgroup2";
        let (source, mount, path) = match (mounts.iter().find(separate), parse::membership(own, controller)) {
            (Some(mount), Some(path)) => (Source::CgroupV1, mount, path),
            _ => (Source::CgroupV2, mounts.iter().find(unified)?, parse::membership(own, "")?),
        };
        let folder = root.join(mount.point.trim_start_matches('/'));
        let inside = below(&mount.root, path);
        let levels = inside.ancestors().map(Path::to_owned).filter(|level| folder.join(level).is_dir()).collect();
        Some(Self { source, mount: folder, levels })
    }

    /// Reads a file of each group, innermost first.
    fn each<'a, T>(&'a self, read: impl Fn(&'a Path) -> Option<T> + 'a) -> impl Iterator<Item = (&'a Path, T)> {
        self.levels.iter().filter_map(move |level| read(level).map(|value| (level.as_path(), value)))
    }

    fn read(&self, level: &Path, file: &str) -> Option<String> {
        fs::read_to_string(self.mount.join(level).join(file)).ok()
    }

    /// A file of the innermost group that has it.
    pub(super) fn nearest(&self, file: &str) -> Option<String> {
        self.each(|level| self.read(level, file)).next().map(|(_, text)| text)
    }

    /// Every quota of these groups, outermost first; their use is read from `account`.
    pub(super) fn quotas(&self, account: Option<&Self>) -> Vec<CpuLimit> {
        let quota = |level: &Path| match self.source {
            Source::CgroupV2 => parse::quota_v2(&self.read(level, "cpu.max")?),
            _ => parse::quota_v1(&self.read(level, "cpu.cfs_quota_us")?, &self.read(level, "cpu.cfs_period_us")?),
        };
        let limit = |(level, cores): (&Path, f64)| {
            let stat = self.read(level, "cpu.stat").unwrap_or_default();
            let throttled_s = match self.source {
                Source::CgroupV2 => micros(parse::keyed(&stat, "throttled_usec")),
                _ => nanos(parse::keyed(&stat, "throttled_time")),
            };
            let used_s = account.and_then(|account| account.used_s(level));
            CpuLimit { cores, source: self.source, used_s, throttled_s: throttled_s.unwrap_or(0.0) }
        };
        let mut limits: Vec<CpuLimit> = self.each(quota).map(limit).collect();
        limits.reverse();
        limits
    }

    /// The set of CPUs of every group, outermost first; their use is read from `account`.
    pub(super) fn sets(&self, account: Option<&Self>) -> Vec<CpuLimit> {
        let files = match self.source {
            Source::CgroupV2 => ["cpuset.cpus.effective", "cpuset.cpus"],
            _ => ["cpuset.effective_cpus", "cpuset.cpus"],
        };
        let set = |level: &Path| files.iter().find_map(|file| parse::cpu_list(&self.read(level, file)?));
        let limit = |(level, cpus): (&Path, u32)| {
            let used_s = account.and_then(|account| account.used_s(level));
            CpuLimit { cores: f64::from(cpus), source: self.source, used_s, throttled_s: 0.0 }
        };
        let mut limits: Vec<CpuLimit> = self.each(set).map(limit).collect();
        limits.reverse();
        limits
    }

    /// CPU seconds used by the group at `level`, which may belong to another hierarchy; by the nearest group
    /// above it that this hierarchy has too, else by this process's own group.
    fn used_s(&self, level: &Path) -> Option<f64> {
        let used = |level: &Path| match self.source {
            Source::CgroupV2 => micros(parse::keyed(&self.read(level, "cpu.stat")?, "usage_usec")),
            _ => nanos(parse::number(&self.read(level, "cpuacct.usage")?)),
        };
        used(level).or_else(|| self.each(used).next().map(|(_, used_s)| used_s))
    }

    /// The memory limit that is used up most, among those below `total`, the machine's memory.
    pub(super) fn memory(&self, total: u64) -> Option<MemoryUsed> {
        let used = |level: &Path| {
            let (file, key) = match self.source {
                Source::CgroupV2 => ("memory.current", "inactive_file"),
                _ => ("memory.usage_in_bytes", "total_inactive_file"),
            };
            let cache = self.read(level, "memory.stat").and_then(|stat| parse::keyed(&stat, key)).unwrap_or(0);
            Some(parse::number(&self.read(level, file)?)?.saturating_sub(cache))
        };
        let own = self.each(used).next().map(|(_, used_bytes)| used_bytes);
        let reading = |(level, limit_bytes): (&Path, u64)| {
            let used_bytes = used(level).or(own)?;
            Some(MemoryUsed { source: self.source, used_bytes, limit_bytes })
        };
        self.each(|level| self.memory_limit(level).filter(|limit| *limit > 0 && *limit < total))
            .filter_map(reading)
            .max_by(|one, other| one.ratio().total_cmp(&other.ratio()))
    }

    fn memory_limit(&self, level: &Path) -> Option<u64> {
        let number = |file: &str| parse::number(&self.read(level, file)?);
        if self.source == Source::CgroupV2 {
            return number("memory.max").into_iter().chain(number("memory.high")).min();
        }
        // The kernel's own minimum knows of groups above that a container cannot see.
        let stat = self.read(level, "memory.stat").unwrap_or_default();
        let inherited = parse::keyed(&stat, "hierarchical_memory_limit");
        number("memory.limit_in_bytes").into_iter().chain(inherited).min()
    }
}

/// `path` of `/proc/self/cgroup` below a mount of the folder `mounted`. A path that leads elsewhere (a container sees
/// names of the machine outside) stands for the mount itself.
fn below(mounted: &str, path: &str) -> PathBuf {
    let inside = Path::new(path).strip_prefix(mounted).unwrap_or(Path::new(""));
    let inside = inside.strip_prefix("/").unwrap_or(inside);
    if inside.components().any(|part| part == std::path::Component::ParentDir) {
        PathBuf::new()
    } else {
        inside.to_owned()
    }
}

#[expect(clippy::cast_precision_loss, reason = "CPU time of a machine's life is far below 2^52 microseconds")]
fn micros(time: Option<u64>) -> Option<f64> {
    time.map(|micros| micros as f64 / 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "an error of some nanoseconds after years does no harm")]
fn nanos(time: Option<u64>) -> Option<f64> {
    time.map(|nanos| nanos as f64 / 1e9)
}
