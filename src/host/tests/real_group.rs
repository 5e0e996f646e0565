//! A process in a real control group with limits far below the machine's: what it sees of itself follows them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::host::parse::{self, Mount};
use crate::host::{Host, Machine, Source};

const MIB: u64 = 1 << 20;
/// What the group may use, and what its process takes of it.
const LIMIT: u64 = 96 * MIB;
const TAKEN: usize = 48 << 20;
/// A tenth of a core: every process that calculates at all is throttled.
const QUOTA: (&str, &str) = ("10000", "100000");
/// Set for the process that is put into the group.
const HELPER: &str = "GANGER_TEST_HOST_HELPER";

/// Folders of groups that are removed with their process.
struct Group {
    source: Source,
    folders: Vec<PathBuf>,
    member: Child,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.member.kill().ok();
        self.member.wait().ok();
        for folder in &self.folders {
            // The kernel needs a moment to let go of a process that was waited for.
            for _ in 0..1_000 {
                if fs::remove_dir(folder).is_ok() || !folder.exists() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}

/// Makes the group and puts `member` into it; why not, where that cannot be.
fn group(member: Child) -> Result<Group, String> {
    let mounts = parse::mounts(&fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?);
    let separate = |name: &str| {
        mounts.iter().find(|mount| mount.kind == "cgroup" && mount.options.iter().any(|known| known == name))
    };
    let name = format!("ganger-test-{}", member.id());
    let pid = member.id().to_string();
    let limit = LIMIT.to_string();
    let mut group = Group { source: Source::CgroupV1, folders: Vec::new(), member };
    if let (Some(cpu), Some(account), Some(memory)) = (separate("cpu"), separate("cpuacct"), separate("memory")) {
        group.put(cpu, &name, &pid, &[("cpu.cfs_period_us", QUOTA.1), ("cpu.cfs_quota_us", QUOTA.0)])?;
        group.put(account, &name, &pid, &[])?;
        group.put(memory, &name, &pid, &[("memory.limit_in_bytes", &limit)])?;
        return Ok(group);
    }
    let unified = mounts.iter().find(|mount| mount.kind == "cgroup2").ok_or("no control groups are mounted")?;
    let enabled = fs::read_to_string(Path::new(&unified.point).join("cgroup.subtree_control")).unwrap_or_default();
    if !["cpu", "memory"].iter().all(|needed| enabled.split_whitespace().any(|word| word == *needed)) {
        return Err(format!("the controllers cpu and memory are not enabled below {}", unified.point));
    }
    group.source = Source::CgroupV2;
    let quota = format!("{} {}", QUOTA.0, QUOTA.1);
    group.put(unified, &name, &pid, &[("cpu.max", &quota), ("memory.max", &limit)])?;
    Ok(group)
}

impl Group {
    fn put(&mut self, mount: &Mount, name: &str, pid: &str, files: &[(&str, &str)]) -> Result<(), String> {
        let folder = Path::new(&mount.point).join(name);
        if self.folders.contains(&folder) {
            // Two controllers in one hierarchy.
        } else {
            fs::create_dir(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
            self.folders.push(folder.clone());
        }
        for (file, text) in files.iter().chain(&[("cgroup.procs", pid)]) {
            let path = folder.join(file);
            fs::write(&path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
        Ok(())
    }
}

/// The other process: takes memory and CPU, then says what it sees. Does nothing as a test of its own.
#[test]
fn helper_in_the_group() {
    if std::env::var_os(HELPER).is_none() {
        return;
    }
    // A line says that it is in its group by now.
    std::io::stdin().lock().lines().next();
    let machine = Machine::new();
    let first = machine.sample();
    let taken = vec![1_u8; TAKEN];
    let (mut last, mut rounds) = (first, 0_u64);
    while last.cpu.zip(first.cpu).is_none_or(|(last, first)| last.throttled_s <= first.throttled_s) && rounds < 20_000 {
        rounds += 1 + (0..100_000_u64).fold(0, |sum, step| std::hint::black_box(sum ^ step)) % 2;
        last = machine.sample();
    }
    let (before, cpu, memory) = (first.cpu.unwrap(), last.cpu.unwrap(), last.memory.unwrap());
    println!(
        "SEEN {} {} {} {} {} {} {}",
        last.cores,
        cpu.source.name(),
        cpu.used_s - before.used_s,
        cpu.throttled_s - before.throttled_s,
        memory.source.name(),
        memory.limit_bytes,
        memory.used_bytes
    );
    drop(std::hint::black_box(taken));
    std::io::stdin().read_to_end(&mut Vec::new()).ok();
}

#[test]
fn figures_follow_a_real_group() {
    let member = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host::tests::real_group::helper_in_the_group", "--nocapture"])
        .env(HELPER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut group = match group(member) {
        Ok(group) => group,
        Err(why) => {
            println!("No real control group was tried, because {why}; the fixture trees were.");
            return;
        }
    };
    group.member.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let mut lines = BufReader::new(group.member.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The test harness may have written on the same line.
    let seen = lines.find_map(|line| line.split_once("SEEN ").map(|(_, seen)| seen.to_owned())).unwrap();
    println!("Seen from inside: {seen}");
    let seen: Vec<&str> = seen.split(' ').collect();
    let number = |at: usize| seen[at].parse::<f64>().unwrap();
    let source = group.source.name();
    assert_eq!((seen[1], seen[4]), (source, source));
    assert_eq!((number(0), seen[5].parse::<u64>().unwrap()), (0.1, LIMIT));
    let used = seen[6].parse::<u64>().unwrap();
    assert!(used >= TAKEN as u64 && used <= LIMIT, "{} MiB used", used / MIB);
    assert!(number(2) > 0.0 && number(3) > 0.0, "it calculated and was throttled: {seen:?}");
    let machine = Machine::new().sample();
    assert!(machine.cores > 0.1 && machine.memory.unwrap().limit_bytes > LIMIT, "the machine outside is larger");
}

/// The children of this very process are seen while they run and after they have ended.
#[test]
fn children_are_seen_alive_and_reaped() {
    use std::os::unix::process::CommandExt;
    let machine = Machine::new();
    let before = machine.reaped_cpu_s();
    let mut child = Command::new("sh")
        .args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read line"])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let group = i32::try_from(child.id()).unwrap();
    let seen = machine.groups(&[group])[0];
    assert_eq!((line.as_str(), seen.processes), ("done\n", 1));
    assert!(seen.cpu_s > 0.0 && seen.resident_bytes > 0, "{seen:?}");
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(machine.groups(&[group])[0].processes, 0);
    assert!(machine.reaped_cpu_s() - before >= seen.cpu_s - 0.02, "ticks of 10 ms aside, nothing is lost");
}
