//! A small HTTP service that hashes files: the other side of the job type `sha256_http` in
//! `examples/checksums/ganger.toml`. It knows nothing of Ganger but the shape of its requests.
//!
//! `cargo run --example checksum_server [ADDRESS:PORT]`

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// What Ganger posts; the job's facts beside the payload are not needed here.
#[derive(Deserialize)]
struct Request {
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    path_base64: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7599".to_owned());
    let listener =
        tokio::net::TcpListener::bind(&address).await.with_context(|| format!("cannot listen on {address}"))?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    axum::serve(listener, Router::new().route("/sha256", post(sha256))).await?;
    Ok(())
}

/// A 4xx is Ganger's `http_4xx`, which does not try again.
async fn sha256(Json(request): Json<Request>) -> Result<Json<String>, (StatusCode, String)> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(&request.payload.path_base64)
        .map_err(|error| (StatusCode::UNPROCESSABLE_ENTITY, format!("path_base64: {error}")))?;
    let path = PathBuf::from(OsString::from_vec(bytes));
    let shown = path.display().to_string();
    // Reading blocks, so it does not belong on a thread that serves others.
    let hash = tokio::task::spawn_blocking(move || hash(&path))
        .await
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
        .map_err(|error| (StatusCode::NOT_FOUND, format!("{shown}: {error}")))?;
    Ok(Json(format!("{hash}  {shown}\n")))
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 65_536];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))),
            read => hasher.update(&block[..read]),
        }
    }
}
