//! Servers of others that listen, processes of theirs, and what is said to them.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::wait::until;
use crate::tools;

/// The server of all features, of the old protocol.
pub fn everything() -> String {
    tools::npm("mcp-server-everything")
}

/// A server behind a port. It is killed when this is dropped, with all that it started.
pub struct Listening {
    command: Vec<String>,
    child: Child,
    pub port: u16,
}

impl Listening {
    /// `server-everything` over streamable HTTP, of the old protocol with sessions.
    pub async fn everything() -> Self {
        Self::start(|_| vec![everything(), "streamableHttp".to_owned()]).await
    }

    /// `mcp-server-time` over streamable HTTP, of both protocols.
    pub async fn time() -> Self {
        let serve = |port: u16| {
            let line = "from mcp_server_time.server import create_server; import sys; \
                        create_server('UTC').run('streamable-http', port=int(sys.argv[1]))";
            vec![tools::python("python"), "-c".to_owned(), line.to_owned(), port.to_string()]
        };
        Self::start(serve).await
    }

    /// Starts what `command` says for a free port, and waits until it listens.
    pub async fn start(command: impl Fn(u16) -> Vec<String>) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let command = command(port);
        let child = spawn(&command, port).await;
        Self { command, child, port }
    }

    /// Its address for MCP.
    pub fn url(&self) -> String {
        format!("http://localhost:{}/mcp", self.port)
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// SIGKILL to it and all of its group.
    pub fn kill(&mut self) {
        killpg(Pid::from_raw(self.pid()), Signal::SIGKILL).ok();
        self.child.wait().unwrap();
    }

    /// Starts it anew on the same port, with nothing of what it knew.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.command, self.port).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn spawn(command: &[String], port: u16) -> Child {
    let mut server = Command::new(&command[0]);
    server.args(&command[1..]).env("PORT", port.to_string()).process_group(0);
    let mut child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the server listens", || {
        assert!(child.try_wait().unwrap().is_none(), "{command:?} has ended");
        async move { TcpStream::connect(("localhost", port)).await.ok().map(drop) }
    })
    .await;
    child
}

/// What is said to a server that listens, taken down on the way.
pub struct Tap {
    pub url: String,
    said: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

impl Tap {
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut tasks, notes) = (JoinSet::new(), said.clone());
        tasks.spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                calls.spawn(pass(client, port, notes.clone()));
            }
        });
        Self { url, said, _tasks: tasks }
    }

    /// All of it, headers and bodies.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// The messages.
    pub fn messages(&self) -> Vec<Value> {
        messages(&self.text())
    }
}

async fn pass(mut client: TcpStream, port: u16, notes: Arc<Mutex<Vec<u8>>>) {
    let Ok(mut server) = TcpStream::connect(("localhost", port)).await else { return };
    let (mut from, mut to) = client.split();
    let (mut answer, mut ask) = server.split();
    let up = async {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            notes.lock().unwrap().extend_from_slice(&piece[..count]);
            if ask.write_all(&piece[..count]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        _ = tokio::io::copy(&mut answer, &mut to) => {}
    }
}

/// A command line that starts this server as a child and takes down in `notes` what is said to it.
pub fn tapped<'a>(notes: &'a str, server: &[&'a str]) -> Vec<&'a str> {
    [&["sh", "-c", "tee -a \"$0\" | exec \"$@\"", notes], server].concat()
}

/// The messages that were taken down in this file.
pub fn noted(notes: &Path) -> Vec<Value> {
    messages(&std::fs::read_to_string(notes).unwrap_or_default())
}

/// The JSON-RPC messages of a text, whatever else is in it.
fn messages(text: &str) -> Vec<Value> {
    let starts = text.match_indices(r#"{"jsonrpc""#).map(|(at, _)| at);
    let read = |at: usize| serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>().next()?.ok();
    starts.filter_map(read).collect()
}

/// The processes below `ancestor`, as number and command line.
pub fn below(ancestor: u32) -> Vec<(i32, String)> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything; then state and parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all: Vec<i32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let is_below = |pid: &i32| {
        let mut at = *pid;
        while let Some(up) = parent(at).filter(|up| *up > 1) {
            if up == ancestor.cast_signed() {
                return true;
            }
            at = up;
        }
        false
    };
    let line = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, text.replace('\0', " "))
    };
    all.into_iter().filter(is_below).map(line).collect()
}
