use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use url::Url;

use super::*;
use crate::platform::locators::{By, Fingerprint, RankedLocator, Strategy};

fn page() -> Url {
    Url::parse("http://site.test/book?x=1").unwrap()
}

fn keep(name: &str, selector: &str) -> Keep {
    let locator = RankedLocator { strategy: Strategy::Id, by: By::Css, value: selector.to_owned(), stability: 0.9 };
    let fingerprint = Fingerprint { tag: "a".to_owned(), text: name.to_owned(), ..Fingerprint::default() };
    Keep { id: ElementId::on(&page(), name), fingerprint, locators: vec![locator] }
}

fn generated() -> Origin {
    Origin::plain(MadeBy::Generated)
}

/// What is found, and the levels that were asked, as `l1+` for a hit.
async fn look(repository: &Repository, element: &str) -> (Option<Arc<Record>>, String) {
    let found = repository.find(element).await.unwrap();
    let level = |seen: &serde_json::Value| {
        assert_eq!(seen["kind"], "cache_lookup");
        format!("{}{}", seen["cache_level"].as_str().unwrap(), if seen["hit"].as_bool().unwrap() { "+" } else { "-" })
    };
    let levels: Vec<String> = found.observations.iter().map(level).collect();
    (found.record, levels.join(" "))
}

async fn selector(repository: &Repository, element: &str) -> String {
    look(repository, element).await.0.unwrap().locators[0].value.clone()
}

#[tokio::test]
async fn each_level_tells_of_its_hits() {
    for folder in [None, Some(TempDir::new().unwrap())] {
        let repository = Repository::new(folder.as_ref().map(TempDir::path));
        assert_eq!(look(&repository, "http://site.test/book#buy").await.1, "l1- l2-");
        assert_eq!(repository.keep(&[keep("buy", "#a")], generated()).await.unwrap(), 1);
        assert_eq!(look(&repository, "http://site.test/book#buy").await.1, "l1- l2+");
        assert_eq!(look(&repository, "http://site.test/book#buy").await.1, "l1+");
        let (record, levels) = look(&repository, "buy").await;
        assert_eq!(
            (record.unwrap().id.to_string().as_str(), levels.as_str()),
            ("http://site.test/book#buy", "l1- l2+")
        );
        assert_eq!(look(&repository, "buy").await.1, "l1+");
    }
}

#[tokio::test]
async fn what_another_process_changes_is_seen_at_once() {
    let folder = TempDir::new().unwrap();
    let (one, other) = (Repository::new(Some(folder.path())), Repository::new(Some(folder.path())));
    one.keep(&[keep("buy", "#a"), keep("sell", "#s")], generated()).await.unwrap();
    for element in ["buy", "sell"] {
        look(&other, element).await;
        assert_eq!(look(&other, element).await.1, "l1+");
    }
    one.keep(&[keep("buy", "#b")], generated()).await.unwrap();
    assert_eq!(selector(&other, "buy").await, "#b");
    // A second element of the name makes the bare name mean nothing.
    let elsewhere =
        Keep { id: ElementId::on(&Url::parse("http://site.test/other").unwrap(), "buy"), ..keep("buy", "#c") };
    one.keep(&[elsewhere], generated()).await.unwrap();
    assert_eq!(other.find("buy").await.unwrap_err().class, "bad_arguments");
    // What is put as it was changes nothing, so no cache is emptied for it.
    look(&other, "sell").await;
    assert_eq!(one.keep(&[keep("sell", "#s")], generated()).await.unwrap(), 0);
    assert_eq!(look(&other, "sell").await.1, "l1+");
}

#[tokio::test]
async fn processes_that_write_at_once_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let repositories: Vec<Repository> = (0..4).map(|_| Repository::new(Some(folder.path()))).collect();
    let writes = repositories.iter().enumerate().map(|(number, repository)| async move {
        for count in 0..25 {
            let (shared, own) =
                (keep("shared", &format!("#s{number}-{count}")), keep(&format!("own-{number}-{count}"), "#x"));
            repository.keep(&[shared, own], generated()).await.unwrap();
            look(repository, "shared").await;
        }
    });
    futures_util::future::join_all(writes).await;
    let expected = selector(&Repository::new(Some(folder.path())), "shared").await;
    for repository in &repositories {
        assert_eq!(selector(repository, "shared").await, expected);
        assert_eq!(repository.of_page(&ElementId::on(&page(), ""), 1_000).await.unwrap().len(), 101);
    }
    let record = look(&repositories[0], "shared").await.0.unwrap();
    assert_eq!(record.version, 100);
    let versions = repositories[0].versions(&record).await.unwrap();
    assert_eq!((versions.len(), versions[0].version, versions[19].version), (20, 100, 81));
}

