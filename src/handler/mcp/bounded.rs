//! A bound under the stdio transport: what a server writes may be of any size, what we keep of it may not.
//!
//! Messages are lines. The transport drops a line that is too long, and the call that waits for it would hear
//! nothing; so the end of such a line is followed by an error of our own for the request that it answered. Whoever
//! else shares the session is not touched. A line that never ends is the end of the session.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::service::lock;

/// The JSON-RPC code of an answer that was dropped for its size: from the range that is left to implementations.
pub(super) const TOO_LARGE: i32 = -32_099;
/// How much of one line is read at all, in multiples of what counts: enough to reach the end of an honest answer.
const FLOOD_FACTOR: usize = 16;
/// How much is read at once, in bytes: the size of a pipe's page.
const CHUNK_BYTES: usize = 8 * 1024;

/// A reader that answers for messages of more than `most` bytes.
#[derive(Debug)]
pub(super) struct Bounded<R> {
    inner: R,
    most: usize,
    chunk: Vec<u8>,
    /// Up to where `chunk` was handed on.
    at: usize,
    line: Line,
    stray: Stray,
    /// Our own error, and up to where it was handed on.
    ours: Vec<u8>,
    ours_at: usize,
}

/// What a server said first, if that was no JSON-RPC.
pub(super) type FirstStray = Arc<Mutex<Option<String>>>;

/// Looks at the first line that is not blank: whoever prints a greeting on stdout does so there.
#[derive(Debug, Default)]
struct Stray {
    head: Vec<u8>,
    is_decided: bool,
    found: FirstStray,
}

impl Stray {
    /// The most bytes of a line that are looked at; longer ones count by how they begin.
    const HEAD_BYTES_MAX: usize = 1_024;
    /// The most characters of it that are quoted.
    const QUOTED_CHARS_MAX: usize = 200;

    fn read(&mut self, byte: u8) {
        if self.is_decided {
            return;
        }
        if byte != b'\n' && self.head.len() < Self::HEAD_BYTES_MAX {
            self.head.push(byte);
            return;
        }
        let line = std::mem::take(&mut self.head);
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        self.is_decided = true;
        let is_whole = byte == b'\n';
        let is_message = line.starts_with(b"{")
            && (!is_whole
                || serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|value| value.get("jsonrpc").is_some()));
        if !is_message {
            let quoted = String::from_utf8_lossy(line).chars().take(Self::QUOTED_CHARS_MAX).collect();
            *lock(&self.found) = Some(quoted);
        }
    }
}

/// One line as far as it was read: how long it is, and which request it answers.
#[derive(Debug, Default)]
struct Line {
    bytes: usize,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    /// Whether what stands at depth 1 is the value of this member, or a name when there is none.
    member: Member,
    /// The name or the value that is being read, at depth 1.
    token: Vec<u8>,
    id: Vec<u8>,
    is_request: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Member {
    #[default]
    Name,
    Id,
    Other,
}

impl<R> Bounded<R> {
    /// Lets lines of up to `most` bytes pass.
    pub(super) fn new(inner: R, most: usize) -> Self {
        let (chunk, ours) = (Vec::with_capacity(CHUNK_BYTES), Vec::new());
        Self { inner, most, chunk, at: 0, line: Line::default(), stray: Stray::default(), ours, ours_at: 0 }
    }

    /// Where the first line is found if it is no JSON-RPC.
    pub(super) fn first_stray(&self) -> FirstStray {
        self.stray.found.clone()
    }

