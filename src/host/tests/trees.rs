//! Trees of files as kernels show them in containers and out of them.
#![expect(clippy::float_cmp, reason = "exact files give exact figures")]

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::host::{CpuUsed, GroupUsage, Host, HostSample, Machine, MemoryUsed, Source};

const MIB: u64 = 1 << 20;
/// Eight CPUs; 500 s used.
const STAT: &str = "cpu  30000 0 20000 900000 70 0 0 0 0 0\n\
    cpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\ncpu4 1\ncpu5 1\ncpu6 1\ncpu7 1\nintr 1\n";
/// 16 GiB, of which 12 GiB are available.
const MEMINFO: &str = "MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:   12582912 kB\n";

/// A machine of eight CPUs and 16 GiB, and these files beside it.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [("proc/stat", STAT), ("proc/meminfo", MEMINFO)].iter().chain(files) {
        write(folder.path(), path, text);
    }
    folder
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn sample(files: &[(&str, &str)]) -> HostSample {
    Machine::below(tree(files).path()).sample()
}

fn memory(source: Source, used_bytes: u64, limit_bytes: u64) -> MemoryUsed {
    MemoryUsed { source, used_bytes, limit_bytes }
}

const UNIFIED: (&str, &str) =
    ("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
const IN_A_SERVICE: (&str, &str) = ("proc/self/cgroup", "0::/app.slice/ganger.service\n");

#[test]
fn the_smallest_quota_of_nested_groups_binds_with_what_its_group_uses() {
    let found = sample(&[
        UNIFIED,
        IN_A_SERVICE,
        ("sys/fs/cgroup/cpu.stat", "usage_usec 400000000\n"),
        ("sys/fs/cgroup/cpuset.cpus.effective", "0-7\n"),
        ("sys/fs/cgroup/app.slice/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/app.slice/cpu.stat", "usage_usec 90000000\nnr_throttled 7\nthrottled_usec 2500000\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/cpu.max", "400000 100000\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/cpu.stat", "usage_usec 60000000\nthrottled_usec 0\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/cpu.pressure", "some avg10=25.00 avg60=0.00 avg300=0.00 total=1\n"),
        ("proc/pressure/cpu", "some avg10=99.00 avg60=0.00 avg300=0.00 total=1\n"),
        ("proc/pressure/memory", "some avg10=5.00\nfull avg10=1.50 avg60=0.00 avg300=0.00 total=1\n"),
    ]);
    assert_eq!(found.cores, 1.5);
    assert_eq!(found.cpu, Some(CpuUsed { source: Source::CgroupV2, used_s: 90.0, throttled_s: 2.5 }));
    assert_eq!((found.cpu_stalled, found.memory_stalled), (Some(0.25), Some(0.015)));
}

#[test]
fn memory_is_the_fullest_of_the_nested_groups_without_its_idle_cache() {
    let mut files = vec![
        UNIFIED,
        IN_A_SERVICE,
        ("sys/fs/cgroup/app.slice/memory.max", "1073741824\n"),
        ("sys/fs/cgroup/app.slice/memory.high", "805306368\n"),
        ("sys/fs/cgroup/app.slice/memory.current", "629145600\n"),
        ("sys/fs/cgroup/app.slice/memory.stat", "anon 1\ninactive_file 25165824\nactive_file 9\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/memory.max", "536870912\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/memory.high", "max\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/memory.current", "268435456\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/memory.stat", "inactive_file 134217728\n"),
    ];
    // The slice: (600 - 24) MiB of the 768 that it may have before it is slowed down; the service: 128 of 512 MiB.
    let found = sample(&files).memory;
    assert_eq!(found, Some(memory(Source::CgroupV2, 576 * MIB, 768 * MIB)));
    assert_eq!(found.unwrap().ratio(), 0.75);
    files.push(("sys/fs/cgroup/app.slice/ganger.service/memory.current", "637534208\n"));
    let found = sample(&files).memory;
    assert_eq!(found, Some(memory(Source::CgroupV2, 480 * MIB, 512 * MIB)), "now the service is the fullest");
    assert_eq!(found.unwrap().ratio(), 0.9375);
}

#[test]
fn without_a_limit_the_machine_counts() {
    let found = sample(&[
        UNIFIED,
        IN_A_SERVICE,
        ("sys/fs/cgroup/app.slice/ganger.service/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/cpu.stat", "usage_usec 5000000\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/memory.max", "max\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/memory.high", "max\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/memory.current", "1\n"),
    ]);
    assert_eq!(found.cores, 8.0);
    assert_eq!(found.cpu, Some(CpuUsed { source: Source::Machine, used_s: 500.0, throttled_s: 0.0 }));
    assert_eq!(found.memory.unwrap().ratio(), 0.25, "1 - MemAvailable / MemTotal, and never 0");
    assert_eq!(found.memory.unwrap().source, Source::Machine);
}

#[test]
fn a_limit_above_the_machines_memory_is_none() {
    let found = sample(&[
        UNIFIED,
        IN_A_SERVICE,
        ("sys/fs/cgroup/app.slice/memory.max", "17179869184\n"),
        ("sys/fs/cgroup/app.slice/memory.current", "1048576\n"),
    ]);
    assert_eq!(found.memory.unwrap().source, Source::Machine);
}

#[test]
fn a_set_of_cpus_limits_as_a_quota_does() {
    let files = [
        UNIFIED,
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cpuset.cpus.effective", "0-1,4-7\n"),
        ("sys/fs/cgroup/cpu.stat", "usage_usec 12000000\nthrottled_usec 0\n"),
    ];
    let found = sample(&files);
    assert_eq!(found.cores, 6.0);
    assert_eq!(found.cpu, Some(CpuUsed { source: Source::CgroupV2, used_s: 12.0, throttled_s: 0.0 }));
    let found = sample(&[&files[..], &[("sys/fs/cgroup/cpu.max", "max 100000\n")]].concat());
    assert_eq!(found.cores, 6.0);
    let found = sample(&[&files[..], &[("sys/fs/cgroup/cpu.max", "250000 50000\n")]].concat());
    assert_eq!(found.cores, 5.0, "the smaller of set and quota");
}

/// A machine with separate hierarchies beside an empty unified one, in a container that mounts its part of them.
const SEPARATE: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
    32 31 0:29 /docker/c0ffee /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
    33 31 0:30 /docker/c0ffee /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
    34 31 0:31 /docker/c0ffee /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
    35 31 0:32 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
const IN_A_CONTAINER: &str = "9:name=systemd:/docker/c0ffee\n4:memory:/docker/c0ffee/inner\n3:cpuset:/docker/c0ffee\n2:cpu,cpuacct:/docker/c0ffee\n0::/\n";

#[test]
fn separate_hierarchies_are_read_each_at_its_own_place() {
    let found = sample(&[
        ("proc/self/mountinfo", SEPARATE),
        ("proc/self/cgroup", IN_A_CONTAINER),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.stat", "nr_periods 10\nnr_throttled 5\nthrottled_time 1500000000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "7250000000\n"),
        ("sys/fs/cgroup/cpuset/cpuset.effective_cpus", "2-3\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "201326592\n"),
        ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 67108864\n"),
        ("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/inner/memory.usage_in_bytes", "1048576\n"),
        ("sys/fs/cgroup/unified/cpu.stat", "usage_usec 1\n"),
        ("sys/fs/cgroup/unified/cpu.pressure", "some avg10=50.00 avg60=0.00 avg300=0.00 total=1\n"),
        ("proc/pressure/cpu", "some avg10=10.00 avg60=0.00 avg300=0.00 total=1\n"),
    ]);
    assert_eq!(found.cores, 0.5);
    assert_eq!(found.cpu, Some(CpuUsed { source: Source::CgroupV1, used_s: 7.25, throttled_s: 1.5 }));
    assert_eq!(found.memory, Some(memory(Source::CgroupV1, 128 * MIB, 256 * MIB)));
    assert_eq!(found.memory.unwrap().ratio(), 0.5);
    assert_eq!(found.cpu_stalled, Some(0.1), "these groups do not tell: the machine does");
}

#[test]
fn an_unlimited_separate_hierarchy_leaves_the_machine() {
    let found = sample(&[
        ("proc/self/mountinfo", SEPARATE),
        ("proc/self/cgroup", IN_A_CONTAINER),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "7250000000\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "201326592\n"),
    ]);
    assert_eq!((found.cores, found.cpu.unwrap().source), (8.0, Source::Machine));
    assert_eq!(found.memory.unwrap().ratio(), 0.25);
}

#[test]
fn a_limit_above_the_visible_groups_is_known_by_its_inheritance() {
    let found = sample(&[
        ("proc/self/mountinfo", SEPARATE),
        ("proc/self/cgroup", IN_A_CONTAINER),
        ("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/inner/memory.usage_in_bytes", "67108864\n"),
        ("sys/fs/cgroup/memory/inner/memory.stat", "total_inactive_file 0\nhierarchical_memory_limit 134217728\n"),
    ]);
    assert_eq!(found.memory, Some(memory(Source::CgroupV1, 64 * MIB, 128 * MIB)));
}

#[test]
fn a_hybrid_machine_takes_each_controller_where_it_is() {
    let found = sample(&[
        (
            "proc/self/mountinfo",
            "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        ),
        ("proc/self/cgroup", "2:memory:/m\n0::/u\n"),
        ("sys/fs/cgroup/unified/u/cpu.max", "300000 100000\n"),
        ("sys/fs/cgroup/unified/u/cpu.stat", "usage_usec 3000000\nthrottled_usec 1000\n"),
        ("sys/fs/cgroup/unified/u/memory.max", "1\n"),
        ("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "104857600\n"),
        ("sys/fs/cgroup/memory/m/memory.usage_in_bytes", "52428800\n"),
    ]);
    assert_eq!(found.cores, 3.0);
    assert_eq!(found.cpu, Some(CpuUsed { source: Source::CgroupV2, used_s: 3.0, throttled_s: 0.001 }));
    assert_eq!(found.memory, Some(memory(Source::CgroupV1, 50 * MIB, 100 * MIB)));
}

#[test]
fn a_path_of_the_world_outside_stands_for_the_mount() {
    for path in ["0::/../../outside\n", "0::/kubepods/pod1\n", "0::/\n"] {
        let found = sample(&[
            ("proc/self/mountinfo", "35 31 0:32 /pod1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("proc/self/cgroup", path),
            ("sys/fs/cgroup/cpu.max", "100000 100000\n"),
            ("sys/fs/cgroup/cpu.stat", "usage_usec 2000000\n"),
        ]);
        assert_eq!((found.cores, found.cpu.unwrap().used_s), (1.0, 2.0), "{path}");
    }
}

#[test]
fn what_is_missing_or_odd_is_absent_and_never_a_panic() {
    let empty = tempfile::tempdir().unwrap();
    let found = Machine::below(empty.path()).sample();
    assert!(found.cores >= 1.0);
    assert_eq!((found.cpu, found.memory, found.cpu_stalled, found.memory_stalled), (None, None, None, None));
    assert_eq!(Machine::below(empty.path()).groups(&[1]), [GroupUsage::default()]);
    let found = sample(&[
        UNIFIED,
        IN_A_SERVICE,
        ("sys/fs/cgroup/app.slice/cpu.max", "a lot\n"),
        ("sys/fs/cgroup/app.slice/cpuset.cpus.effective", "\n"),
        ("sys/fs/cgroup/app.slice/memory.max", "0\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/cpu.max", "\n"),
        ("sys/fs/cgroup/app.slice/ganger.service/memory.max", "1048576\n"),
        ("proc/pressure/cpu", "odd\n"),
    ]);
    assert_eq!((found.cores, found.cpu.unwrap().source), (8.0, Source::Machine));
    assert_eq!(found.memory.unwrap().source, Source::Machine, "a limit without a use says nothing");
    assert_eq!(found.cpu_stalled, None);
}

#[test]
fn process_groups_are_added_up_in_one_walk() {
    let stat = |group: i32, ticks: u32| format!("1 (a b) S 1 {group} 1 0 -1 0 0 0 0 0 {ticks} 50 25 25 20 0 1 0 0 0 0");
    let folder = tree(&[
        ("proc/10/stat", &stat(10, 100)),
        ("proc/10/status", "Name:\ta b\nVmRSS:\t    1024 kB\n"),
        ("proc/11/stat", &stat(10, 300)),
        ("proc/11/status", "VmRSS:\t    2048 kB\n"),
        ("proc/12/stat", &stat(12, 0)),
        ("proc/13/stat", "gone"),
        ("proc/self/stat", &stat(10, 9_999)),
    ]);
    let machine = Machine::below(folder.path());
    let ten = GroupUsage { processes: 2, cpu_s: 6.0, resident_bytes: 3 * MIB };
    let twelve = GroupUsage { processes: 1, cpu_s: 1.0, resident_bytes: 0 };
    assert_eq!(machine.groups(&[12, 99, 10, 12]), [twelve, GroupUsage::default(), ten, twelve]);
    assert!(machine.groups(&[]).is_empty());
}