#[tokio::test]
async fn versions_say_who_made_them() {
    let repository = Repository::new(None);
    repository.keep(&[keep("buy", "#a")], generated()).await.unwrap();
    let strategy = Some(crate::platform::healing::Strategy::TextMatch);
    let healed = Origin { made_by: MadeBy::Healed, strategy, confidence: Some(0.9) };
    repository.keep(&[keep("buy", "#b")], healed).await.unwrap();
    let record = look(&repository, "buy").await.0.unwrap();
    let versions = repository.versions(&record).await.unwrap();
    let told: Vec<_> = versions
        .iter()
        .map(|one| (one.version, one.made_by.as_str(), one.strategy.as_deref(), one.locators[0].value.as_str()))
        .collect();
    assert_eq!(told, [(2, "healed", Some("text_match"), "#b"), (1, "generated", None, "#a")]);
    assert!(versions[0].made_at_ms > 1_700_000_000_000);
}

#[tokio::test]
async fn a_warm_start_answers_from_l1() {
    let folder = TempDir::new().unwrap();
    {
        let busy = Repository::new(Some(folder.path()));
        busy.keep(&[keep("buy", "#a"), keep("sell", "#s"), keep("rare", "#r")], generated()).await.unwrap();
        for _ in 0..64 {
            look(&busy, "http://site.test/book#sell").await;
        }
    }
    let fresh = Repository::new(Some(folder.path()));
    assert_eq!(fresh.warm(true, 1).await.unwrap(), 1);
    assert_eq!(look(&fresh, "http://site.test/book#sell").await.1, "l1+");
    assert_eq!(look(&fresh, "http://site.test/book#rare").await.1, "l1- l2+");
    assert_eq!(fresh.warm(false, 100).await.unwrap(), 3);
}

#[tokio::test]
async fn weights_can_be_replaced_and_not_by_nonsense() {
    let folder = TempDir::new().unwrap();
    let (one, other) = (Repository::new(Some(folder.path())), Repository::new(Some(folder.path())));
    assert_eq!(one.weights().await.unwrap(), Weights::default());
    let weights = Weights { strategies: [1.0, 0.0, 0.0, 0.0, 0.0], ..Weights::default() };
    one.set_weights(&weights).await.unwrap();
    assert_eq!(other.weights().await.unwrap(), weights);
    assert!(one.set_weights(&Weights { strategies: [0.0; 5], ..weights }).await.is_err());
    one.file.set_setting(WEIGHTS, "{\"strategies\": 1}").await.unwrap();
    assert!(other.weights().await.unwrap_err().message.contains("healing_weights"));
}

#[test]
fn ids_are_read_as_they_are_written() {
    for name in ["buy", "Büro öffnen", "a+b c%20d", "x#y"] {
        let id = ElementId::on(&Url::parse("http://site.test:81/a/b?q=1").unwrap(), name);
        let written = ElementId::written(&id.to_string()).unwrap();
        assert_eq!((written.site.as_str(), written.page.as_str()), ("http://site.test:81", "/a/b"));
        assert!(name.contains('%') || written.name == name, "{name}: {}", written.name);
    }
    assert_eq!(ElementId::on(&Url::parse("file:///a/b.html").unwrap(), "n").to_string(), "file:///a/b.html#n");
    assert!(ElementId::written("buy").is_none() && ElementId::written("http://site.test/").is_none());
}

#[test]
fn names_tell_what_an_element_is() {
    let mut names = Names::default();
    let print = |tag: &str, role: &str, text: &str| Fingerprint {
        tag: tag.to_owned(),
        role: role.to_owned(),
        text: text.to_owned(),
        ..Fingerprint::default()
    };
    assert_eq!(names.give(&print("button", "button", "Book now!")), "book-now-button");
    assert_eq!(names.give(&print("button", "button", "Book now")), "book-now-button-2");
    assert_eq!(names.give(&print("a", "link", "")), "link");
    assert!(names.take("x").is_ok() && names.take("x").is_err());
    assert_eq!(json!(MadeBy::Healed), json!(MadeBy::Healed.name()));
}
