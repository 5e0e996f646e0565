//! The kernel's small files as values. Pure; what does not read as expected is `None`.

/// Clock ticks a second in `/proc`: the kernel's `USER_HZ`, which is 100 on every architecture that Rust's
/// standard library runs on with Linux.
const TICKS_PER_S: f64 = 100.0;

/// A mounted file system of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Which folder of the file system is mounted: `/`, unless a part of it was given to a container.
    pub(super) root: String,
    /// Where.
    pub(super) point: String,
    /// `cgroup`, `cgroup2`, ...
    pub(super) kind: String,
    /// Options of the file system: for `cgroup`, its controllers.
    pub(super) options: Vec<String>,
}

/// The part of `/proc/PID/stat` that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Process {
    pub(super) group: i32,
    /// CPU seconds, waited-for children included.
    pub(super) cpu_s: f64,
}

/// CPU time of the whole machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MachineCpu {
    /// CPUs that are online.
    pub(super) cpus: u32,
    /// Seconds in which they were not idle.
    pub(super) used_s: f64,
}

/// How many CPUs a list such as `0-1,4-7` names; `None` when it names none.
pub(super) fn cpu_list(text: &str) -> Option<u32> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        last.checked_sub(first).map(|steps| steps + 1)
    };
    let total: u32 = text.trim().split(',').map(count).sum::<Option<u32>>()?;
    (total > 0).then_some(total)
}

/// Cores that `cpu.max` allows (`200000 100000` is 2); `None` without a quota.
pub(super) fn quota_v2(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next().map_or(Some(100_000.0), |word| word.parse().ok())?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// Cores that `cpu.cfs_quota_us` and `cpu.cfs_period_us` allow; `None` without a quota (-1).
pub(super) fn quota_v1(quota: &str, period: &str) -> Option<f64> {
    quota_v2(&format!("{} {}", quota.trim(), period.trim()))
}

/// A whole number; `None` for `max`.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number behind `key` in a file of lines `key number` or `key: number kB`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key).filter(|rest| rest.starts_with([' ', ':'])))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// Bytes behind `key` in a file of lines `key: number kB`.
pub(super) fn kilobytes(text: &str, key: &str) -> Option<u64> {
    keyed(text, key).map(|kilobytes| kilobytes.saturating_mul(1_024))
}

/// The 10 s average of `some` or `full` in a pressure file, 0 to 1.
pub(super) fn stalled(text: &str, line: &str) -> Option<f64> {
    let line = text.lines().find(|found| found.split_whitespace().next() == Some(line))?;
    let percent: f64 = line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()?;
    Some((percent / 100.0).clamp(0.0, 1.0))
}

/// Reads `/proc/stat`. Waiting for a disk is idle; time that a hypervisor took away is not: it was wanted.
pub(super) fn machine_cpu(text: &str) -> Option<MachineCpu> {
    let all = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = all.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted as user already.
    let at = |place: usize| ticks.get(place).copied().unwrap_or(0.0);
    let used = at(0) + at(1) + at(2) + at(5) + at(6) + at(7);
    let numbered =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let cpus = u32::try_from(text.lines().filter(numbered).count()).ok().filter(|cpus| *cpus > 0)?;
    (ticks.len() >= 4).then_some(MachineCpu { cpus, used_s: used / TICKS_PER_S })
}

/// Reads `/proc/PID/stat`. A program's name may hold blanks and brackets, so reading starts behind the last one.
pub(super) fn process(text: &str) -> Option<Process> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Counted from the state, which is field 3 of proc(5).
    let field = |number: usize| fields.get(number - 3).copied();
    let ticks = |number: usize| field(number).and_then(|text| text.parse::<f64>().ok());
    let ticks = ticks(14)? + ticks(15)? + ticks(16)? + ticks(17)?;
    Some(Process { group: field(5)?.parse().ok()?, cpu_s: ticks / TICKS_PER_S })
}

/// Reads `/proc/self/mountinfo`.
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let mut kind = kind.split(' ');
        Some(Mount {
            root: unescaped(place.next()?),
            point: unescaped(place.next()?),
            kind: kind.next()?.to_owned(),
            options: kind.nth(1)?.split(',').map(str::to_owned).collect(),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// Blanks stand there as `\040`.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// The path of this process in the hierarchy of `controller` (in the unified one: empty), by `/proc/self/cgroup`.
pub(super) fn membership<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|known| known == controller).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted_range_by_range() {
        for (text, count) in [
            ("0-1,4-7\n", Some(6)),
            ("0", Some(1)),
            ("3,5,9-10", Some(4)),
            ("0-127", Some(128)),
            ("", None),
            ("\n", None),
            ("7-4", None),
            ("all", None),
        ] {
            assert_eq!(cpu_list(text), count, "{text:?}");
        }
    }

    #[test]
    fn quotas_are_cores() {
        assert_eq!(quota_v2("150000 100000\n"), Some(1.5));
        assert_eq!(quota_v2("50000"), Some(0.5));
        assert_eq!(quota_v2("max 100000\n"), None);
        assert_eq!(quota_v2(""), None);
        assert_eq!(quota_v1("20000\n", "50000\n"), Some(0.4));
        assert_eq!(quota_v1("-1\n", "100000\n"), None);
    }

    #[test]
    fn keys_are_whole_words() {
        let stat = "inactive_file_total 9\ninactive_file 4096\nfile 1\n";
        assert_eq!(
            (keyed(stat, "inactive_file"), keyed(stat, "file"), keyed(stat, "anon")),
            (Some(4096), Some(1), None)
        );
        assert_eq!(kilobytes("MemTotal:       16384 kB\n", "MemTotal"), Some(16_777_216));
        assert_eq!((number("max\n"), number("7\n")), (None, Some(7)));
    }

    #[test]
    fn pressure_is_a_share() {
        let text = "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!((stalled(text, "some"), stalled(text, "full"), stalled("", "some")), (Some(0.125), Some(0.0), None));
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let text = "42 (a) b (c) S 1 77 77 0 -1 4194560 1 2 3 4 250 150 60 40 20 0 1 0 5 6 7 8";
        assert_eq!(process(text), Some(Process { group: 77, cpu_s: 5.0 }));
        assert_eq!(process("42 (a"), None);
        assert_eq!(process("42 (a) S 1 77"), None);
    }

    #[test]
    fn the_machine_is_busy_unless_idle_or_waiting_for_a_disk() {
        let text = "cpu  100 0 100 700 50 10 20 20 5 0\ncpu0 1\ncpu1 1\nintr 5\n";
        assert_eq!(machine_cpu(text), Some(MachineCpu { cpus: 2, used_s: 2.5 }));
        assert_eq!(machine_cpu("cpu  1 2\ncpu0 1 2\n"), None);
        assert_eq!(machine_cpu(""), None);
    }

    #[test]
    fn mounts_and_memberships_are_found() {
        let text =
            "32 31 0:29 /docker/a /sys/fs/cgroup/cpu\\040x rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\nodd\n";
        let found = mounts(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].root.as_str(), found[0].point.as_str()), ("/docker/a", "/sys/fs/cgroup/cpu x"));
        assert_eq!((found[0].kind.as_str(), found[0].options.len()), ("cgroup", 3));
        let own = "3:cpu,cpuacct:/a:b\n1:name=systemd:/x\n0::/y\n";
        assert_eq!((membership(own, "cpuacct"), membership(own, "")), (Some("/a:b"), Some("/y")));
        assert_eq!(membership(own, "memory"), None);
    }
}
