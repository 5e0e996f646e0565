//! A connection that does not wait for ever for its peer.
//!
//! hyper bounds the time to a whole request head, and bodies have bounds of their own. What is left
//! is a peer that sends a head byte by byte, and one that does not take its answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Tells the guard whether a request is being answered: then silence from the peer is no fault.
#[derive(Debug, Clone, Default)]
pub(super) struct Answering(Arc<AtomicBool>);

impl Answering {
    pub(super) fn set(&self, answering: bool) {
        self.0.store(answering, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A deadline that is armed and disarmed.
#[derive(Debug, Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    fn arm(&mut self, after: Duration) {
        if self.0.is_none() {
            self.0 = Some(Box::pin(sleep_until(Instant::now() + after)));
        }
    }

    fn disarm(&mut self) {
        self.0 = None;
    }

    /// Whether it went off; otherwise the task is woken when it does.
    fn rings(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

/// A stream with both bounds.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    answering: Answering,
    head_time: Duration,
    write_time: Duration,
    head: Alarm,
    write: Alarm,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, answering: Answering, head_time: Duration, write_time: Duration) -> Self {
        let mut head = Alarm::default();
        // A connection that never says anything has no longer than one that is slow.
        head.arm(head_time);
        Self { stream, answering, head_time, write_time, head, write: Alarm::default() }
    }

    /// Turns a write that has made no progress for too long into an error.
    fn bound<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.write.disarm();
            return progress;
        }
        self.write.arm(self.write_time);
        if self.write.rings(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not take its answer")));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let progress = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.answering.get() {
            self.head.disarm();
            return progress;
        }
        if progress.is_ready() {
            if buffer.filled().len() > before {
                let head_time = self.head_time;
                self.head.arm(head_time);
            }
            return progress;
        }
        if self.head.rings(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request head is too slow")));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bound(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.bound(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bound(cx, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const HEAD: Duration = Duration::from_millis(50);
    const WRITE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_silent_peer_is_given_up() {
        let (near, _far) = duplex(64);
        let mut guarded = Guarded::new(near, Answering::default(), HEAD, WRITE);
        assert_eq!(guarded.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn drops_of_a_head_do_not_buy_time() {
        let (near, mut far) = duplex(64);
        let mut guarded = Guarded::new(near, Answering::default(), HEAD, WRITE);
        let dripping = async {
            while far.write_u8(b'x').await.is_ok() {
                tokio::time::sleep(HEAD / 5).await;
            }
        };
        let reading = async { while guarded.read_u8().await.is_ok() {} };
        // The drops would go on for ever.
        let cut_off = tokio::select! { () = dripping => false, () = reading => true };
        assert!(cut_off);
    }

    #[tokio::test]
    async fn silence_while_a_request_is_answered_is_no_fault() {
        let (near, mut far) = duplex(64);
        let answering = Answering::default();
        answering.set(true);
        let mut guarded = Guarded::new(near, answering, HEAD, WRITE);
        let later = async {
            tokio::time::sleep(HEAD * 5).await;
            far.write_u8(b'x').await.unwrap();
        };
        let (byte, ()) = tokio::join!(guarded.read_u8(), later);
        assert_eq!(byte.unwrap(), b'x');
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_dropped() {
        let (near, _far) = duplex(64);
        let mut guarded = Guarded::new(near, Answering::default(), HEAD, WRITE);
        assert_eq!(guarded.write_all(&[0; 1024]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
