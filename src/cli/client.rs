//! Talking to a server, or to the next one where several are given.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::failure::{DONE, Failure, Outcome};
use super::output::{self, Format};

/// Where a server is when nobody says.
const SERVER_DEFAULT: &str = "http://127.0.0.1:7521";

/// A server that takes longer to accept a connection is treated as away.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// A usual answer takes no longer; calls that wait say so.
const ANSWER_TIME: Duration = Duration::from_mins(1);

/// The flags of every command that asks a server.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are help texts, which a terminal shows as they are")]
pub(super) struct ClientArgs {
    /// The server, or several separated by commas that are tried in turn [default: http://127.0.0.1:7521].
    #[arg(long, env = "GANGER_SERVER", value_name = "URL", global = true)]
    pub(super) server: Option<String>,
    /// The token to show, where the server asks for one. Better given as GANGER_TOKEN: arguments can be seen by others.
    #[arg(long, env = "GANGER_TOKEN", hide_env_values = true, value_name = "TOKEN", global = true)]
    pub(super) token: Option<String>,
    /// Write a table for people, or the API's JSON for programs.
    #[arg(short, long, value_enum, default_value_t = Format::Table, global = true)]
    pub(super) output: Format,
}

/// A client of the HTTP API; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    servers: Vec<Url>,
    /// The server that answered last.
    preferred: AtomicUsize,
    token: Option<String>,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<(&'static str, Bytes)>,
    patience: Duration,
    repeatable: bool,
    accept: Option<&'static str>,
}

impl Call {
    /// Asks for something.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, true)
    }

    /// Orders something. It is sent a second time only where the first cannot have arrived.
    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path, false)
    }

    /// Sets something.
    pub(super) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path, false)
    }

    /// Deletes something.
    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, false)
    }

    fn new(method: Method, path: impl Into<String>, repeatable: bool) -> Self {
        let path = path.into();
        Self { method, path, query: Vec::new(), body: None, patience: ANSWER_TIME, repeatable, accept: None }
    }

    /// Adds a query parameter.
    pub(super) fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Asks for another kind of answer than JSON.
    pub(super) fn accept(mut self, kind: &'static str) -> Self {
        self.accept = Some(kind);
        self
    }

    /// Adds a JSON body.
    pub(super) fn json(self, body: impl Into<Bytes>) -> Self {
        self.body("application/json", body)
    }

    /// Adds a body.
    pub(super) fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = Some((content_type, body.into()));
        self
    }

    /// Waits longer (or shorter) for the answer.
    pub(super) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// May be sent again after a lost answer: its jobs carry ids or keys.
    pub(super) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    /// The HTTP status.
    pub(super) status: u16,
    /// `Idempotency-Status`.
    pub(super) known: Option<String>,
    /// The body as it came.
    pub(super) body: Bytes,
}

/// The members of a problem that the command line uses.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProblemBody {
    code: String,
    detail: String,
}

impl Reply {
    /// Whether the answer is what was asked for.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// This answer, or the failure it stands for.
    pub(super) fn accepted(self) -> Result<Self, Failure> {
        if self.is_success() { Ok(self) } else { Err(self.failure()) }
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| unexpected(&error))
    }

    /// The body as JSON that borrows from it.
    pub(super) fn json_borrowed<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| unexpected(&error))
    }

    /// Writes the answer: as it came for programs, or as `told` puts it for people.
    pub(super) fn write<T: DeserializeOwned>(&self, json: bool, told: impl FnOnce(T) -> String) -> Outcome {
        output::data(&if json { self.text() } else { told(self.json()?) })?;
        Ok(DONE)
    }

    /// The body as a problem, or a plain one where something else answered.
    pub(super) fn problem(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            serde_json::json!({ "status": self.status, "code": "unknown", "detail": output::printable(self.text().trim()) })
        })
    }

    fn failure(&self) -> Failure {
        let problem: ProblemBody = serde_json::from_slice(&self.body).unwrap_or_default();
        let code = if problem.code.is_empty() { format!("HTTP {}", self.status) } else { problem.code };
        let hint = match self.status {
            401 => " (set GANGER_TOKEN or --token)",
            503 => " (try again later)",
            _ => "",
        };
        let message = format!("the server refused: {} [{code}]{hint}", output::printable(&problem.detail));
        if self.is_for_later() { Failure::try_later(message) } else { Failure::failed(message) }
    }

    /// Whether the same request may be taken later.
    pub(super) fn is_for_later(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
}

