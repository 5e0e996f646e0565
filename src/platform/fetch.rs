//! Where pages come from: a folder, HTTP, or the call itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Method, StatusCode, redirect};
use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use url::Url;

use super::Settings;
use super::page::{Limits, Page};
use super::reply::{ToolError, class};

/// Redirects that are followed for one page, as browsers do.
const REDIRECTS_MAX: usize = 20;

/// Where a page comes from: its address (`http`, `https`, or a path below the platform's folder), or its HTML.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PageSource {
    /// A URL, or the path of a file below `--root`.
    Address(String),
    /// The page itself.
    Inline {
        /// Its HTML.
        html: String,
        /// The address that its links are relative to.
        url: Option<String>,
    },
}

/// What to ask for.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// The address.
    pub url: Url,
    /// The fields of a form, encoded.
    pub form: Option<String>,
}

impl Request {
    /// A page by its address.
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, form: None }
    }
}

/// What came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The address after all redirects.
    pub url: Url,
    /// The HTTP status; 200 for files.
    pub status: u16,
    /// The HTML.
    pub html: Arc<str>,
}

/// Where cookies are kept between requests.
pub trait CookieStore: Send {
    /// The `Cookie` header for this address, if there are any.
    fn header(&self, url: &Url) -> Option<String>;
    /// Takes one `Set-Cookie` header.
    fn store(&mut self, url: &Url, header: &str);
}

/// No cookies.
#[derive(Debug, Clone, Copy)]
pub struct NoCookies;

impl CookieStore for NoCookies {
    fn header(&self, _url: &Url) -> Option<String> {
        None
    }

    fn store(&mut self, _url: &Url, _header: &str) {}
}

/// Gets pages; cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    http: reqwest::Client,
    root: Option<Arc<Path>>,
    limits: Limits,
    time: Duration,
}

impl Fetcher {
    /// A fetcher for these settings.
    pub fn new(settings: &Settings) -> Result<Self, ToolError> {
        let http = reqwest::Client::builder()
            .connect_timeout(settings.fetch_time)
            // Each redirect is a page of its own that may set cookies.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("ganger-platform-tools/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ToolError::new(class::INTERNAL, format!("no HTTP client: {error}")))?;
        let root = settings.root.as_deref().map(|root| {
            let real = root.canonicalize();
            real.map_err(|error| ToolError::bad_arguments(format!("--root {}: {error}", root.display())))
        });
        let root = root.transpose()?.map(Arc::from);
        Ok(Self { http, root, limits: settings.limits, time: settings.fetch_time })
    }

    /// A page, ready to be looked at. Anything but success is an error.
    pub async fn page(&self, source: &PageSource) -> Result<Page, ToolError> {
        let (url, html): (Url, Arc<str>) = match source {
            PageSource::Inline { html, url } => {
                let url = url.as_deref().map_or_else(|| self.address("about:blank"), |url| self.address(url))?;
                (url, html.as_str().into())
            }
            PageSource::Address(address) => {
                let answer = self.send(Request::get(self.address(address)?), &mut NoCookies).await?;
                if !(200..300).contains(&answer.status) {
                    return Err(refused(&answer.url, answer.status));
                }
                (answer.url, answer.html)
            }
        };
        Page::parse_aside(url, html, self.limits).await
    }

    /// The URL of an address: itself, or that of a file below the folder.
    pub fn address(&self, address: &str) -> Result<Url, ToolError> {
        match Url::parse(address) {
            Ok(url) if matches!(url.scheme(), "http" | "https" | "file" | "about") => Ok(url),
            Ok(url) => Err(ToolError::bad_arguments(format!("{url}: only http, https and files can be read"))),
            Err(_) => {
                let root = self.root.as_deref().ok_or_else(|| no_root(address))?;
                let path = root.join(address.trim_start_matches('/'));
                Url::from_file_path(&path).map_err(|()| ToolError::bad_arguments(format!("{address:?} is no path")))
            }
        }
    }

    /// Sends a request and follows redirects. Answers of 5xx, 408 and 429 are errors: there the site is at
    /// fault or in need, not the page.
    pub async fn send(&self, request: Request, cookies: &mut dyn CookieStore) -> Result<Answer, ToolError> {
        let url = request.url.clone();
        let answer = timeout(self.time, async {
            match url.scheme() {
                "file" if request.form.is_none() => self.file(&url).await,
                "http" | "https" => self.follow(request, cookies).await,
                _ => Err(ToolError::bad_arguments(format!("nothing can be sent to {url}"))),
            }
        });
        answer.await.unwrap_or_else(|_| {
            let message = format!("{url} did not come within {} ms", self.time.as_millis());
            Err(ToolError::of_site(class::NETWORK_TIMEOUT, &url, message))
        })
    }

