//! Process groups: what the children of handlers use.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::{GroupUsage, parse};

/// What the processes of each group use, in the order asked, by one walk over `proc`.
pub(super) fn usage(proc: &Path, pgids: &[i32]) -> Vec<GroupUsage> {
    if pgids.is_empty() {
        return Vec::new();
    }
    let mut found: HashMap<i32, GroupUsage> = pgids.iter().map(|pgid| (*pgid, GroupUsage::default())).collect();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // A process that ends under the walk is not there any more.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some(process) = parse::process(&stat) else { continue };
        let Some(group) = found.get_mut(&process.group) else { continue };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        group.processes += 1;
        group.cpu_s += process.cpu_s;
        group.resident_bytes += parse::kilobytes(&status, "VmRSS").unwrap_or(0);
    }
    pgids.iter().map(|pgid| found.get(pgid).copied().unwrap_or_default()).collect()
}
