//! What only a real server can show: its keys, its memory, its scripts, and its ways to go away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ganger::broker::redis::{RedisBroker, RedisParams};
use ganger::broker::{Broker, BrokerError, Claim, ClaimRequest, Push, Pushed, Release, Removed, Which};
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::fixture::{self, EPOCH, Fixture, HOUR, LEASE, id, patient, queue};
use crate::support::redis::{Options, Redis, connect, random_prefix, shared_url};
use crate::support::wait;

/// A broker on the shared server, with a connection and a prefix to look at its raw keys.
struct Bare {
    f: Fixture,
    connection: MultiplexedConnection,
    prefix: String,
}

impl Bare {
    async fn new() -> Self {
        let (url, prefix) = (shared_url().await, random_prefix());
        let f = Fixture::redis_at(&url, &prefix).await;
        Self { f, connection: connect(&url).await.unwrap(), prefix }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{{plan}}:{name}", self.prefix)
    }

    async fn get(&mut self, name: &str) -> Option<String> {
        let key = self.key(name);
        redis::cmd("GET").arg(key).query_async(&mut self.connection).await.unwrap()
    }

    async fn set(&mut self, name: &str, value: &str) {
        let key = self.key(name);
        redis::cmd("SET").arg(key).arg(value).exec_async(&mut self.connection).await.unwrap();
    }

    async fn pttl(&mut self, name: &str) -> i64 {
        let key = self.key(name);
        redis::cmd("PTTL").arg(key).query_async(&mut self.connection).await.unwrap()
    }

    async fn claim_one(&self) -> Claim {
        self.f.claim(&["fast"], 1).await.claims.remove(0)
    }
}

