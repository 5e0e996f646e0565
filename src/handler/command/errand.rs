//! Errands: commands of remediation, which are no jobs.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::super::child::{Group, ending, private_variables};
use super::super::outside::Errand;
use super::{Ended, attend};

/// The most that an errand may write, in bytes; what counts of it is kept as evidence.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// How much of its output is told, in bytes.
const TOLD_BYTES_MAX: usize = 1_000;

/// Runs an errand to its end, or until `stop`; then its group gets SIGTERM, `grace`, SIGKILL.
///
/// # Errors
/// How it failed, in words.
pub async fn run(errand: &Errand, grace: Duration, stop: &CancellationToken) -> Result<String, String> {
    let program = &errand.program;
    let mut command = Command::new(program);
    for name in private_variables() {
        command.env_remove(name);
    }
    let child = command
        .args(&errand.args)
        .envs(&errand.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let group = Group::of(&child).ok_or_else(|| format!("`{program}` was gone at once"))?;
    let heard = attend(child, &group, &errand.input, OUTPUT_BYTES_MAX, grace, stop).await;
    drop(group);
    let said = |what: &str, text: &str| {
        let text = excerpt(text);
        if text.is_empty() { format!("`{program}` {what}") } else { format!("`{program}` {what}: {text}") }
    };
    match heard.ended {
        Ended::Exited(Ok(status)) if status.success() => {
            Ok(said("ended well", &String::from_utf8_lossy(&heard.output)))
        }
        Ended::Exited(Ok(status)) => Err(said(&ending(status), &heard.errors.text())),
        Ended::Exited(Err(error)) => Err(format!("the end of `{program}` was not seen: {error}")),
        Ended::TooLarge => Err(format!("`{program}` wrote more than {OUTPUT_BYTES_MAX} bytes")),
        Ended::Told => Err(said("was stopped before it had ended", &heard.errors.text())),
    }
}

/// The last of a text, from a character's edge on. No store takes a NUL.
fn excerpt(text: &str) -> String {
    let text = text.trim();
    let from = text.len().saturating_sub(TOLD_BYTES_MAX);
    text[text.ceil_char_boundary(from)..].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errand(line: &str) -> Errand {
        Errand {
            program: "sh".to_owned(),
            args: vec!["-c".to_owned(), line.to_owned()],
            env: [("GANGER_ALERT".to_owned(), "A".to_owned())].into(),
            input: b"{}".as_slice().into(),
        }
    }

    async fn ran(line: &str) -> Result<String, String> {
        run(&errand(line), Duration::from_millis(100), &CancellationToken::new()).await
    }

    #[tokio::test]
    async fn an_errand_hears_its_facts_and_says_how_it_went() {
        assert_eq!(ran("printf \"$GANGER_ALERT \"; cat").await.unwrap(), "`sh` ended well: A {}");
        assert_eq!(ran("echo no room >&2; exit 3").await.unwrap_err(), "`sh` ended with exit code 3: no room");
        assert_eq!(ran("kill -9 $$").await.unwrap_err(), "`sh` was killed by SIGKILL (9)");
        let missing = Errand { program: "/nowhere/at-all".to_owned(), ..errand("") };
        let told = run(&missing, Duration::ZERO, &CancellationToken::new()).await.unwrap_err();
        assert!(told.contains("cannot be started"), "{told}");
    }

    #[tokio::test]
    async fn an_errand_that_talks_without_end_is_cut() {
        let told =
            ran("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done").await;
        assert_eq!(told.unwrap_err(), "`sh` wrote more than 65536 bytes");
    }

    #[tokio::test]
    async fn an_errand_that_hangs_dies_with_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let line = format!("trap '' TERM; sleep 1000 & echo $! > {}; wait", file.display());
        let stop = CancellationToken::new();
        let teller = async {
            while !std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        let errand = errand(&line);
        let (told, ()) = tokio::join!(run(&errand, Duration::from_millis(50), &stop), teller);
        assert_eq!(told.unwrap_err(), "`sh` was stopped before it had ended");
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let is_gone = || !std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        while !is_gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