    /// Hands on what is there; false if there is nothing.
    fn hand_on(&mut self, into: &mut ReadBuf<'_>) -> io::Result<bool> {
        if self.ours_at < self.ours.len() {
            let count = into.remaining().min(self.ours.len() - self.ours_at);
            into.put_slice(&self.ours[self.ours_at..self.ours_at + count]);
            self.ours_at += count;
            return Ok(true);
        }
        let count = into.remaining().min(self.chunk.len() - self.at);
        for (number, byte) in self.chunk[self.at..self.at + count].iter().enumerate() {
            self.line.read(*byte);
            self.stray.read(*byte);
            if self.line.bytes > self.most.saturating_mul(FLOOD_FACTOR) {
                return Err(io::Error::other("a message without an end"));
            }
            if *byte != b'\n' {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if line.bytes > self.most {
                self.ours = line.refusal(self.most);
                self.ours_at = 0;
                let end = self.at + number + 1;
                into.put_slice(&self.chunk[self.at..end]);
                self.at = end;
                return Ok(true);
            }
        }
        into.put_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count > 0)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.hand_on(into)? {
                return Poll::Ready(Ok(()));
            }
            this.chunk.resize(CHUNK_BYTES, 0);
            let mut chunk = ReadBuf::new(&mut this.chunk);
            let read = Pin::new(&mut this.inner).poll_read(cx, &mut chunk);
            let count = chunk.filled().len();
            this.chunk.truncate(count);
            this.at = 0;
            match read {
                Poll::Ready(Ok(())) if count == 0 => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
    }
}

impl Line {
    /// The longest name or value at depth 1 that matters, in bytes.
    const TOKEN_BYTES_MAX: usize = 64;

    fn read(&mut self, byte: u8) {
        self.bytes += 1;
        if self.in_text {
            self.keep(byte);
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_text = true;
                self.keep(byte);
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end_member();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == 1 => {
                self.is_request |= self.token == br#""method""#;
                self.member = if self.token == br#""id""# { Member::Id } else { Member::Other };
                self.token.clear();
            }
            b',' if self.depth == 1 => self.end_member(),
            _ if byte.is_ascii_whitespace() => {}
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.member != Member::Other && self.token.len() <= Self::TOKEN_BYTES_MAX {
            self.token.push(byte);
        }
    }

    fn end_member(&mut self) {
        if self.member == Member::Id {
            self.id.clone_from(&self.token);
        }
        self.member = Member::Name;
        self.token.clear();
    }

    /// The error for whoever waits for this line; nothing when nobody does.
    fn refusal(&self, most: usize) -> Vec<u8> {
        let is_id =
            serde_json::from_slice::<serde_json::Value>(&self.id).is_ok_and(|id| id.is_number() || id.is_string());
        if self.is_request || !is_id || self.id.len() > Self::TOKEN_BYTES_MAX {
            return Vec::new();
        }
        let start = br#"{"jsonrpc":"2.0","id":"#.as_slice();
        let bytes = self.bytes;
        let rest = format!(
            r#","error":{{"code":{TOO_LARGE},"message":"the answer has {bytes} bytes; at most {most} are read"}}}}"#
        );
        [start, &self.id, rest.as_bytes(), b"\n"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

    async fn lines(sent: &str, most: usize) -> Vec<String> {
        let mut lines = BufReader::new(Bounded::new(sent.as_bytes(), most)).lines();
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            found.push(line);
        }
        found
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_followed_by_an_error_for_its_request() {
        let long = "x".repeat(100);
        for (message, id) in [
            (format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"id":1,"a":"{long}"}}}}"#), "7"),
            (format!(r#"{{"result":{{"a":["{long}",{{"id":2}}]}}, "jsonrpc":"2.0", "id" : "a\"b" }}"#), r#""a\"b""#),
            (format!(r#"{{"x":"\\","id":3,"result":"}}{long}"}}"#), "3"),
        ] {
            let found = lines(&format!("{{\"a\":1}}\n{message}\n{{\"b\":2}}\n"), 64).await;
            let [before, sent, ours, after] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(
                (before.as_str(), sent.as_str(), after.as_str()),
                (r#"{"a":1}"#, message.as_str(), r#"{"b":2}"#)
            );
            assert!(ours.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32099,"#)), "{ours}");
            serde_json::from_str::<serde_json::Value>(ours).unwrap();
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_has_no_error() {
        let long = "x".repeat(100);
        for message in [
            format!(r#"{{"method":"ping","id":7,"params":"{long}"}}"#),
            format!(r#"{{"method":"notifications/progress","params":"{long}"}}"#),
            long.clone(),
        ] {
            assert_eq!(lines(&format!("{message}\n{{}}\n"), 64).await.len(), 2, "{message}");
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_an_error() {
        let mut reader = Bounded::new(tokio::io::repeat(b'x'), 1_000);
        let mut read = 0;
        let mut buffer = [0; 100];
        let error = loop {
            match reader.read(&mut buffer).await {
                Ok(count) => read += count,
                Err(error) => break error,
            }
        };
        assert!(read <= 16_000 && error.to_string().contains("without an end"), "{read} {error}");
    }
}
