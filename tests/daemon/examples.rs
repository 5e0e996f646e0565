//! The checksums example as its README says, on real files with odd names, with a node killed in the middle.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::daemon::{Daemon, Footing, GANGER, Site, repository};
use crate::support::wait::until;

/// Files in the folder: enough that a kill falls into the middle.
const FILES: usize = 400;

fn make_files(folder: &Path) {
    let odd: [&[u8]; 8] = [
        b"two words",
        b"quo\"te",
        b"apo'strophe",
        b"-dash",
        b"new\nline",
        b"back\\slash",
        b"\xff\xfe bytes",
        "ünïcode ☃".as_bytes(),
    ];
    for name in odd {
        std::fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    for number in odd.len()..FILES {
        let deep = folder.join(format!("d{}", number % 7));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join(format!("file {number}")), "x".repeat(number * 31)).unwrap();
    }
}

/// A daemon of the example's configuration that listens on `port`.
async fn start(site: &Site, port: u16, http: &str) -> Daemon {
    let mut command = site.command_on(port, "");
    // The last file wins, and the example stands alone.
    command.arg("--config").arg(repository("examples/checksums/ganger.toml"));
    command.env("GANGER__JOB_TYPES__SHA256_HTTP__HANDLER__URL", http);
    command.env("GANGER__LEASE__TTL_MS", "3000").env("GANGER__LEASE__RENEW_MS", "700");
    Daemon::spawn(command).await
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The separate server of the `http` handler; killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn checksum_server() -> (Server, String) {
    let program = Path::new(GANGER).with_file_name("examples").join("checksum_server");
    assert!(program.exists(), "{} is missing: cargo build --examples", program.display());
    let port = free_port();
    let server = Server(Command::new(program).arg(format!("127.0.0.1:{port}")).stdout(Stdio::null()).spawn().unwrap());
    until("the checksum server listens", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(|_| ())
    })
    .await;
    (server, format!("http://127.0.0.1:{port}/sha256"))
}

/// Starts `run.sh`, kills `victim` once some jobs are done, and lets `replace` go on.
async fn compare_with_a_kill(site: &Site, job_type: &str, servers: &str, victim: Daemon, witness: &Daemon) {
    let script = spawn_script(site, job_type, servers);
    done_at_least(witness, job_type, FILES / 8).await;
    drop(victim);
    finish(script);
}

fn spawn_script(site: &Site, job_type: &str, servers: &str) -> Child {
    let folder = site.folder().join("files");
    if !folder.exists() {
        std::fs::create_dir(&folder).unwrap();
        make_files(&folder);
    }
    let mut script = Command::new("sh");
    script.arg(repository("examples/checksums/run.sh")).arg(&folder).arg(job_type);
    script.env("GANGER", GANGER).env("GANGER_SERVER", servers);
    script.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap()
}

fn finish(script: Child) {
    let output = script.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.trim(), format!("{FILES} files, all equal"));
}

async fn done_at_least(daemon: &Daemon, job_type: &str, count: usize) {
    until("some files are done", || async {
        let page = daemon.get(&format!("/v1/jobs?type={job_type}&state=succeeded&limit=1000")).await;
        (page["jobs"].as_array().unwrap().len() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_equal_on_two_nodes_of_which_one_is_killed() {
    let site = Site::new(Footing::Cluster).await;
    let (_server, http) = checksum_server().await;
    for job_type in ["sha256", "sha256_http"] {
        let (one, two) = (free_port(), free_port());
        let victim = start(&site, one, &http).await;
        let witness = start(&site, two, &http).await;
        let servers = format!("http://127.0.0.1:{one},http://127.0.0.1:{two}");
        compare_with_a_kill(&site, job_type, &servers, victim, &witness).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_equal_on_the_embedded_footing_across_a_kill() {
    let site = Site::new(Footing::Embedded).await;
    let (_server, http) = checksum_server().await;
    for job_type in ["sha256", "sha256_http"] {
        let port = free_port();
        let mut daemon = start(&site, port, &http).await;
        let script = spawn_script(&site, job_type, &format!("http://127.0.0.1:{port}"));
        done_at_least(&daemon, job_type, FILES / 8).await;
        daemon.kill();
        let daemon = start(&site, port, &http).await;
        finish(script);
        drop(daemon);
    }
}
