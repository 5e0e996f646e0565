//! What callers get wrong: a clear answer, and nothing half done.

use serde_json::{Value, json};

use crate::support::daemon::{Footing, Site};

on_both_footings! {
    each_mistake_has_its_status_its_code_and_the_name_of_the_place
    a_bad_line_does_not_spoil_its_neighbours
    odd_payloads_among_five_hundred_good_ones_come_back_as_they_were
    a_payload_of_ten_megabytes_is_refused_with_its_size
}

async fn each_mistake_has_its_status_its_code_and_the_name_of_the_place(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let cases = [
        (json!({"type": "nobody"}), 422, "unknown_type", "echo"),
        (json!({"type": "noop", "delay_ms": -1}), 422, "bad_field", "delay_ms"),
        (json!({"type": "noop", "delay_ms": 1, "run_at": "2030-01-01T00:00:00Z"}), 422, "bad_field", "run_at"),
        (json!({"type": "noop", "run_at": "tomorrow"}), 422, "bad_field", "run_at"),
        (json!({"type": "noop", "id": "a\u{7}b"}), 422, "bad_field", "id"),
        (json!({"type": "noop", "id": "batch"}), 422, "bad_field", "id"),
        (json!({"type": "noop", "priority": 9}), 422, "bad_field", "priority"),
        (json!({"type": "noop", "priority": "urgent"}), 422, "bad_field", "priority"),
        (json!({"type": "noop", "queue": "side"}), 422, "bad_field", "queue"),
        (json!({"type": "noop", "timeout_ms": 0}), 422, "bad_field", "timeout_ms"),
        (json!({"type": "noop", "idempotency_key": "ü"}), 422, "bad_field", "idempotency_key"),
        (json!({"type": "noop", "labels": {"a b": "c"}}), 422, "bad_field", "labels"),
        (json!({"type": "noop", "colour": "red"}), 422, "bad_field", "colour"),
        (json!({"payload": 1}), 422, "bad_field", "type"),
    ];
    for (submit, status, code, place) in cases {
        let (answered, problem) = daemon.post("/v1/jobs", submit.clone()).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{submit}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(place), "{submit}: {problem}");
    }
    let url = format!("{}/v1/jobs", daemon.url);
    let raw =
        |text: &'static str| daemon.client.post(&url).header("content-type", "application/json").body(text).send();
    for text in ["{\"type\": \"noop\",}", "", "[]", "\"x\"", "{\"type\": \"echo\", \"payload\": \"\\ud800\"}"] {
        let response = raw(text).await.unwrap();
        assert!([400, 422].contains(&response.status().as_u16()), "{text}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{text}");
    }
    let malformed: Value = raw("{\"type\": \n\"noop\",}").await.unwrap().json().await.unwrap();
    assert_eq!(malformed["code"], "malformed");
    assert!(malformed["detail"].as_str().unwrap().contains("line 2"), "{malformed}");
    assert_eq!(daemon.get("/v1/jobs").await["jobs"], json!([]), "nothing refused is recorded");
    for (method, path, status) in
        [("GET", "/v1/nothing", 404), ("PUT", "/v1/jobs", 405), ("GET", "/v1/jobs?limit=0", 422)]
    {
        let (answered, problem) = daemon.call(method, path, None).await;
        assert_eq!(answered, status, "{problem}");
        assert!(problem["code"].is_string(), "{problem}");
    }
}

async fn a_bad_line_does_not_spoil_its_neighbours(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let lines = "{\"type\":\"echo\",\"payload\":1}\n{\"type\":\"echo\",\n\n{\"type\":\"nobody\"}\n{\"type\":\"echo\",\"payload\":2}\n";
    let request = daemon.client.post(format!("{}/v1/jobs/batch", daemon.url));
    let response = request.header("content-type", "application/x-ndjson").body(lines).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let items: Value = response.json().await.unwrap();
    let statuses: Vec<i64> = items.as_array().unwrap().iter().map(|item| item["status"].as_i64().unwrap()).collect();
    assert_eq!(statuses, [201, 400, 422, 201]);
    assert_eq!(items[1]["problem"]["line"], 2, "{items}");
    for (at, result) in [(0, 1), (3, 2)] {
        assert_eq!(daemon.at_rest(items[at]["id"].as_str().unwrap()).await["result"], result);
    }
}

async fn odd_payloads_among_five_hundred_good_ones_come_back_as_they_were(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let mut lines: Vec<String> = (0..500).map(|n| format!("{{\"type\":\"echo\",\"payload\":{{\"n\":{n}}}}}")).collect();
    lines[100] = "{\"type\":\"echo\",\"payload\":\"nul \\u0000 inside\"}".into();
    lines[200] = "{\"type\":\"echo\",\"payload\":\"half \\ud83d of a pair\"}".into();
    lines[300] = "{\"type\":\"echo\",\"payload\":\"\\ud83d\\ude00 and 1e400 and \\u001f\"}".into();
    lines[400] = format!("{{\"type\":\"echo\",\"payload\":\"raw {} byte\"}}", '\u{0}');
    let request = daemon.client.post(format!("{}/v1/jobs/batch", daemon.url));
    let response = request.header("content-type", "application/x-ndjson").body(lines.join("\n")).send().await.unwrap();
    let items: Value = response.json().await.unwrap();
    let items = items.as_array().unwrap();
    assert_eq!(items.len(), 500);
    for (at, item) in items.iter().enumerate() {
        let refused = [200, 400].contains(&at);
        assert_eq!(item["status"].as_i64().unwrap() == 201, !refused, "item {at}: {item}");
        if refused {
            assert!(item["problem"]["detail"].as_str().unwrap().len() > 10, "{item}");
        }
    }
    assert_eq!(daemon.at_rest(items[100]["id"].as_str().unwrap()).await["result"], "nul \u{0} inside");
    assert_eq!(daemon.at_rest(items[300]["id"].as_str().unwrap()).await["result"], "\u{1f600} and 1e400 and \u{1f}");
    assert_eq!(daemon.at_rest(items[499]["id"].as_str().unwrap()).await["result"], json!({"n": 499}));
}

async fn a_payload_of_ten_megabytes_is_refused_with_its_size(footing: Footing) {
    let site = Site::new(footing).await;
    let daemon = site.start("").await;
    let (status, problem) = daemon.post("/v1/jobs", json!({"type": "echo", "payload": "x".repeat(10 << 20)})).await;
    assert_eq!((status, &problem["code"]), (413, &json!("payload_too_large")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("1114112"), "{problem}");
    let (status, answer) = daemon
        .post("/v1/jobs/batch", json!([{"type": "echo", "payload": "x".repeat(2 << 20)}, {"type": "noop"}]))
        .await;
    assert_eq!(status, 200);
    assert_eq!((&answer[0]["status"], &answer[1]["status"]), (&json!(413), &json!(201)), "{answer}");
}
