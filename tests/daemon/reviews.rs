//! Reviews as an operator decides on them: once, with a trace, and with what follows.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Footing, Site, ganger};
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::wait::until;

on_both_footings! {
    an_approval_applies_the_proposal_and_starts_what_waits_for_it
    an_edited_proposal_reaches_the_result_and_the_follow_ups
    a_rejection_fails_the_job_and_starts_nothing
    reviews_without_a_proposal_need_a_result_to_be_approved
    a_review_survives_a_kill_and_so_does_its_decision
    of_many_operators_exactly_one_decides
    a_retry_or_a_delete_ends_a_review_too
    reviews_are_listed_filtered_and_counted
    what_cannot_be_decided_is_told_why
    a_follow_up_that_is_no_job_fails_the_run
    a_replay_is_a_linked_job_and_leaves_the_review_open
    the_command_line_shows_what_an_operator_needs
}

/// A reply that asks a person, with everything that can be asked.
fn wish() -> Value {
    json!({"healed": false, "ganger": {"review": {
        "reason": "confidence 0.62 is below 0.7",
        "proposal": {"selector": "#pay"},
        "evidence": {
            "confidence": 0.62,
            "candidates": [{"selector": "#pay", "score": 0.62, "strategy": "text_match"}, {"selector": "a.next", "score": 0.2}],
            "excerpt": "<form>\n  <button id=pay>Pay</button>\n</form>"},
        "on_approve": [
            {"type": "echo", "payload": {"proposal": {"selector": "#pay"}, "page": "/seats"}, "id": "follow-up"},
            {"type": "echo", "payload": {"warm": "/seats"}, "idempotency_key": "warm"}]}}})
}

/// A job that waits for a person.
async fn reviewed(daemon: &Daemon, reply: &Value) -> String {
    let id = daemon.submit(json!({"type": "echo", "payload": reply})).await;
    assert_eq!(daemon.at_rest(&id).await["state"], "in_review");
    id
}

async fn ids_of(daemon: &Daemon, query: &str) -> Vec<String> {
    let page = daemon.get(&format!("/v1/reviews{query}")).await;
    page["reviews"].as_array().unwrap().iter().map(|review| review["id"].as_str().unwrap().to_owned()).collect()
}

async fn an_approval_applies_the_proposal_and_starts_what_waits_for_it(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let id = reviewed(&daemon, &wish()).await;
    let review = daemon.get(&format!("/v1/reviews/{id}")).await;
    let asked = wish()["ganger"]["review"].clone();
    for member in ["proposal", "evidence", "on_approve"] {
        assert_eq!(review[member], asked[member], "{review}");
    }
    assert_eq!((&review["reason"], &review["decision"]), (&json!("requested"), &Value::Null));
    assert_eq!(review["error"]["message"], asked["reason"]);
    assert_eq!(review["job"]["result"], json!({"healed": false}));
    assert_eq!(
        daemon.call("GET", "/v1/jobs/follow-up", None).await.0,
        404,
        "nothing follows before a person has decided"
    );

    let (status, job) =
        daemon.post(&format!("/v1/reviews/{id}/approve"), json!({"by": "ada", "note": "looks right"})).await;
    assert_eq!((status, &job["state"], &job["error"]), (200, &json!("succeeded"), &Value::Null), "{job}");
    assert_eq!(job["result"], json!({"healed": false, "proposal": {"selector": "#pay"}}));
    let follow_up = daemon.at_rest("follow-up").await;
    assert_eq!((&follow_up["state"], &follow_up["parent"]), (&json!("succeeded"), &json!(id)));
    assert_eq!(follow_up["result"], json!({"proposal": {"selector": "#pay"}, "page": "/seats"}));

    // The trace stands with the job and with the review.
    let job = daemon.job(&id).await;
    let line = &job["reviews"][0];
    assert_eq!((&line["reason"], &line["decision"]["verdict"]), (&json!("requested"), &json!("approved")), "{job}");
    assert_eq!((&line["decision"]["by"], &line["decision"]["note"]), (&json!("ada"), &json!("looks right")));
    assert!(chrono::DateTime::parse_from_rfc3339(line["decision"]["at"].as_str().unwrap()).is_ok());
    assert_eq!(job["history"][0]["outcome"], "in_review");
    let decided = daemon.get("/v1/reviews?decided=approved").await;
    assert_eq!(decided["reviews"][0]["evidence"]["candidates"], asked["evidence"]["candidates"]);
    assert!(ids_of(&daemon, "").await.is_empty());
}