async fn command(url: &str, words: &[&str]) {
    let mut connection = connect(url).await.unwrap();
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(*word);
    });
    command.exec_async(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_claim_takes_the_runbooks_lock_and_the_settlement_gives_it_back() {
    let mut bare = Bare::new().await;
    bare.f.push(&[bare.f.entry("a", "fast", 1)]).await;
    let claim = bare.claim_one().await;
    assert_eq!(bare.get("job_lock:a").await, Some(format!("{}:node-1", claim.fence)));
    let left = bare.pttl("job_lock:a").await;
    assert!((HOUR - 60_000..=HOUR).contains(&left), "{left}");
    bare.f.settle(&claim, Release::Done { result: None }).await;
    assert_eq!(bare.get("job_lock:a").await, None);
}

#[tokio::test]
async fn a_lock_that_another_program_took_meanwhile_is_left_to_it() {
    let mut bare = Bare::new().await;
    bare.f.push(&[bare.f.entry("a", "fast", 1)]).await;
    let claim = bare.claim_one().await;
    bare.set("job_lock:a", "someone").await;
    assert_eq!(bare.f.renew(&claim, LEASE).await, [true]);
    bare.f.settle(&claim, Release::Done { result: None }).await;
    assert_eq!(bare.get("job_lock:a").await.as_deref(), Some("someone"));
}

#[tokio::test]
async fn a_renewal_extends_the_lock_and_sets_it_again_when_it_vanished() {
    let mut bare = Bare::new().await;
    bare.f.push(&[bare.f.entry("a", "fast", 1)]).await;
    let claim = bare.claim_one().await;
    let lease = [fixture::lease_of(&claim)];
    bare.f.broker.renew(&queue(), &lease, LEASE, 2 * HOUR).await.unwrap();
    assert!(bare.pttl("job_lock:a").await > HOUR);
    command(&shared_url().await, &["DEL", &bare.key("job_lock:a")]).await;
    bare.f.broker.renew(&queue(), &lease, LEASE, HOUR).await.unwrap();
    assert_eq!(bare.get("job_lock:a").await, Some(format!("{}:node-1", claim.fence)));
}

#[tokio::test]
async fn a_lock_with_a_lower_fence_is_taken_over_and_the_entry_is_suspect() {
    let mut bare = Bare::new().await;
    let clean_until_ms = bare.f.now().await + HOUR;
    bare.set("job_lock:a", "7:gone").await;
    bare.f.push(&[Push { clean_until_ms, ..bare.f.entry("a", "fast", 1) }]).await;
    let claim = bare.claim_one().await;
    assert!(claim.suspect);
    assert_eq!(bare.get("job_lock:a").await, Some(format!("{}:node-1", claim.fence)));
}

#[tokio::test]
async fn a_lock_with_a_higher_fence_is_passed_over_without_a_delivery() {
    let mut bare = Bare::new().await;
    bare.set("job_lock:a", &format!("{}:other", (EPOCH + 1) << 32)).await;
    bare.f.push(&[bare.f.entry("a", "fast", 1), bare.f.entry("b", "fast", 2)]).await;
    let claimed = bare.f.claim(&["fast"], 1).await;
    assert_eq!(fixture::ids(&claimed), ["b"]);
    let due = claimed.next_due_in_ms.unwrap();
    assert!((900..=1000).contains(&due), "{due}");
    assert_eq!(bare.f.view("a").await.unwrap().counters.deliveries, 0);
    assert_eq!(bare.f.depth(&["fast"]).await.later, 1);
}

#[tokio::test]
async fn an_entry_locked_by_another_program_waits_without_reducing_the_batch() {
    let mut bare = Bare::new().await;
    bare.set("job_lock:a", "6f1a2b3c").await;
    bare.f.push(&[bare.f.entry("a", "fast", 1), bare.f.entry("b", "fast", 2), bare.f.entry("c", "slow", 3)]).await;
    let request = ClaimRequest { lock_wait_ms: 600, ..bare.f.request(&["fast", "slow"], 2) };
    let claimed = bare.f.broker.claim(&request).await.unwrap();
    assert_eq!(fixture::ids(&claimed), ["b", "c"]);
    assert!((200..=250).contains(&claimed.next_due_in_ms.unwrap()));

    // Looked at again and again; after the whole wait it is one deferral and a longer pause.
    let broker = &bare.f.broker;
    wait::until("the wait counts as a deferral", || async {
        assert!(broker.claim(&request).await.unwrap().claims.is_empty());
        let counters = bare.f.view("a").await.unwrap().counters;
        assert_eq!(counters.deliveries, 0);
        (counters.deferrals == 1).then_some(())
    })
    .await;
    assert!(broker.claim(&request).await.unwrap().next_due_in_ms.unwrap() > 250);

    command(&shared_url().await, &["DEL", &bare.key("job_lock:a")]).await;
    let claim =
        wait::until("the free lock is taken", || async { broker.claim(&request).await.unwrap().claims.pop() }).await;
    assert_eq!((claim.id, claim.score, claim.suspect), (id("a"), 1, true));
    assert_eq!((claim.counters.deliveries, claim.counters.deferrals), (1, 1));
}

#[tokio::test]
async fn a_result_is_kept_for_its_time_and_makes_the_next_claim_suspect() {
    let mut bare = Bare::new().await;
    bare.f.push(&[bare.f.entry("a", "fast", 1)]).await;
    let claim = bare.claim_one().await;
    let result = Bytes::from_static(b"{\"ok\":true}");
    bare.f.settle(&claim, Release::Done { result: Some((result, 90_000)) }).await;
    assert_eq!(bare.get("job_result:a").await.as_deref(), Some("{\"ok\":true}"));
    assert!((30_000..=90_000).contains(&bare.pttl("job_result:a").await));

    let clean_until_ms = bare.f.now().await + HOUR;
    bare.f.push(&[Push { clean_until_ms, seq: 2, ..bare.f.entry("a", "fast", 1) }]).await;
    assert!(bare.claim_one().await.suspect);
    bare.f.push(&[Push { clean_until_ms, seq: 3, ..bare.f.entry("a", "fast", 1) }]).await;
    assert_eq!(bare.get("job_result:a").await, None, "a newer life removes the result");
    assert_eq!(bare.get("job_lock:a").await, None, "and the lock");
    assert!(!bare.claim_one().await.suspect);
}

#[tokio::test]
async fn a_result_expires_and_one_that_is_too_large_is_not_kept() {
    let mut bare = Bare::new().await;
    bare.f.push(&[bare.f.entry("a", "fast", 1), bare.f.entry("b", "fast", 2), bare.f.entry("c", "fast", 3)]).await;
    let claims = bare.f.claim(&["fast"], 3).await.claims;
    let of = |bytes: usize, keep_ms| Release::Done { result: Some((Bytes::from(vec![b'1'; bytes]), keep_ms)) };
    bare.f.settle(&claims[0], of(16 * 1024 + 1, HOUR)).await;
    bare.f.settle(&claims[1], of(16 * 1024, HOUR)).await;
    bare.f.settle(&claims[2], of(1, 30)).await;
    assert_eq!(bare.get("job_result:a").await, None);
    assert_eq!(bare.get("job_result:b").await.map(|text| text.len()), Some(16 * 1024));
    bare.f.pass(31).await;
    assert_eq!(bare.get("job_result:c").await, None);
}

#[tokio::test]
async fn removal_takes_the_result_and_our_lock_but_not_another_programs() {
    let mut bare = Bare::new().await;
    bare.f.push(&[bare.f.entry("a", "fast", 1), bare.f.entry("b", "fast", 2)]).await;
    bare.claim_one().await;
    bare.set("job_result:a", "1").await;
    bare.set("job_lock:b", "someone").await;
    let removed = bare.f.broker.remove(&queue(), &[(id("a"), 1), (id("b"), 1)], Which::Any).await.unwrap();
    assert_eq!(removed, [Removed::Leased(fixture::node("node-1")), Removed::Waiting]);
    assert_eq!(bare.get("job_result:a").await, None);
    assert_eq!(bare.get("job_lock:a").await, None);
    assert_eq!(bare.get("job_lock:b").await.as_deref(), Some("someone"));
}

#[tokio::test]
async fn a_server_that_may_evict_is_refused_with_the_command_that_helps() {
    let redis = Redis::start_with(Options::default().set("maxmemory-policy", "volatile-ttl")).await;
    let broker = RedisBroker::new(patient(&redis.url(), "ganger:")).unwrap();
    let refusal = broker.identity().await.unwrap_err();
    let said = refusal.to_string();
    assert!(!refusal.is_transient() && said.contains("volatile-ttl"), "{said}");
    assert!(said.contains("CONFIG SET maxmemory-policy noeviction"), "{said}");
    assert!(broker.remove(&queue(), &[(id("a"), 1)], Which::Any).await.is_err(), "no call gets through");
    command(&redis.url(), &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    broker.identity().await.unwrap();
}

#[tokio::test]
async fn the_socket_of_a_server_serves_as_well() {
    let redis = Redis::start().await;
    let f = Fixture::redis_at(&redis.unix_url(), "ganger:").await;
    f.push(&[f.entry("a", "fast", 1)]).await;
    assert_eq!(f.claim_ids(&["fast"], 1).await, ["a"]);
}

#[tokio::test]
async fn a_full_server_takes_no_more_and_lets_everything_out() {
    let redis = Redis::start().await;
    let f = Fixture::redis_at(&redis.url(), "ganger:").await;
    f.push(&(0..20).map(|n| f.entry(&format!("j{n:02}"), "fast", n)).collect::<Vec<_>>()).await;
    let mut claims = f.claim(&["fast"], 1).await.claims;
    command(&redis.url(), &["CONFIG", "SET", "maxmemory", "1000000"]).await;
    command(&redis.url(), &["CONFIG", "SET", "maxmemory", "1"]).await;
    let refusal = f.broker.push(&queue(), &[f.entry("x", "fast", 1)]).await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Full { .. }) && refusal.is_transient(), "{refusal:?}");
    claims.extend(f.claim(&["fast"], 10).await.claims);
    claims.extend(f.claim_for(0, &["fast"], 1).await.claims);
    assert_eq!(f.renew(&claims[0], LEASE).await, [true]);
    assert_eq!(f.settle(&claims[1], Release::Retry { due_at_ms: 1 }).await, [true]);
    assert_eq!(f.broker.reap(&queue(), &[], 10).await.unwrap().crashed, [id("j11")]);
    assert_eq!(f.broker.remove(&queue(), &[(id("j19"), 1)], Which::Any).await.unwrap(), [Removed::Waiting]);
    let identity = f.broker.identity().await.unwrap();
    assert!(identity.open);
    let done = Release::Done { result: Some((Bytes::from_static(b"1"), HOUR)) };
    assert_eq!(f.settle(&claims[0], done).await, [true]);
    let mut connection = redis.connection().await;
    let kept: bool =
        redis::cmd("EXISTS").arg("ganger:{plan}:job_result:j00").query_async(&mut connection).await.unwrap();
    assert!(!kept, "no result is kept above half of the memory");
    assert_eq!(f.depth(&[]).await.leased, 9);
    command(&redis.url(), &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(f.push(&[f.entry("x", "fast", 1)]).await, [Pushed::Added]);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the task ends with its stop token")]
async fn fullness_is_known_without_asking_comes_and_goes_and_is_forgotten_after_a_second() {
    let redis = Redis::start_with(Options::default().set("maxmemory", "20mb")).await;
    let url = redis.url();
    let broker = Arc::new(RedisBroker::new(RedisParams { timeout_ms: 300, ..patient(&url, "ganger:") }).unwrap());
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let watching = Arc::clone(&broker);
    tokio::spawn(async move { watching.run_memory_watch(stop).await });
    // 17 MB beside the server's own need of about one.
    let fill = ["SETRANGE", "ballast", "17000000", "x"];
    command(&url, &fill).await;
    assert!(!broker.is_full(), "nothing is known yet");
    broker.identity().await.unwrap();
    broker.adopt(EPOCH);
    let is = |expected: bool| {
        let broker = &broker;
        move || async move { (broker.is_full() == expected).then_some(()) }
    };
    wait::until("the broker is full", is(true)).await;
    command(&url, &["DEL", "ballast"]).await;
    wait::until("room has returned", is(false)).await;
    command(&url, &fill).await;
    wait::until("the broker is full again", is(true)).await;
    redis.freeze();
    wait::until("the figure is too old to refuse anybody", is(false)).await;
    redis.thaw();
    wait::until("the figure is read again", is(true)).await;
    command(&url, &["CONFIG", "SET", "maxmemory", "0"]).await;
    wait::until("nothing is full without a limit", is(false)).await;
    assert!(!Fixture::memory().await.broker.is_full());
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_is_not_used_before_it_is_identified() {
    let redis = Redis::start().await;
    let f = Fixture::redis_at(&redis.url(), "ganger:").await;
    command(&redis.url(), &["SCRIPT", "FLUSH"]).await;
    let refusal = f.broker.push(&queue(), &[f.entry("a", "fast", 1)]).await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Unavailable { .. }), "{refusal:?}");
    // Nothing loads scripts by itself, on no connection.
    for _ in 0..3 {
        assert!(f.broker.claim(&f.request(&["fast"], 1)).await.is_err());
        assert!(f.broker.depth(&queue(), &[]).await.is_err());
    }
    f.broker.identity().await.unwrap();
    assert!(f.broker.claim(&f.request(&["fast"], 1)).await.is_err(), "identified, but not adopted");
    f.broker.adopt(EPOCH);
    assert_eq!(f.push(&[f.entry("a", "fast", 1)]).await, [Pushed::Added]);
}

#[tokio::test]
async fn a_server_is_used_only_once_it_is_adopted_and_a_second_look_changes_nothing() {
    let f = Fixture::redis().await;
    f.push(&[f.entry("a", "fast", 1)]).await;
    f.broker.identity().await.unwrap();
    assert_eq!(f.claim_ids(&["fast"], 1).await, ["a"], "the session stays on the server that was looked at again");
    let redis = Redis::start().await;
    let broker = RedisBroker::new(patient(&redis.url(), "ganger:")).unwrap();
    broker.adopt(EPOCH);
    let not_ready = |error: BrokerError| error.to_string().contains("not ready");
    assert!(not_ready(broker.reset("ledger-1", EPOCH, &[queue()]).await.unwrap_err()), "nothing was identified");
    broker.identity().await.unwrap();
    assert!(not_ready(broker.reset("ledger-1", EPOCH, &[queue()]).await.unwrap_err()));
    assert!(not_ready(broker.claim(&f.request(&["fast"], 1)).await.unwrap_err()));
    assert!(not_ready(broker.set_paused(&queue(), None, true).await.unwrap_err()));
    broker.adopt(EPOCH);
    broker.reset("ledger-1", EPOCH, &[queue()]).await.unwrap();
}

#[tokio::test]
async fn a_server_that_came_back_empty_is_another_one_and_can_be_filled_again() {
    let mut redis = Redis::start().await;
    let f = Fixture::redis_at(&redis.url(), "ganger:").await;
    let before = f.broker.identity().await.unwrap();
    f.push(&[f.entry("a", "fast", 1)]).await;
    redis.kill();
    assert!(f.broker.remove(&queue(), &[(id("a"), 1)], Which::Any).await.unwrap_err().is_transient());
    redis.restart_empty().await;
    for _ in 0..3 {
        let refusal = f.broker.claim(&f.request(&["fast"], 1)).await.unwrap_err();
        assert!(matches!(refusal, BrokerError::Unavailable { .. }), "{refusal:?}");
    }
    let after = f.broker.identity().await.unwrap();
    assert_ne!(before.server, after.server);
    assert_eq!((after.ledger_id, after.epoch, after.open), (None, None, false));
    f.broker.adopt(EPOCH);
    let refusal = f.broker.claim(&f.request(&["fast"], 1)).await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Epoch { expected: EPOCH, found: None, .. }), "{refusal:?}");
    f.broker.reset("ledger-1", EPOCH + 1, &[queue()]).await.unwrap();
    f.broker.adopt(EPOCH + 1);
    f.broker.open(&[queue()]).await.unwrap();
    f.push(&[f.entry("a", "fast", 1)]).await;
    assert_eq!(f.claim(&["fast"], 1).await.claims[0].fence, ((EPOCH + 1) << 32) + 1);
}

