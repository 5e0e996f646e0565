//! What MCP servers of others answer, as children and behind a URL.

use serde_json::{Value, json};

use crate::config::{behind, calls, child, steps};
use crate::servers::{Listening, Tap, everything, noted, tapped};
use crate::support::daemon::{Daemon, Footing, Site};
use crate::support::wait::until;
use crate::{failure, result, tools};

fn methods(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|message| message["method"].as_str()).collect()
}

/// Each server is spoken to in the newest protocol that it knows, and hears the facts of the job.
#[tokio::test(flavor = "multi_thread")]
async fn both_generations_of_the_protocol_are_found_on_both_transports() {
    let site = Site::new(Footing::Embedded).await;
    let notes = |name: &str| site.folder().join(name).to_str().unwrap().to_owned();
    let (new_notes, old_notes) = (notes("new"), notes("old"));
    let (time, all) = (Listening::time().await, Listening::everything().await);
    let (new_tap, old_tap) = (Tap::before(time.port).await, Tap::before(all.port).await);
    let extra = [
        child("new_child", &tapped(&new_notes, &[&tools::python("mcp-server-time")])),
        child("old_child", &tapped(&old_notes, &[&everything()])),
        behind("new_url", &new_tap.url),
        behind("old_url", &old_tap.url),
        calls("new_child", "new_child", "convert_time", ""),
        calls("old_child", "old_child", "get-sum", ""),
        calls("new_url", "new_url", "convert_time", ""),
        calls("old_url", "old_url", "get-sum", ""),
    ]
    .concat();
    let daemon = site.start(&extra).await;
    let noon = json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    let heard = |kind: &str| match kind {
        "new_child" => noted(new_notes.as_ref()),
        "old_child" => noted(old_notes.as_ref()),
        "new_url" => new_tap.messages(),
        _ => old_tap.messages(),
    };
    for kind in ["new_child", "new_url", "old_child", "old_url"] {
        let is_new = kind.starts_with("new");
        let payload = if is_new { noon.clone() } else { json!({"a": 19, "b": 23}) };
        let labels = json!({"environment": "staging"});
        let id = daemon.submit(json!({"type": kind, "payload": payload, "labels": labels, "priority": 2})).await;
        let job = daemon.at_rest(&id).await;
        assert_eq!(job["state"], "succeeded", "{kind}: {job}");
        if is_new {
            assert_eq!(job["result"]["time_difference"], "+9.0h", "{kind}: {job}");
        } else {
            assert_eq!(job["result"], "The sum of 19 and 23 is 42.", "{kind}: {job}");
        }
        let messages = heard(kind);
        assert_eq!(methods(&messages)[0], "server/discover", "{kind}");
        assert_eq!(methods(&messages).contains(&"initialize"), !is_new, "{kind}: {:?}", methods(&messages));
        let call = messages.iter().find(|message| message["method"] == "tools/call").expect("the call");
        let meta = &call["params"]["_meta"];
        let facts = &meta["ganger"];
        assert_eq!(
            (&facts["id"], &facts["type"], &facts["attempt"], &facts["priority"], &facts["labels"]),
            (&json!(id), &json!(kind), &json!(1), &json!(2), &labels),
            "{kind}: {call}"
        );
        assert_eq!(facts["fence"], job["fence"], "{kind}");
        assert!(meta["traceparent"].is_string() && !meta["progressToken"].is_null(), "{kind}: {call}");
        let version = &meta["io.modelcontextprotocol/protocolVersion"];
        assert_eq!(version.as_str(), is_new.then_some("2026-07-28"), "{kind}: {call}");
    }
    let (new, old) = (new_tap.text().to_lowercase(), old_tap.text().to_lowercase());
    assert!(new.contains("mcp-protocol-version: 2026-07-28") && !new.contains("mcp-session-id"), "{new}");
    assert!(old.contains("mcp-protocol-version: 2025-11-25") && old.contains("mcp-session-id: "), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_every_kind_arrive() {
    let site = Site::new(Footing::Embedded).await;
    let listening = Listening::everything().await;
    let mut extra = child("child", &[&everything()]) + &behind("url", &listening.url());
    for server in ["child", "url"] {
        extra += &calls(&format!("weather_{server}"), server, "get-structured-content", "");
        extra += &calls(&format!("image_{server}"), server, "get-tiny-image", "");
        extra += &calls(&format!("echo_{server}"), server, "echo", "");
        extra += &steps(&format!("steps_{server}"), server);
    }
    let daemon = site.start(&extra).await;
    for server in ["child", "url"] {
        let kind = |name: &str| format!("{name}_{server}");
        let weather = result(&daemon, &kind("weather"), json!({"location": "Chicago"})).await;
        assert_eq!(weather, json!({"temperature": 36, "conditions": "Light rain / drizzle", "humidity": 82}));
        let image = result(&daemon, &kind("image"), json!({})).await;
        assert_eq!(image[1]["mimeType"], "image/png", "{image}");
        assert!(image[1]["data"].as_str().unwrap().starts_with("iVBORw0KGgo"), "{image}");
        let words = "ünïcode ☃ and \"quotes\"\nand lines";
        assert_eq!(result(&daemon, &kind("echo"), json!({"message": words})).await, json!(format!("Echo: {words}")));
        let two = json!({"steps": [
            {"tool": "get-sum", "arguments": {"a": 1, "b": 2}},
            {"tool": "get-structured-content", "arguments": {"location": "New York"}},
        ]});
        let both = result(&daemon, &kind("steps"), two).await;
        assert_eq!((&both[0], &both[1]["humidity"]), (&json!("The sum of 1 and 2 is 3."), &json!(82)));
        for (tool, outcome) in [("get-sum", "success"), ("get-tiny-image", "success")] {
            let series = format!("mcp_tool_call_duration_seconds_count{{tool=\"{tool}\",outcome=\"{outcome}\"}}");
            assert!(daemon.metric(&series).await > 0.5, "{series}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_their_classes() {
    let site = Site::new(Footing::Embedded).await;
    let extra = [
        child("time", &[&tools::python("mcp-server-time")]),
        child("everything", &[&everything()]),
        calls("now", "time", "get_current_time", ""),
        calls("no_time", "time", "nonsense", ""),
        calls("sum", "everything", "get-sum", ""),
        calls("no_thing", "everything", "nonsense", ""),
        steps("steps", "everything"),
    ]
    .concat();
    let daemon = site.start(&extra).await;
    for (job_type, payload, class, words) in [
        // A tool that says itself that it failed.
        ("now", json!({"timezone": "Mars/Olympus"}), "tool_error", "Mars/Olympus"),
        // A tool that is not there: the protocol's error of one server, a tool's of the other.
        ("no_time", json!({}), "invalid_params", "Unknown tool: nonsense"),
        ("no_thing", json!({}), "tool_error", "Tool nonsense not found"),
        ("steps", json!({"steps": [{"tool": "nonsense"}]}), "tool_error", "steps[0] (nonsense): "),
        // Arguments that are wrong or missing.
        ("sum", json!({"a": "many", "b": 1}), "tool_error", "expected number"),
        ("sum", json!(null), "tool_error", "-32602"),
        // What no tool could be called with is not sent at all.
        ("sum", json!([1, 2]), "bad_payload", "an object"),
    ] {
        let (said, message) = failure(&daemon, job_type, payload.clone()).await;
        assert!(said == class && message.contains(words), "{job_type} {payload}: {said}: {message}");
    }
    // Arguments that the tool does not know are its own business: these servers do not mind.
    let sum = result(&daemon, "sum", json!({"a": 1, "b": 2, "colour": "blue"})).await;
    assert_eq!(sum, json!("The sum of 1 and 2 is 3."));
}

/// Bytes of memory that a process holds.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_and_written_inside_of_the_allowed_folder_only() {
    let site = Site::new(Footing::Embedded).await;
    let (inside, outside) = (site.folder().join("inside"), site.folder().join("outside"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(&outside, "secret").unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    let extra = [
        child("files", &[&tools::npm("mcp-server-filesystem"), inside.to_str().unwrap()]),
        calls("read", "files", "read_text_file", ""),
        calls("write", "files", "write_file", ""),
    ]
    .concat();
    let daemon = site.start(&extra).await;
    let note = inside.join("note");
    result(&daemon, "write", json!({"path": note, "content": "ünïcode ☃\n"})).await;
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "ünïcode ☃\n");
    assert_eq!(result(&daemon, "read", json!({"path": note})).await["content"], "ünïcode ☃\n");
    let up = format!("{}/../outside", inside.display());
    for path in [outside.to_str().unwrap(), inside.join("link").to_str().unwrap(), &up, "/etc/passwd"] {
        let (class, message) = failure(&daemon, "read", json!({"path": path})).await;
        assert!(class == "tool_error" && message.contains("Access denied"), "{path}: {class}: {message}");
        assert!(!message.contains("secret"), "{message}");
    }
    let (class, _) = failure(&daemon, "write", json!({"path": outside, "content": "overwritten"})).await;
    assert_eq!((class.as_str(), std::fs::read_to_string(&outside).unwrap().as_str()), ("tool_error", "secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_texts_and_images_meet_the_bound_and_the_session_goes_on() {
    /// `limits.result_bytes_max` as it is by default.
    const MOST: usize = 1_048_576;
    let site = Site::new(Footing::Embedded).await;
    let extra = [
        child("files", &[&tools::npm("mcp-server-filesystem"), site.folder().to_str().unwrap()]),
        calls("read", "files", "read_text_file", ""),
        calls("look", "files", "read_media_file", ""),
    ]
    .concat();
    let daemon = site.start(&extra).await;
    let file = |name: &str, bytes: usize| {
        let path = site.folder().join(name);
        std::fs::write(&path, "x".repeat(bytes)).unwrap();
        json!({"path": path})
    };
    let small = file("small", MOST - 1_000);
    assert_eq!(result(&daemon, "read", small.clone()).await["content"].as_str().unwrap().len(), MOST - 1_000);
    let server = mcp_child(&daemon).await;
    let before = resident(daemon.pid());
    for (job_type, name, bytes) in
        [("read", "more", MOST + 1), ("read", "flood", 24 << 20), ("look", "large.png", MOST)]
    {
        let (class, message) = failure(&daemon, job_type, file(name, bytes)).await;
        assert!(class == "output_too_large" && message.contains("bytes"), "{name}: {class}: {message}");
    }
    // A few messages of three times the bound, as text and as values; not what was sent.
    let more = resident(daemon.pid()).saturating_sub(before);
    assert!(more < 48 << 20, "{more} bytes more");
    assert_eq!(result(&daemon, "look", file("fits.png", MOST / 2)).await["content"][0]["type"], "image");
    result(&daemon, "read", small).await;
    assert_eq!(mcp_child(&daemon).await, server, "it is the same child");
}

/// The daemon's only child.
async fn mcp_child(daemon: &Daemon) -> i32 {
    until("there is one child", || async {
        let all = crate::servers::below(daemon.pid());
        (all.len() == 1).then(|| all[0].0)
    })
    .await
}