async fn an_edited_proposal_reaches_the_result_and_the_follow_ups(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let id = reviewed(&daemon, &wish()).await;
    let edit = json!({"proposal": {"selector": "button.pay", "by_hand": 1.50}, "by": "ada"});
    let (status, job) = daemon.post(&format!("/v1/reviews/{id}/approve"), edit.clone()).await;
    assert_eq!((status, &job["result"]["proposal"]), (200, &edit["proposal"]), "{job}");
    assert_eq!(daemon.at_rest("follow-up").await["result"], json!({"proposal": edit["proposal"], "page": "/seats"}));
    let review = daemon.get(&format!("/v1/reviews/{id}")).await;
    assert_eq!(review["proposal"], json!({"selector": "#pay"}), "what was proposed is kept");
    assert_eq!(
        (&review["decision"]["verdict"], &review["decision"]["proposal"]),
        (&json!("edited"), &edit["proposal"])
    );

    // Another result stands as it was said.
    let mut reply = wish();
    reply["ganger"]["review"]["on_approve"] = json!([]);
    let id = reviewed(&daemon, &reply).await;
    let (status, job) = daemon.post(&format!("/v1/reviews/{id}/approve"), json!({"result": [1]})).await;
    assert_eq!((status, &job["result"]), (200, &json!([1])));
    assert_eq!(job["reviews"][0]["decision"]["verdict"], "edited");
}

async fn a_rejection_fails_the_job_and_starts_nothing(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let id = reviewed(&daemon, &wish()).await;
    let (status, job) =
        daemon.post(&format!("/v1/reviews/{id}/reject"), json!({"by": "ada", "note": "wrong button"})).await;
    assert_eq!((status, &job["state"]), (200, &json!("failed")), "{job}");
    assert_eq!(job["error"], json!({"class": "rejected", "message": "rejected by ada: wrong button"}));
    assert_eq!(job["result"], json!({"healed": false}));
    assert_eq!(job["reviews"][0]["error"]["class"], "review");
    // Whatever is submitted next would run after what a rejection had started.
    let next = daemon.submit(json!({"type": "noop"})).await;
    daemon.at_rest(&next).await;
    assert_eq!(daemon.call("GET", "/v1/jobs/follow-up", None).await.0, 404);
}