#[tokio::test]
async fn a_server_with_a_file_comes_back_with_its_entries_as_another_server() {
    let mut redis =
        Redis::start_with(Options { appendonly: true, ..Options::default() }.set("appendfsync", "always")).await;
    let f = Fixture::redis_at(&redis.url(), "ganger:").await;
    let before = f.broker.identity().await.unwrap();
    f.push(&[f.entry("a", "fast", 1)]).await;
    redis.restart().await;
    let after = wait::until("the server is identified", || async { f.broker.identity().await.ok() }).await;
    assert_ne!(before.server, after.server);
    assert_eq!((after.epoch, after.open), (Some(EPOCH), true));
    f.broker.claim(&f.request(&["fast"], 1)).await.expect_err("another server, and not adopted");
    f.broker.adopt(EPOCH);
    assert_eq!(f.claim_ids(&["fast"], 1).await, ["a"]);
}

#[tokio::test]
async fn emptied_data_on_the_same_server_is_an_epoch_that_is_over() {
    let redis = Redis::start().await;
    let f = Fixture::redis_at(&redis.url(), "ganger:").await;
    command(&redis.url(), &["FLUSHALL"]).await;
    let refusal = f.broker.claim(&f.request(&["fast"], 1)).await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Epoch { found: None, .. }), "{refusal:?}");
}

