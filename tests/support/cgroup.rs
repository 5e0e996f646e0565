//! A real control group with limits of the test's choice.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Removed when it is dropped, with whatever still runs in it.
pub struct Group {
    folders: Vec<PathBuf>,
}

impl Group {
    /// Makes a group that may use `cpu_percent` of one core and `memory` bytes, and puts the process into it; why not,
    /// where that cannot be.
    pub fn around(pid: u32, cpu_percent: u32, memory: u64) -> Result<Self, String> {
        let mut group = Self { folders: Vec::new() };
        let name = format!("ganger-test-{pid}");
        let quota = (cpu_percent * 1_000).to_string();
        let separate = ["cpu", "cpuacct", "memory"].map(|controller| mounted("cgroup", Some(controller)));
        if let [Some(cpu), Some(account), Some(bytes)] = &separate {
            group.put(&cpu.join(&name), pid, &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", &quota)])?;
            group.put(&account.join(&name), pid, &[])?;
            group.put(&bytes.join(&name), pid, &[("memory.limit_in_bytes", &memory.to_string())])?;
            return Ok(group);
        }
        let unified = mounted("cgroup2", None).ok_or("no control groups are mounted")?;
        let enabled = fs::read_to_string(unified.join("cgroup.subtree_control")).unwrap_or_default();
        if !["cpu", "memory"].iter().all(|needed| enabled.split_whitespace().any(|word| word == *needed)) {
            return Err(format!("the controllers cpu and memory are not enabled below {}", unified.display()));
        }
        let (quota, memory) = (format!("{quota} 100000"), memory.to_string());
        group.put(&unified.join(&name), pid, &[("cpu.max", &quota), ("memory.max", &memory)])?;
        Ok(group)
    }

    fn put(&mut self, folder: &Path, pid: u32, files: &[(&str, &str)]) -> Result<(), String> {
        // Two controllers may share a hierarchy.
        if !self.folders.iter().any(|known| known == folder) {
            fs::create_dir(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
            self.folders.push(folder.to_owned());
        }
        let pid = pid.to_string();
        for (file, text) in files.iter().chain(&[("cgroup.procs", pid.as_str())]) {
            let path = folder.join(file);
            fs::write(&path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            // Orphans of a test that failed; and the kernel needs a moment to let go of what has ended.
            for _ in 0..500 {
                let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                for pid in members.lines().filter_map(|line| line.parse().ok()) {
                    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
                }
                if fs::remove_dir(folder).is_ok() || !folder.exists() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

/// Where a file system of this kind, with this option, is mounted.
fn mounted(kind: &str, option: Option<&str>) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, found, options) = (words.next()?, words.next()?, words.next()?);
        let fits = found == kind && option.is_none_or(|option| options.split(',').any(|known| known == option));
        fits.then(|| PathBuf::from(point))
    })
}