async fn reviews_without_a_proposal_need_a_result_to_be_approved(footing: Footing) {
    let site = Site::new(footing).await;
    let escalating = "[job_types.healing]\nqueue = \"work\"\n[job_types.healing.handler]\nkind = \"builtin\"\nname = \"fail\"\n[job_types.healing.retry]\nmax_retries = 0\nescalate_on_failure = \"manual_review_queue\"\n";
    let daemon = site.start(escalating).await;
    let failed = daemon.submit(json!({"type": "healing", "payload": {"class": "http_5xx"}})).await;
    let poison = daemon.submit(json!({"type": "shell", "payload": "kill -9 $$"})).await;
    for (id, reason, class) in [(&failed, "failed", "http_5xx"), (&poison, "poison", "poison")] {
        assert_eq!(daemon.at_rest(id).await["state"], "in_review");
        let review = daemon.get(&format!("/v1/reviews/{id}")).await;
        assert_eq!((&review["reason"], &review["error"]["class"]), (&json!(reason), &json!(class)), "{review}");
        let (status, problem) = daemon.post(&format!("/v1/reviews/{id}/approve"), json!({})).await;
        assert_eq!((status, &problem["code"], &problem["field"]), (422, &json!("bad_field"), &json!("result")));
        let (status, problem) = daemon.post(&format!("/v1/reviews/{id}/approve"), json!({"proposal": 1})).await;
        assert_eq!((status, &problem["field"]), (422, &json!("proposal")), "{problem}");
    }
    let (status, job) = daemon.post(&format!("/v1/reviews/{failed}/approve"), json!({"result": {"by": "hand"}})).await;
    assert_eq!((status, &job["state"], &job["result"]), (200, &json!("succeeded"), &json!({"by": "hand"})));
    assert_eq!(job["reviews"][0]["decision"]["verdict"], "approved", "there was nothing to edit");
    let (status, job) = daemon.post(&format!("/v1/reviews/{poison}/approve"), json!({"result": null})).await;
    assert_eq!((status, &job["result"]), (200, &Value::Null));
}

async fn a_review_survives_a_kill_and_so_does_its_decision(footing: Footing) {
    let site = Site::new(footing).await;
    let mut daemon = site.start("").await;
    let id = reviewed(&daemon, &wish()).await;
    daemon.kill();
    let mut daemon = site.start("").await;
    let review = daemon.get(&format!("/v1/reviews/{id}")).await;
    assert_eq!(review["evidence"], wish()["ganger"]["review"]["evidence"]);
    // Nothing may run: the decision and its follow-ups have to come through the kill by themselves.
    daemon.post("/v1/queues/work/pause", json!({})).await;
    let (status, _) = daemon.post(&format!("/v1/reviews/{id}/approve"), json!({"by": "ada"})).await;
    assert_eq!(status, 200);
    daemon.kill();
    let daemon = site.start("").await;
    assert_eq!(daemon.job(&id).await["reviews"][0]["decision"]["by"], "ada");
    let (status, problem) = daemon.post(&format!("/v1/reviews/{id}/reject"), json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("already_decided")));
    daemon.post("/v1/queues/work/resume", json!({})).await;
    assert_eq!(daemon.at_rest("follow-up").await["state"], "succeeded");
}

async fn of_many_operators_exactly_one_decides(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let mut reply = wish();
    reply["ganger"]["review"]["on_approve"] = json!([{"type": "noop", "labels": {"follows": "approval"}}]);
    for round in 0..5 {
        let id = reviewed(&daemon, &reply).await;
        let answers = join_all((0..8).map(|n| decide(&daemon, &id, n))).await;
        let won: Vec<&Value> = answers.iter().filter(|(status, _)| *status == 200).map(|(_, job)| job).collect();
        assert_eq!(won.len(), 1, "round {round}: {answers:?}");
        let told = &won[0]["reviews"][0]["decision"];
        for (status, problem) in answers.iter().filter(|(status, _)| *status != 200) {
            assert_eq!((*status, &problem["code"]), (409, &json!("already_decided")), "{problem}");
            assert_eq!((&problem["by"], &problem["decision"]), (&told["by"], &told["verdict"]));
        }
    }
    let approved = daemon.get("/v1/reviews?decided=approved").await["reviews"].as_array().unwrap().len();
    let follow_ups = daemon.get("/v1/jobs?label.follows=approval").await["jobs"].as_array().unwrap().len();
    assert_eq!(follow_ups, approved);
}

async fn decide(daemon: &Daemon, id: &str, n: usize) -> (u16, Value) {
    let action = ["approve", "reject"][n % 2];
    daemon.post(&format!("/v1/reviews/{id}/{action}"), json!({"by": format!("operator {n}")})).await
}

