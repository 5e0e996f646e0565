//! Redis behind real Sentinels: the session follows the master, and never without being told.

use std::time::Duration;

use ganger::broker::redis::RedisBroker;
use ganger::broker::{Broker, BrokerError};
use tokio::time::timeout;

use super::fixture::{self, EPOCH, Fixture, patient, queue};
use crate::support::sentinel::Sentinels;
use crate::support::wait;

/// Whatever is asked before a new master was adopted is refused; afterwards work goes on there.
async fn follow(f: &Fixture, before: &str, epoch: i64) -> String {
    let after = wait::until("another master is identified", || async {
        f.broker.identity().await.ok().filter(|found| found.server != before)
    })
    .await;
    let refusal = f.broker.claim(&f.request(&["fast"], 1)).await.unwrap_err();
    assert!(refusal.to_string().contains("not ready"), "identified, but not adopted: {refusal}");
    f.broker.adopt(epoch);
    f.broker.reset("ledger-1", epoch, &[queue()]).await.unwrap();
    f.broker.open(&[queue()]).await.unwrap();
    let name = format!("in-{epoch}");
    f.push(&[f.entry(&name, "fast", 1)]).await;
    assert_eq!(f.claim_ids(&["fast"], 10).await, [name]);
    after.server
}

#[tokio::test]
async fn work_goes_on_after_a_promotion_and_an_old_master_is_not_used_again() {
    let mut setup = Sentinels::start().await;
    let f = Fixture::redis_with(&setup.url(), "ganger:", &setup.servers[0].url()).await;
    let first = f.broker.identity().await.unwrap().server;
    f.push(&[f.entry("a", "fast", 1)]).await;
    let mut wakes = f.wakes().await;

    let old = setup.kill_master().await;
    assert!(f.broker.claim(&f.request(&["fast"], 1)).await.unwrap_err().is_transient());
    let new = setup.promoted(old).await;
    let second = follow(&f, &first, EPOCH + 1).await;
    // The subscription went along: another broker's push over the new master is heard.
    fixture::hear(&mut wakes, "a new subscription").await;
    let other = RedisBroker::new(patient(&setup.url(), "ganger:")).unwrap();
    other.identity().await.unwrap();
    other.adopt(EPOCH + 1);
    wait::until("a push of another node is heard", || async {
        let mut wakes = f.broker.wakes();
        other.push(&queue(), &[f.entry(&uuid::Uuid::now_v7().to_string(), "slow", 1)]).await.unwrap();
        timeout(Duration::from_millis(500), wakes.recv()).await.ok()
    })
    .await
    .unwrap();

    // The old master comes back as one, until a Sentinel makes it a replica.
    setup.servers[old].restart().await;
    assert_eq!(f.broker.identity().await.unwrap().server, second);
    wait::until("the old master is a replica", || async {
        assert_eq!(f.broker.identity().await.unwrap().server, second);
        (setup.servers[old].info("role").await == "slave").then_some(())
    })
    .await;
    assert_eq!(setup.master().await, new);
    f.push(&[f.entry("b", "fast", 0)]).await;
    assert_eq!(f.claim_ids(&["fast"], 1).await, ["b"]);
}

#[tokio::test]
async fn a_master_that_was_replaced_while_it_lives_is_left() {
    let setup = Sentinels::start().await;
    let f = Fixture::redis_with(&setup.url(), "ganger:", &setup.servers[0].url()).await;
    let first = f.broker.identity().await.unwrap().server;
    let old = setup.promote().await;
    setup.promoted(old).await;
    wait::until("the old master takes no more", || async {
        f.broker.push(&queue(), &[f.entry("a", "fast", 1)]).await.err()
    })
    .await;
    follow(&f, &first, EPOCH + 1).await;
}

#[tokio::test]
async fn the_sentinels_password_and_the_datas_are_two() {
    let setup = Sentinels::start_with(Some("for-data"), Some("for-sentinels")).await;
    let url = setup.url_with(":for-data@", "?sentinel_password=for-sentinels");
    let broker = RedisBroker::new(patient(&url, "ganger:")).unwrap();
    broker.identity().await.unwrap();
    for wrong in [setup.url_with(":for-data@", ""), setup.url_with("", "?sentinel_password=for-sentinels")] {
        let broker = RedisBroker::new(patient(&wrong, "ganger:")).unwrap();
        let refusal = broker.identity().await.unwrap_err();
        let said = format!("{refusal} {broker:?}");
        assert!(said.contains("127.0.0.1") && !said.contains("for-"), "{said}");
    }
}

#[tokio::test]
async fn a_service_that_nobody_knows_and_a_server_that_is_no_sentinel_are_named() {
    let setup = Sentinels::start().await;
    let unknown = setup.url().replace("/jobs", "/wrong");
    let refusal = RedisBroker::new(patient(&unknown, "ganger:")).unwrap().identity().await.unwrap_err();
    assert!(refusal.is_transient() && refusal.to_string().contains("\"wrong\""), "{refusal}");
    let plain = format!("redis+sentinel://127.0.0.1:{}/jobs", setup.servers[0].port());
    let refusal = RedisBroker::new(patient(&plain, "ganger:")).unwrap().identity().await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Unfit { .. }) && refusal.to_string().contains("no Sentinel"), "{refusal}");
}