#[tokio::test]
async fn every_call_to_a_hanging_server_returns_within_its_deadline() {
    let redis = Redis::start().await;
    let f = Fixture::redis_at(&redis.url(), "ganger:").await;
    let params = RedisParams { timeout_ms: 200, connect_timeout_ms: 300, ..RedisParams::new(redis.url()) };
    let broker = RedisBroker::new(params).unwrap();
    broker.identity().await.unwrap();
    broker.adopt(EPOCH);
    broker.push(&queue(), &[f.entry("a", "fast", 1)]).await.unwrap();
    redis.freeze();
    let lease = fixture::lease_ref("a", 1, 1);
    let settle = fixture::settle(&lease, Release::Crash);
    // The first round meets the old connections, the second has to make new ones.
    for round in 0..2 {
        let started = Instant::now();
        let deadline = Duration::from_secs(10);
        let request = f.request(&["fast"], 1);
        let calls = async {
            let (leases, settles, entries) = ([lease.clone()], [settle.clone()], [f.entry("b", "fast", 1)]);
            let q = queue();
            tokio::join!(
                async { broker.identity().await.is_err() },
                async { broker.push(&q, &entries).await.is_err() },
                async { broker.claim(&request).await.is_err() },
                async { broker.renew(&q, &leases, LEASE, LEASE).await.is_err() },
                async { broker.settle(&q, &settles).await.is_err() },
                async { broker.depth(&q, &[]).await.is_err() },
                async { broker.reset("ledger-1", EPOCH, &[]).await.is_err() },
            )
        };
        let failed = timeout(deadline, calls).await.expect("every call returns");
        assert_eq!(failed, (true, true, true, true, true, true, true), "round {round}");
        println!("round {round}: all calls had failed after {:?}", started.elapsed());
    }
    redis.thaw();
    wait::until("the broker answers again", || async { broker.identity().await.ok() }).await;
    wait::until("claims work again", || async { broker.claim(&f.request(&["fast"], 1)).await.ok() }).await;
}