async fn a_retry_or_a_delete_ends_a_review_too(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let mut reply = wish();
    reply["ganger"]["review"]["on_approve"] = json!([]);
    let id = reviewed(&daemon, &reply).await;
    daemon.post("/v1/queues/work/pause", json!({})).await;
    assert_eq!(daemon.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.0, 200);
    let (status, problem) = daemon.post(&format!("/v1/reviews/{id}/approve"), json!({})).await;
    assert_eq!((status, &problem["decision"]), (409, &json!("retried")), "{problem}");
    assert!(problem["by"].as_str().unwrap().starts_with("anonymous@"), "{problem}");
    daemon.post("/v1/queues/work/resume", json!({})).await;
    until("the second life has come to review", || async {
        let reviews = daemon.job(&id).await["reviews"].as_array().unwrap().len();
        (reviews == 2).then_some(())
    })
    .await;
    assert_eq!(ids_of(&daemon, "").await, [id.as_str()]);
    assert_eq!(daemon.call("DELETE", &format!("/v1/jobs/{id}"), None).await.0, 200);
    assert_eq!(daemon.post(&format!("/v1/reviews/{id}/approve"), json!({})).await.0, 404);
    assert!(ids_of(&daemon, "?decided=any").await.is_empty(), "what was decided goes with the job");
}

async fn reviews_are_listed_filtered_and_counted(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let plain = json!({"ganger": {"review": {"reason": "odd"}}});
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(reviewed(&daemon, &plain).await);
    }
    let poison = daemon.submit(json!({"type": "shell", "payload": "kill -9 $$"})).await;
    daemon.at_rest(&poison).await;
    assert_eq!(ids_of(&daemon, "?order=oldest&type=echo").await, ids);
    assert_eq!(ids_of(&daemon, "?reason=poison").await, [poison.as_str()]);
    assert_eq!(ids_of(&daemon, "?limit=1").await, [poison.as_str()], "the newest comes first");
    assert!(ids_of(&daemon, "?queue=side").await.is_empty());
    let first = daemon.get("/v1/reviews?order=oldest&limit=4").await;
    let rest =
        ids_of(&daemon, &format!("?order=oldest&limit=4&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!(rest, [ids[4].clone(), poison.clone()]);
    daemon.post(&format!("/v1/reviews/{}/approve", ids[0]), json!({})).await;
    daemon.post(&format!("/v1/reviews/{}/reject", ids[1]), json!({})).await;
    assert_eq!(ids_of(&daemon, "?decided=any&order=oldest").await, ids[..2]);
    assert_eq!(ids_of(&daemon, "?decided=rejected").await, ids[1..2]);
    until("the metrics show what is open", || async {
        let open = daemon.metric("ganger_reviews_open{reason=\"requested\"}").await;
        let poison = daemon.metric("ganger_reviews_open{reason=\"poison\"}").await;
        let age = daemon.metric("ganger_review_oldest_age_seconds").await;
        (open == 3.0 && poison == 1.0 && age > 0.0).then_some(())
    })
    .await;
    for (decision, count) in [("approved", 1.0), ("rejected", 1.0), ("edited", 0.0)] {
        let series = format!("ganger_review_decisions_total{{decision=\"{decision}\"}}");
        assert_eq!(daemon.metric(&series).await, count, "{decision}");
    }
}

async fn what_cannot_be_decided_is_told_why(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[limits]\nresult_bytes_max = 2000\n[job_types.echo.retry]\nmax_retries = 0\n").await;
    let done = daemon.submit(json!({"type": "noop"})).await;
    daemon.at_rest(&done).await;
    let id = reviewed(&daemon, &wish()).await;
    let large = "x".repeat(3_000);
    for (path, body, status, code) in [
        ("nobody/approve".to_owned(), json!({}), 404, "not_found"),
        ("a%2Fb/reject".to_owned(), json!({}), 404, "not_found"),
        (format!("{done}/approve"), json!({}), 409, "wrong_state"),
        (format!("{done}/reject"), json!({}), 409, "wrong_state"),
        (format!("{done}/replay"), json!({}), 404, "not_found"),
        (format!("{id}/approve"), json!({"edit": 1}), 422, "bad_field"),
        (format!("{id}/approve"), json!([]), 422, "bad_field"),
        (format!("{id}/approve"), json!({"result": large}), 413, "payload_too_large"),
        (format!("{id}/approve"), json!({"proposal": large}), 413, "payload_too_large"),
        (format!("{id}/approve"), json!({"by": "a".repeat(501)}), 422, "bad_field"),
        (format!("{id}/reject"), json!({"note": "a".repeat(501)}), 422, "bad_field"),
        (format!("{id}/reject"), json!({"proposal": 1}), 422, "bad_field"),
    ] {
        let (answered, problem) = daemon.post(&format!("/v1/reviews/{path}"), body.clone()).await;
        let malformed = answered == 400 && body.is_array();
        assert!(malformed || (answered, &problem["code"]) == (status, &json!(code)), "{path} {body}: {problem}");
    }
    assert_eq!(daemon.call("GET", &format!("/v1/reviews/{done}"), None).await.0, 404);
    assert_eq!(daemon.call("GET", "/v1/reviews?colour=red", None).await.0, 422);
    assert_eq!(daemon.job(&id).await["state"], "in_review", "nothing refused has done anything");
    // Result and review share one bound.
    let mut reply = wish();
    reply["ganger"]["review"]["evidence"] = json!("e".repeat(1_900));
    let id = daemon.submit(json!({"type": "echo", "payload": reply})).await;
    let job = daemon.at_rest(&id).await;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("failed"), &json!("output_too_large")), "{job}");
}

