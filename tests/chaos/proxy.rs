//! The proxy itself: each way in which it misbehaves, seen from both ends.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::support::proxy::{Direction, Gate, Proxy, address_of};
use crate::support::wait::{PATIENCE, until};

/// Long enough for bytes that were not stopped to arrive.
const A_WHILE: Duration = Duration::from_millis(100);

/// A connection through a proxy, and its other end.
struct Line {
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Line {
    async fn new() -> Self {
        let (listener, address) = listener().await;
        let proxy = Proxy::start(address, 1).await;
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        Self { proxy, listener, client, server }
    }
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    timeout(PATIENCE, stream.read_exact(&mut got)).await.expect("bytes in time").expect("bytes");
    assert_eq!(got, bytes);
}

async fn silent(stream: &mut TcpStream) {
    let mut byte = [0];
    assert!(timeout(A_WHILE, stream.read(&mut byte)).await.is_err(), "nothing arrives");
}

/// How a stream ends: `Ok` with FIN, an error with RST.
async fn end(stream: &mut TcpStream) -> io::Result<()> {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end in time").map(drop)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_ends_are_told() {
    let mut line = Line::new().await;
    line.client.write_all(b"question").await.unwrap();
    expect(&mut line.server, b"question").await;
    line.server.write_all(b"answer").await.unwrap();
    expect(&mut line.client, b"answer").await;
    assert_eq!((line.proxy.forwarded(Direction::Up), line.proxy.forwarded(Direction::Down)), (8, 6));
    line.client.shutdown().await.unwrap();
    end(&mut line.server).await.unwrap();
    // The other half still works.
    line.server.write_all(b"late").await.unwrap();
    expect(&mut line.client, b"late").await;
    drop(line.server);
    end(&mut line.client).await.unwrap();
    until("the connection is gone", || async { (line.proxy.live() == 0).then_some(()) }).await;
}

#[tokio::test]
async fn latency_delays_and_does_not_limit() {
    let mut line = Line::new().await;
    line.proxy.delay(Duration::from_millis(100), Duration::from_millis(20));
    let start = Instant::now();
    for _ in 0..10 {
        line.client.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    expect(&mut line.server, b"xxxxxxxxxx").await;
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_millis(900), "pieces travel side by side: {:?}", start.elapsed());
}

#[tokio::test]
async fn held_bytes_arrive_later_and_swallowed_ones_never() {
    let mut line = Line::new().await;
    line.proxy.stall();
    line.client.write_all(b"one ").await.unwrap();
    silent(&mut line.server).await;
    line.proxy.calm();
    expect(&mut line.server, b"one ").await;
    line.proxy.set(Direction::Up, |now| now.gate = Gate::Swallowed);
    line.client.write_all(b"two ").await.unwrap();
    silent(&mut line.server).await;
    line.server.write_all(b"down").await.unwrap();
    expect(&mut line.client, b"down").await;
    line.proxy.calm();
    line.client.write_all(b"three").await.unwrap();
    expect(&mut line.server, b"three").await;
}

#[tokio::test]
async fn slices_arrive_whole() {
    let mut line = Line::new().await;
    line.proxy.set(Direction::Up, |now| now.slice_bytes = 3);
    let text: Vec<u8> = (0..10_000u32).flat_map(u32::to_be_bytes).collect();
    line.client.write_all(&text).await.unwrap();
    expect(&mut line.server, &text).await;
}

#[tokio::test]
async fn a_reset_is_told_from_a_close() {
    let mut line = Line::new().await;
    line.proxy.close();
    end(&mut line.client).await.unwrap();
    end(&mut line.server).await.unwrap();
    let mut client = TcpStream::connect(line.proxy.address()).await.unwrap();
    let (mut server, _) = line.listener.accept().await.unwrap();
    // Both pumps run once a byte has passed.
    client.write_all(b"x").await.unwrap();
    expect(&mut server, b"x").await;
    line.proxy.reset();
    assert_eq!(end(&mut client).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(end(&mut server).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_cut_refuses_until_it_is_mended() {
    let mut line = Line::new().await;
    line.proxy.cut().await;
    assert!(end(&mut line.client).await.is_err());
    let refused = TcpStream::connect(line.proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    line.proxy.mend().await;
    let mut client = TcpStream::connect(line.proxy.address()).await.unwrap();
    client.write_all(b"again").await.unwrap();
    let (mut server, _) = line.listener.accept().await.unwrap();
    expect(&mut server, b"again").await;
    line.proxy.reject().await;
    let mut client = TcpStream::connect(line.proxy.address()).await.unwrap();
    assert!(end(&mut client).await.is_err());
}

#[tokio::test]
async fn one_half_can_be_closed() {
    let mut line = Line::new().await;
    line.client.write_all(b"x").await.unwrap();
    expect(&mut line.server, b"x").await;
    line.proxy.half_close(Direction::Up);
    end(&mut line.server).await.unwrap();
    line.server.write_all(b"still").await.unwrap();
    expect(&mut line.client, b"still").await;
}

#[tokio::test]
async fn an_answer_can_be_lost() {
    let mut line = Line::new().await;
    line.proxy.lose_answer(&[b"row 7", b"COMMIT"], b"DONE");
    for piece in ["COMMIT row ", "7 and CO", "MMIT;"] {
        line.client.write_all(piece.as_bytes()).await.unwrap();
        line.client.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    expect(&mut line.server, b"COMMIT row 7 and COMMIT;").await;
    line.server.write_all(b"not yet").await.unwrap();
    silent(&mut line.client).await;
    assert_eq!(line.proxy.sprung(), 0);
    line.server.write_all(b", now DONE").await.unwrap();
    assert!(end(&mut line.client).await.is_err());
    assert_eq!(line.proxy.sprung(), 1);
    // Once is enough.
    let mut client = TcpStream::connect(line.proxy.address()).await.unwrap();
    let (mut server, _) = line.listener.accept().await.unwrap();
    client.write_all(b"row 7 COMMIT").await.unwrap();
    expect(&mut server, b"row 7 COMMIT").await;
    server.write_all(b"DONE").await.unwrap();
    expect(&mut client, b"DONE").await;
}

#[tokio::test]
async fn a_request_can_be_stopped_before_it_arrives() {
    let mut line = Line::new().await;
    line.proxy.break_before(&[b"COMMIT"]);
    line.client.write_all(b"BEGIN").await.unwrap();
    expect(&mut line.server, b"BEGIN").await;
    line.client.write_all(b"COMMIT").await.unwrap();
    assert!(end(&mut line.client).await.is_err());
    assert!(end(&mut line.server).await.is_err(), "a reset, and no commit before it");
    assert_eq!(line.proxy.sprung(), 1);
}

#[tokio::test]
async fn the_server_behind_it_can_change() {
    let line = Line::new().await;
    let (other, address) = listener().await;
    line.proxy.retarget(address);
    let url = line.proxy.url("redis://127.0.0.1:1/0");
    assert_eq!(address_of(&url), line.proxy.address());
    let mut client = TcpStream::connect(address_of(&url)).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let (mut server, _) = other.accept().await.unwrap();
    expect(&mut server, b"x").await;
    drop(other);
    drop(server);
    assert!(end(&mut client).await.is_ok());
    let mut client = TcpStream::connect(line.proxy.address()).await.unwrap();
    assert!(end(&mut client).await.is_err(), "nobody is there any more");
}