    async fn follow(&self, mut request: Request, cookies: &mut dyn CookieStore) -> Result<Answer, ToolError> {
        for _ in 0..=REDIRECTS_MAX {
            let url = request.url.clone();
            let mut ask = self.http.request(request.method.clone(), url.clone()).header(ACCEPT, "text/html, */*;q=0.1");
            if let Some(header) = cookies.header(&url) {
                ask = ask.header(COOKIE, header);
            }
            if let Some(form) = &request.form {
                ask = ask.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.clone());
            }
            let response = ask.send().await.map_err(|error| unreachable(&url, &error))?;
            for header in response.headers().get_all(SET_COOKIE) {
                cookies.store(&url, &String::from_utf8_lossy(header.as_bytes()));
            }
            let status = response.status();
            match redirected(&url, status, response.headers()) {
                Some(next) => request = after_redirect(&request, status, next),
                None if is_at_fault(status) => return Err(refused(&url, status.as_u16())),
                None => {
                    let html = self.body(&url, response).await?;
                    return Ok(Answer { url, status: status.as_u16(), html });
                }
            }
        }
        let message = format!("{} was redirected more than {REDIRECTS_MAX} times", request.url);
        Err(ToolError::of_site(class::CONNECTION, &request.url, message))
    }

    async fn body(&self, url: &Url, response: reqwest::Response) -> Result<Arc<str>, ToolError> {
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("").to_lowercase();
        if !kind.is_empty() && !kind.starts_with("text/html") && !kind.starts_with("application/xhtml+xml") {
            return Err(ToolError::new(class::NOT_HTML, format!("{url} is {kind}, not text/html")));
        }
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| unreachable(url, &error))?);
            if bytes.len() > self.limits.bytes {
                return Err(self.too_large(url));
            }
        }
        Ok(decoded(bytes, &kind))
    }

    async fn file(&self, url: &Url) -> Result<Answer, ToolError> {
        let bad = |error: &dyn std::fmt::Display| ToolError::bad_arguments(format!("{url} cannot be read: {error}"));
        let path = url.to_file_path().map_err(|()| bad(&"it is no local path"))?;
        let root = self.root.as_deref().ok_or_else(|| no_root(url.as_str()))?;
        let mut real: PathBuf = tokio::fs::canonicalize(&path).await.map_err(|error| bad(&error))?;
        if !real.starts_with(root) {
            return Err(bad(&format!("it is not below {}", root.display())));
        }
        if real.is_dir() {
            real.push("index.html");
        }
        let file = tokio::fs::File::open(&real).await.map_err(|error| bad(&error))?;
        let mut bytes = Vec::new();
        file.take(self.limits.bytes as u64 + 1).read_to_end(&mut bytes).await.map_err(|error| bad(&error))?;
        if bytes.len() > self.limits.bytes {
            return Err(self.too_large(url));
        }
        Ok(Answer { url: url.clone(), status: 200, html: decoded(bytes, "") })
    }

    fn too_large(&self, url: &Url) -> ToolError {
        ToolError::new(class::PAGE_TOO_LARGE, format!("{url} has more than {} bytes", self.limits.bytes))
    }
}

fn no_root(address: &str) -> ToolError {
    ToolError::bad_arguments(format!("{address:?} is no URL, and files are read only where --root names a folder"))
}

/// Statuses that no page of a site should have.
fn is_at_fault(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

/// The error that a status stands for.
fn refused(url: &Url, status: u16) -> ToolError {
    let class = match status {
        408 | 504 => class::NETWORK_TIMEOUT,
        429 => class::RATE_LIMIT,
        502 | 503 => class::TEMPORARY_FAILURE,
        500.. => "http_5xx",
        _ => "http_4xx",
    };
    ToolError::of_site(class, url, format!("{url} answered {status}"))
}

/// The error that a broken connection stands for.
fn unreachable(url: &Url, error: &reqwest::Error) -> ToolError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let class = if error.is_timeout() { class::NETWORK_TIMEOUT } else { class::CONNECTION };
    ToolError::of_site(class, url, format!("{url} did not answer: {cause}"))
}

/// Where a redirect leads.
fn redirected(url: &Url, status: StatusCode, headers: &HeaderMap) -> Option<Url> {
    let leads = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = headers.get(LOCATION).filter(|_| leads)?;
    let next = url.join(location.to_str().ok()?).ok()?;
    matches!(next.scheme(), "http" | "https").then_some(next)
}

/// After 303, and by custom after 301 and 302, a form is not sent again.
fn after_redirect(request: &Request, status: StatusCode, next: Url) -> Request {
    if matches!(status.as_u16(), 307 | 308) { Request { url: next, ..request.clone() } } else { Request::get(next) }
}

/// Text of bytes: UTF-8 unless the header says Latin-1; what is neither becomes replacement characters.
fn decoded(bytes: Vec<u8>, kind: &str) -> Arc<str> {
    let latin = ["iso-8859-1", "windows-1252", "latin1"].iter().any(|charset| kind.contains(charset));
    if latin {
        return bytes.into_iter().map(char::from).collect::<String>().into();
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()).into()
}