async fn a_follow_up_that_is_no_job_fails_the_run(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("[job_types.echo.retry]\nmax_retries = 0\n").await;
    let mut reply = wish();
    reply["ganger"]["review"]["on_approve"][1] = json!({"type": "nobody"});
    let id = daemon.submit(json!({"type": "echo", "payload": reply})).await;
    let job = daemon.at_rest(&id).await;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("failed"), &json!("bad_enqueue")), "{job}");
    assert!(job["error"]["message"].as_str().unwrap().contains("review.on_approve[1]"), "{job}");
    assert!(ids_of(&daemon, "").await.is_empty());
    // An error in the same envelope beats the wish.
    let mut reply = wish();
    reply["ganger"]["error"] = json!({"class": "own", "message": "no"});
    let id = daemon.submit(json!({"type": "echo", "payload": reply})).await;
    assert_eq!(daemon.at_rest(&id).await["error"]["class"], "own");
}

async fn a_replay_is_a_linked_job_and_leaves_the_review_open(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let id = reviewed(&daemon, &wish()).await;
    let (status, job) = daemon.post(&format!("/v1/reviews/{id}/replay"), json!({"payload": {"fixed": true}})).await;
    assert_eq!((status, &job["parent"]), (200, &json!(id)), "{job}");
    assert_eq!(daemon.at_rest(job["id"].as_str().unwrap()).await["result"], json!({"fixed": true}));
    assert_eq!(ids_of(&daemon, "").await, [id]);
}

