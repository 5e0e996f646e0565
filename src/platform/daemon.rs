//! The daemon's own API, as any client sees it.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::Settings;
use super::reply::{ToolError, class};

/// A daemon that takes longer is away.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// The longest answer: a page of jobs with their payloads.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// An answer, and when it was given.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) body: String,
    /// The daemon's clock, by its `Date` header.
    pub(super) date: Option<String>,
}

/// A client of the daemon.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    http: reqwest::Client,
    servers: Vec<Url>,
    token: Option<String>,
}

impl Daemon {
    /// The daemon of the settings; several are tried in turn.
    pub(super) fn of(settings: &Settings) -> Result<Self, ToolError> {
        let Some(list) = settings.daemon.as_deref().filter(|list| !list.trim().is_empty()) else {
            return Err(ToolError::bad_arguments(
                "there is no daemon to ask: start platform-tools with GANGER_SERVER or --server",
            ));
        };
        let parse = |text: &str| {
            Url::parse(text.trim())
                .map_err(|error| ToolError::bad_arguments(format!("GANGER_SERVER {text:?}: {error}")))
        };
        let servers = list.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME)
            .timeout(ANSWER_TIME)
            .build()
            .map_err(|error| ToolError::new(class::INTERNAL, format!("no HTTP client: {error}")))?;
        Ok(Self { http, servers, token: settings.token.clone() })
    }

    /// Asks for something and expects JSON.
    pub(super) async fn json(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<(Value, Option<String>), ToolError> {
        let answer = self.get(path, query).await?;
        let value = serde_json::from_str(&answer.body);
        let value = value.map_err(|error| ToolError::new(class::INTERNAL, format!("{path} is no JSON: {error}")))?;
        Ok((value, answer.date))
    }

    /// Asks for something.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, ToolError> {
        let mut last = ToolError::new(class::CONNECTION, "no daemon is named");
        for server in &self.servers {
            match self.ask(server, path, query).await {
                Err(error) if error.class == class::CONNECTION || error.class == class::TIMEOUT => last = error,
                answer => return answer,
            }
        }
        Err(last)
    }

    async fn ask(&self, server: &Url, path: &str, query: &[(&str, String)]) -> Result<Answer, ToolError> {
        let mut url = server.clone();
        url.set_path(&format!("{}{path}", server.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.get(url.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let broken = |error: reqwest::Error| {
            let class = if error.is_timeout() { class::TIMEOUT } else { class::CONNECTION };
            ToolError::new(class, format!("the daemon at {server} did not answer: {error}"))
        };
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body = response.text().await.map_err(broken)?;
        if status.is_success() {
            return Ok(Answer { body, date });
        }
        let class = match status.as_u16() {
            429 => class::RATE_LIMIT,
            502..=504 => class::TEMPORARY_FAILURE,
            500.. => "http_5xx",
            _ => "http_4xx",
        };
        let hint =
            if matches!(status.as_u16(), 401 | 403) { " (GANGER_TOKEN has to be a token that may read)" } else { "" };
        let words: String = body.chars().take(300).collect();
        Err(ToolError::new(class, format!("the daemon refused {}: {status}{hint}: {words}", url.path())))
    }
}
