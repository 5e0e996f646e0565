//! Jobs by type: what became of them, and how long they took.

use std::collections::BTreeMap;

use crate::cli::output;
use crate::cli::waiting::JobBody;

/// What is counted of a type.
#[derive(Debug, Default)]
struct Line {
    succeeded: usize,
    failed: usize,
    in_review: usize,
    other: usize,
    retries: u32,
    waits: Vec<u64>,
    runs: Vec<u64>,
}

/// One line a type.
pub(super) fn table(jobs: &[JobBody]) -> String {
    let mut lines: BTreeMap<&str, Line> = BTreeMap::new();
    for job in jobs {
        let line = lines.entry(&job.job_type).or_default();
        match job.state.as_str() {
            "succeeded" => line.succeeded += 1,
            "failed" => line.failed += 1,
            "in_review" => line.in_review += 1,
            _ => line.other += 1,
        }
        line.retries += job.attempts.saturating_sub(1);
        line.waits.extend(job.wait_ms);
        line.runs.extend(job.run_ms);
    }
    let rows = lines.into_iter().map(|(job_type, mut line)| {
        let counts = [line.succeeded, line.failed, line.in_review, line.other];
        let mut row = vec![job_type.to_owned(), counts.iter().sum::<usize>().to_string()];
        row.extend(counts.map(|count| count.to_string()));
        row.extend([line.retries.to_string(), pair(&mut line.waits), pair(&mut line.runs)]);
        row
    });
    let headings =
        ["TYPE", "JOBS", "SUCCEEDED", "FAILED", "IN REVIEW", "OTHER", "RETRIES", "WAIT MS P50/P95", "RUN MS P50/P95"];
    output::table(&headings, rows.collect())
}

fn pair(values: &mut [u64]) -> String {
    values.sort_unstable();
    match (rank(values, 50), rank(values, 95)) {
        (Some(half), Some(most)) => format!("{half} / {most}"),
        _ => "-".to_owned(),
    }
}

/// The nearest rank of a sorted list.
fn rank(sorted: &[u64], percent: usize) -> Option<u64> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_a_value_that_was_there() {
        let values: Vec<u64> = (1..=20).collect();
        assert_eq!((rank(&values, 50), rank(&values, 95)), (Some(10), Some(19)));
        assert_eq!(rank(&[7], 95), Some(7));
        assert_eq!(pair(&mut []), "-");
    }
}