async fn the_command_line_shows_what_an_operator_needs(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let (first, second) = (reviewed(&daemon, &wish()).await, reviewed(&daemon, &wish()).await);
    let reviews = |arguments: &[&str]| {
        let output = ganger(&[&["reviews", "--server", &daemon.url], arguments].concat());
        assert_eq!(output.status, Some(0), "{arguments:?}: {output:?}");
        output.stdout
    };
    let list = reviews(&["list"]);
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "AGE", "TYPE", "REASON", "CONFIDENCE", "WHY"]);
    assert_eq!((rows[1][0], rows[1][2], rows[1][3], rows[1][4]), (first.as_str(), "echo", "requested", "0.62"));
    assert_eq!(rows.len(), 3, "the oldest comes first: {list}");
    let shown = reviews(&["show", &first]);
    assert!(shown.contains("SELECTOR") && shown.contains("      <button id=pay>"), "{shown}");
    assert!(shown.contains("if approved 2 x echo"), "{shown}");
    assert_eq!(
        reviews(&["edit", &first, "--proposal", "{\"selector\":\"b\"}", "--by", "ada"]).trim(),
        format!("{first} succeeded")
    );
    assert_eq!(reviews(&["reject", &second, "--note", "no"]).trim(), format!("{second} failed"));
    let decided = reviews(&["list", "--decided", "any"]);
    assert!(decided.contains("edited") && decided.contains("rejected"), "{decided}");
    let again = ganger(&["reviews", "--server", &daemon.url, "approve", &first]);
    assert_eq!(again.status, Some(1));
    assert!(again.stderr.contains("was edited by ada"), "{}", again.stderr);
    assert!(reviews(&["list", "--all", "-o", "json"]).trim().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_need_the_role_operate_and_bear_the_tokens_name() {
    let site = Site::new(Footing::Embedded).await;
    let tokens = "[auth.tokens.grafana]\nroles = [\"read\"]\ntoken = \"read-0123456789abcdef\"\n[auth.tokens.oncall]\nroles = [\"operate\"]\ntoken = \"operate-0123456789abcdef\"\n";
    let daemon = site.start(tokens).await;
    let call = async |token: &str, method: &str, path: String, body: Option<Value>| {
        let request =
            daemon.client.request(method.parse().unwrap(), format!("{}{path}", daemon.url)).bearer_auth(token);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (reader, operator) = ("read-0123456789abcdef", "operate-0123456789abcdef");
    let submit = json!({"type": "echo", "payload": wish()});
    let (_, job) = call(operator, "POST", "/v1/jobs".to_owned(), Some(submit)).await;
    let id = job["id"].as_str().unwrap().to_owned();
    call(operator, "GET", format!("/v1/jobs/{id}?wait=30s"), None).await;
    assert_eq!(call(reader, "GET", "/v1/reviews".to_owned(), None).await.0, 200);
    assert_eq!(call(reader, "GET", format!("/v1/reviews/{id}"), None).await.0, 200);
    assert_eq!(call(reader, "POST", format!("/v1/reviews/{id}/approve"), Some(json!({}))).await.0, 403);
    let (status, job) = call(operator, "POST", format!("/v1/reviews/{id}/reject"), None).await;
    assert_eq!((status, &job["reviews"][0]["decision"]["by"]), (200, &json!("oncall")), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_need_the_ledger_alone() {
    let (mut redis, postgres) = (Redis::start().await, Postgres::start().await);
    let database = postgres.database().await;
    let site = Site::on(&redis.url(), &database.url);
    let daemon = site.start("").await;
    let (first, second) = (reviewed(&daemon, &wish()).await, reviewed(&daemon, &wish()).await);
    redis.kill();
    let (status, job) = daemon.post(&format!("/v1/reviews/{first}/approve"), json!({"by": "ada"})).await;
    assert_eq!((status, &job["state"]), (200, &json!("succeeded")), "{job}");
    assert_eq!(daemon.job("follow-up").await["state"], "ready", "accepted, and waits for Redis");
    redis.restart_empty().await;
    assert_eq!(daemon.at_rest("follow-up").await["state"], "succeeded");
    postgres.stop().await;
    let (status, problem) = daemon.post(&format!("/v1/reviews/{second}/reject"), json!({})).await;
    assert_eq!((status, &problem["code"]), (503, &json!("ledger_unavailable")), "{problem}");
    postgres.restart().await;
    let reject = async || {
        let (status, answer) = daemon.post(&format!("/v1/reviews/{second}/reject"), json!({"by": "bob"})).await;
        (status != 503).then_some((status, answer))
    };
    let (status, job) = until("the ledger is back", reject).await;
    assert_eq!((status, &job["state"]), (200, &json!("failed")), "{job}");
}