impl Client {
    /// A client for the servers of the flags.
    pub(super) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        Self::for_servers(args.server.as_deref().unwrap_or(SERVER_DEFAULT), args.token.clone())
    }

    /// A client for a comma-separated list.
    pub(super) fn for_servers(list: &str, token: Option<String>) -> Result<Self, Failure> {
        let servers = list.split(',').map(|text| server_url(text.trim())).collect::<Result<Vec<_>, _>>()?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME)
            .user_agent(concat!("ganger/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::failed(format!("no HTTP client: {}", chain(&error))))?;
        Ok(Self { inner: Arc::new(Inner { http, servers, preferred: AtomicUsize::new(0), token }) })
    }

    /// Sends a request to the server that answered last, then to the others in turn.
    pub(super) async fn send(&self, call: &Call) -> Result<Reply, Failure> {
        let count = self.inner.servers.len();
        let first = self.inner.preferred.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for turn in 0..count {
            let at = (first + turn) % count;
            let server = &self.inner.servers[at];
            match self.ask(server, call).await {
                Ok(reply) => {
                    self.inner.preferred.store(at, Ordering::Relaxed);
                    return Ok(reply);
                }
                Err(error) => {
                    let words = format!("{server} did not answer: {}", chain(&error));
                    if !call.repeatable && !error.is_connect() {
                        let message =
                            format!("{words}; whether the request took effect is not known: look before you repeat it");
                        return Err(Failure::unreachable(message));
                    }
                    failures.push(words);
                }
            }
        }
        Err(Failure::unreachable(format!("{}. Is `ganger serve` running?", failures.join("; "))))
    }

    /// Sends a request and takes any refusal as a failure.
    pub(super) async fn expect(&self, call: &Call) -> Result<Reply, Failure> {
        self.send(call).await?.accepted()
    }

    async fn ask(&self, server: &Url, call: &Call) -> Result<Reply, reqwest::Error> {
        let mut url = server.clone();
        url.set_path(&format!("{}{}", server.path().trim_end_matches('/'), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.inner.http.request(call.method.clone(), url).timeout(call.patience);
        if let Some(token) = &self.inner.token {
            request = request.bearer_auth(token);
        }
        if let Some(kind) = call.accept {
            request = request.header("accept", kind);
        }
        if let Some((content_type, body)) = &call.body {
            request = request.header("content-type", *content_type).body(body.clone());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let known = response.headers().get("idempotency-status").and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok(Reply { status, known, body: response.bytes().await? })
    }
}

fn unexpected(error: &serde_json::Error) -> Failure {
    Failure::failed(format!("the server's answer is not what this version expects ({error}); is it a Ganger?"))
}

fn server_url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| Failure::usage(format!("--server {text:?} is not a URL such as {SERVER_DEFAULT}")))
}

/// One part of a path; ids and names need few escapes, but a typing error must not change the route.
pub(super) fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// An error with its causes, without the URL: that is said beside it.
fn chain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let mut words = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.pop().unwrap_or_else(|| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &'static str) -> Reply {
        Reply { status, known: None, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn a_refusal_for_load_has_its_own_exit_status() {
        let body = r#"{"code":"broker_full","detail":"no room"}"#;
        let failure = reply(503, body).accepted().unwrap_err();
        assert_eq!(failure.status(), 75);
        assert!(failure.message().unwrap().contains("broker_full"));
        assert_eq!(reply(422, body).accepted().unwrap_err().status(), 1);
        assert_eq!(reply(502, "<html>").accepted().unwrap_err().status(), 1);
    }

    #[test]
    fn a_server_is_a_url() {
        assert_eq!(server_url("localhost:7521").unwrap_err().status(), 2);
        assert_eq!(server_url("ftp://x").unwrap_err().status(), 2);
        assert!(server_url("https://queue.example/ganger").is_ok());
    }

    #[test]
    fn odd_names_stay_one_segment() {
        assert_eq!(segment("a/../b c"), "a%2F..%2Fb%20c");
        assert_eq!(segment("order-7:x_1"), "order-7%3Ax_1");
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_named() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::for_servers("http://127.0.0.1:1", None).unwrap();
        let failure = client.send(&Call::get("/livez")).await.unwrap_err();
        assert_eq!(failure.status(), 69);
        let message = failure.message().unwrap().to_owned();
        assert!(message.contains("http://127.0.0.1:1/") && message.contains("ganger serve"), "{message}");
    }
}