#[tokio::test]
async fn a_daemon_can_start_while_its_server_is_away() {
    let mut redis = Redis::start().await;
    redis.kill();
    let broker = RedisBroker::new(patient(&redis.url(), "ganger:")).unwrap();
    assert!(broker.identity().await.unwrap_err().is_transient());
    redis.restart().await;
    broker.identity().await.unwrap();
}

#[tokio::test]
async fn the_subscription_comes_back_with_the_server() {
    let mut redis = Redis::start().await;
    let f = Fixture::redis_at(&redis.url(), "ganger:").await;
    let mut wakes = f.wakes().await;
    redis.restart().await;
    // The new subscription wakes the queue without being asked.
    fixture::hear(&mut wakes, "a new subscription").await;
}

#[tokio::test]
async fn the_estimated_clock_is_the_servers() {
    let f = Fixture::redis().await;
    let before = f.now().await;
    f.push(&[f.entry("a", "fast", 1)]).await;
    let estimate = f.broker.now_ms();
    let after = f.now().await;
    // Half of a round trip and the rounding to milliseconds are the estimate's uncertainty.
    assert!(before - 100 <= estimate && estimate <= after + 100, "{before} {estimate} {after}");
}

#[test]
fn passwords_are_never_shown() {
    let params = RedisParams::new("redis://user:hunter2@127.0.0.1:1/0?x=hunter2");
    assert!(!format!("{params:?}").contains("hunter2"));
    let broker = RedisBroker::new(params).unwrap();
    assert!(!format!("{broker:?}").contains("hunter2"), "{broker:?}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let said = runtime.block_on(broker.identity()).unwrap_err().to_string();
    assert!(!said.contains("hunter2") && said.contains("127.0.0.1:1"), "{said}");
    assert!(matches!(RedisBroker::new(RedisParams::new("http://x")), Err(BrokerError::Unfit { .. })));
}

#[tokio::test]
async fn a_scan_names_entries_that_stand_in_no_place() {
    let mut bare = Bare::new().await;
    let later = Some(bare.f.now().await + HOUR);
    let entries = [
        bare.f.entry("lane", "slow", 1),
        Push { due_at_ms: later, ..bare.f.entry("later", "slow", 2) },
        bare.f.entry("leased", "fast", 3),
    ];
    bare.f.push(&entries).await;
    bare.f.claim(&["fast"], 1).await;
    let misplaced = async |f: &Fixture| {
        let (met, _) = f.broker.scan(&queue(), None, 100).await.unwrap();
        let mut names: Vec<String> =
            met.into_iter().filter(|found| found.misplaced).map(|found| found.id.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(misplaced(&bare.f).await, [""; 0]);
    for (place, name) in [("lane:slow", "lane"), ("later", "later"), ("leases", "leased")] {
        let key = bare.key(place);
        redis::cmd("ZREM").arg(key).arg(name).exec_async(&mut bare.connection).await.unwrap();
    }
    assert_eq!(misplaced(&bare.f).await, ["lane", "later", "leased"]);
}

#[tokio::test]
async fn what_a_held_up_server_reads_too_late_neither_claims_nor_reaps() {
    let redis = Redis::start().await;
    let f = Fixture::redis_at(&redis.url(), "ganger:").await;
    f.push(&[f.entry("waits", "fast", 1), f.entry("held", "slow", 2)]).await;
    let held = f.claim_for(50, &["slow"], 1).await.claims.remove(0);
    let hasty = RedisParams { timeout_ms: 300, ..patient(&redis.url(), "ganger:") };
    let hasty = RedisBroker::new(hasty).unwrap();
    hasty.identity().await.unwrap();
    hasty.adopt(EPOCH);
    // Both roles have their connections before the server stops to listen.
    hasty.depth(&queue(), &[]).await.unwrap();
    assert!(hasty.claim(&f.request(&["odd"], 1)).await.unwrap().claims.is_empty());
    redis.freeze();
    let (request, queue) = (f.request(&["fast"], 1), queue());
    let (claimed, reaped) = tokio::join!(hasty.claim(&request), hasty.reap(&queue, &[], 10));
    assert!(claimed.is_err() && reaped.is_err(), "{claimed:?} {reaped:?}");
    let gave_up = tokio::time::Instant::now();
    wait::until("the callers have given up", || async { (gave_up.elapsed().as_millis() > 200).then_some(()) }).await;
    redis.thaw();
    let depth = f.depth(&["fast"]).await;
    assert_eq!((depth.leased, depth.lanes[0].1), (1, 1), "{depth:?}");
    assert_eq!(f.renew(&held, LEASE).await, [true], "nobody took it");
}
