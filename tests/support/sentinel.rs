//! A real Sentinel setup: one master, two replicas, three Sentinels, each with its own watchdog.

use std::time::Duration;

use super::redis::{Options, Redis};
use super::wait;

/// The service that the Sentinels watch.
pub const SERVICE: &str = "jobs";

/// The servers and those that watch them.
#[derive(Debug)]
pub struct Sentinels {
    /// Servers with data, whichever of them is the master.
    pub servers: Vec<Redis>,
    /// The Sentinels.
    pub sentinels: Vec<Redis>,
}

impl Sentinels {
    /// Without passwords.
    pub async fn start() -> Self {
        Self::start_with(None, None).await
    }

    /// With a password of the servers and one of the Sentinels themselves. Returns when every Sentinel knows all
    /// others and both replicas follow.
    pub async fn start_with(data: Option<&str>, own: Option<&str>) -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 {
            let options = Options { password: data.map(str::to_owned), ..Options::default() };
            servers.push(Redis::start_with(options.set("repl-diskless-sync-delay", "0")).await);
        }
        let port = servers[0].port().to_string();
        for replica in &servers[1..] {
            replica.ask::<()>(&["REPLICAOF", "127.0.0.1", &port]).await;
        }
        for replica in &servers[1..] {
            let linked = || async { (replica.info("master_link_status").await == "up").then_some(()) };
            wait::until("the replica follows", linked).await;
        }
        let auth = data.map(|password| format!("sentinel auth-pass {SERVICE} {password}\n")).unwrap_or_default();
        let peers = own.map(|password| format!("sentinel sentinel-pass {password}\n")).unwrap_or_default();
        let text = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {port} 2\nsentinel down-after-milliseconds {SERVICE} 2000\n\
             sentinel failover-timeout {SERVICE} 6000\n{auth}{peers}"
        );
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let (sentinel, password) = (Some(text.clone()), own.map(str::to_owned));
            sentinels.push(Redis::start_with(Options { sentinel, password, ..Options::default() }).await);
        }
        let setup = Self { servers, sentinels };
        for sentinel in &setup.sentinels {
            wait::until("the Sentinel knows all others", || async {
                let known: Vec<String> = sentinel.try_ask(&["SENTINEL", "MASTER", SERVICE]).await.ok()?;
                let field = |name: &str| known.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str());
                (field("num-slaves") == Some("2") && field("num-other-sentinels") == Some("2")).then_some(())
            })
            .await;
        }
        setup
    }

    /// The URL of the service. `login` is that of the data, such as `:password@`.
    pub fn url_with(&self, login: &str, query: &str) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        format!("redis+sentinel://{login}{}/{SERVICE}{query}", hosts.join(","))
    }

    /// The URL of a setup without passwords.
    pub fn url(&self) -> String {
        self.url_with("", "")
    }

    /// Which server is the master, once all Sentinels say so and it agrees.
    pub async fn master(&self) -> usize {
        wait::within(Duration::from_secs(90), "all Sentinels agree on a master", || async {
            let mut named = Vec::new();
            for sentinel in &self.sentinels {
                let ask = sentinel.try_ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
                let (_, port): (String, u16) = ask.await.ok()?;
                named.push(port);
            }
            let at = self.servers.iter().position(|server| named.iter().all(|port| *port == server.port()))?;
            (self.servers[at].info("role").await == "master").then_some(at)
        })
        .await
    }

    /// Kills the master; answers which it was. See [`Self::promoted`].
    pub async fn kill_master(&mut self) -> usize {
        let master = self.master().await;
        self.servers[master].kill();
        master
    }

    /// Has a replica promoted while the master lives; answers which server was the master.
    pub async fn promote(&self) -> usize {
        let master = self.master().await;
        // Refused while one is under way, and given up by the Sentinels when a slow machine takes too long.
        for _ in 0..10 {
            drop(self.sentinels[0].try_ask::<()>(&["SENTINEL", "FAILOVER", SERVICE]).await);
            if tokio::time::timeout(Duration::from_secs(10), self.promoted(master)).await.is_ok() {
                return master;
            }
        }
        panic!("the Sentinels promoted no replica");
    }

    /// Waits until another server than `old` is the master.
    pub async fn promoted(&self, old: usize) -> usize {
        wait::within(Duration::from_secs(90), "another server is the master", || async {
            Some(self.master().await).filter(|master| *master != old)
        })
        .await
    }
}
