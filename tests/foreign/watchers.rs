//! Prometheus and Alertmanager beside a daemon, as `deploy/` configures them: one alert at a time, its minutes as seconds.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::servers::Listening;
use crate::support::daemon::{Daemon, repository};
use crate::support::wait::until;
use crate::tools;

/// Where the daemon and the others are in what is shipped.
const PLACES: [&str; 3] = ["localhost:7521", "localhost:9093", "localhost:9090"];

/// Both of them, until this is dropped.
pub struct Watchers {
    _folder: TempDir,
    alertmanager: Listening,
    _prometheus: Listening,
}

impl Watchers {
    /// Has `daemon` scraped, and told of the alerts called `alert`.
    pub async fn of(daemon: &Daemon, alert: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ganger = daemon.url.trim_start_matches("http://");
        let token = write("token", "no token is configured");
        let text = shipped("alertmanager/alertmanager.yml");
        let text = text.replace(PLACES[0], ganger).replace("/etc/alertmanager/ganger-token", token.to_str().unwrap());
        let config = write("alertmanager.yml", &text.replace("group_interval: 15s", "group_interval: 1s"));
        let alertmanager = Listening::start(|port| {
            vec![
                tools::system(&["alertmanager", "prometheus-alertmanager"]),
                format!("--config.file={}", config.display()),
                format!("--storage.path={}", folder.path().join("alertmanager").display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--cluster.listen-address=".to_owned(),
            ]
        })
        .await;
        let rules = folder.path().join("rules");
        std::fs::create_dir(&rules).unwrap();
        std::fs::write(rules.join("recording.yml"), shipped("prometheus/rules/recording.yml")).unwrap();
        std::fs::write(rules.join("alert.yml"), rules_of(alert)).unwrap();
        let text = shipped("prometheus/prometheus.yml").replace("_interval: 15s", "_interval: 1s");
        let manager = format!("127.0.0.1:{}", alertmanager.port);
        let config = write("prometheus.yml", &text.replace(PLACES[0], ganger).replace(PLACES[1], &manager));
        let prometheus = Listening::start(|port| {
            vec![
                tools::system(&["prometheus"]),
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", folder.path().join("prometheus").display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--rules.alert.resend-delay=1s".to_owned(),
            ]
        })
        .await;
        // What happens before the first look is no increase.
        until("Prometheus has looked once", || async {
            let url = format!("http://127.0.0.1:{}/api/v1/query?query=up%7Bjob%3D%22ganger%22%7D", prometheus.port);
            let answer: Value = reqwest::get(url).await.ok()?.json().await.ok()?;
            (answer["data"]["result"][0]["value"][1] == "1").then_some(())
        })
        .await;
        Self { _folder: folder, alertmanager, _prometheus: prometheus }
    }

    /// What fires, as Alertmanager has it.
    pub async fn firing(&self) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/v2/alerts", self.alertmanager.port);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

fn shipped(path: &str) -> String {
    std::fs::read_to_string(repository(&Path::new("deploy").join(path).display().to_string())).unwrap()
}

/// The shipped rules of this name, a second for each minute.
fn rules_of(alert: &str) -> String {
    let shipped = shipped("prometheus/rules/alerts.yml");
    let is_it = |rule: &&str| rule.lines().next().is_some_and(|name| name.trim() == alert);
    let rules: Vec<&str> = shipped.split("      - alert: ").skip(1).filter(is_it).collect();
    assert!(!rules.is_empty(), "no alert is called {alert}");
    let mut text = "groups:\n  - name: one\n    rules:\n".to_owned();
    for rule in rules {
        // What stands between two rules belongs to the next one.
        let lines = rule.lines().take_while(|line| !line.starts_with("  - name: "));
        let lines = lines.filter(|line| !line.trim_start().starts_with('#'));
        text.push_str("      - alert: ");
        for line in lines {
            text.push_str(&seconds(line));
            text.push('\n');
        }
    }
    text
}

/// A line in which `for: 2m`, `keep_firing_for: 5m` and `[10m]` are seconds.
fn seconds(line: &str) -> String {
    let trimmed = line.trim_start();
    if (trimmed.starts_with("for: ") || trimmed.starts_with("keep_firing_for: ")) && trimmed.ends_with('m') {
        return format!("{}s", line.trim_end_matches('m'));
    }
    let mut text = line.to_owned();
    // A window has room for several scrapes.
    for (minutes, seconds) in [("[1m]", "[5s]"), ("[5m]", "[10s]"), ("[10m]", "[30s]")] {
        text = text.replace(minutes, seconds);
    }
    text
}
