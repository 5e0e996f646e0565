//! The embedded ledger's file is bounded by what comes, not by a clock.

use serde_json::json;

use crate::support::daemon::{Footing, Site};
use crate::support::wait::until;

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_file_stays_small_while_many_large_jobs_come_and_go() {
    let site = Site::new(Footing::Embedded).await;
    let daemon = site.start("[retention]\nmax_bytes = 1000000\n[shedding]\nmode = \"off\"\n").await;
    let size = |name: &str| std::fs::metadata(site.folder().join("data").join(name)).unwrap().len();
    let submit = json!({"type": "noop", "payload": "x".repeat(100_000)});
    // Far more comes between two looks by the clock, half a minute apart, than the bound has room for.
    let (mut file, mut log) = (0, 0);
    for _ in 0..32 {
        daemon.submit_many(&submit, 50).await;
        until("the queue is empty", || async {
            let queue = daemon.get("/v1/queues/work").await;
            (queue["ready"] == 0 && queue["running"] == 0).then_some(())
        })
        .await;
        (file, log) = (file.max(size("ganger.db")), log.max(size("ganger.db-wal")));
    }
    println!("160 MB came and went: the file had {file} bytes at most, its log {log}");
    assert!(file <= MIB + 64 * MIB, "{file}");
    assert!(log <= 64 * MIB, "{log}");
    until("retention has counted what it dropped", || async {
        (daemon.metric("ganger_retention_dropped_total{kind=\"jobs\"}").await >= 1_000.0).then_some(())
    })
    .await;
}
