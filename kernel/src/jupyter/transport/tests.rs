//! Ports against peers that behave badly.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::codec::{Decoder, Item, encode, encode_command};
use super::peers::{Service, Unfinished};
use super::*;

/// Serves on a port of its own; returns the address.
async fn served<S: Service>(service: Arc<S>) -> String {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = probe.local_addr().unwrap().to_string();
    drop(probe);
    let listener = Listener::bind(&format!("tcp://{address}")).await.unwrap();
    tokio::spawn(serve(listener, service, Arc::new(Unfinished::default())));
    address
}

fn greeting() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    (bytes[0], bytes[9], bytes[10]) = (0xff, 0x7f, 3);
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

fn ready(kind: &str, identity: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for (name, value) in [("Socket-Type", kind), ("Identity", identity)] {
        data.push(name.len() as u8);
        data.extend_from_slice(name.as_bytes());
        data.extend_from_slice(&(value.len() as u32).to_be_bytes());
        data.extend_from_slice(value.as_bytes());
    }
    encode_command("READY", &data).to_vec()
}

/// A connection whose greeting is over.
async fn connect(address: &str, kind: &str, identity: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&greeting()).await.unwrap();
    stream.write_all(&ready(kind, identity)).await.unwrap();
    let mut theirs = [0; 64];
    stream.read_exact(&mut theirs).await.unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let mut rest = vec![0; usize::from(head[1])];
    stream.read_exact(&mut rest).await.unwrap();
    stream
}

async fn ask(stream: &mut TcpStream, frames: &[&str]) {
    let frames: Vec<Bytes> = frames
        .iter()
        .map(|f| Bytes::copy_from_slice(f.as_bytes()))
        .collect();
    stream.write_all(&encode(&frames).concat()).await.unwrap();
}

async fn answer(stream: &mut TcpStream) -> Frames {
    let mut decoder = Decoder::new(1 << 30);
    loop {
        if let Some(Item::Message(message)) = decoder.next().unwrap() {
            assert_eq!(decoder.held(), 0, "one message at a time");
            return message;
        }
        assert_ne!(
            stream.read_buf(decoder.room()).await.unwrap(),
            0,
            "the connection ended"
        );
    }
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
            Err(_) => return false,
        }
    }
}

#[tokio::test]
async fn an_echo_repeats_and_survives_announcements() {
    let address = served(Arc::new(Echo)).await;
    let mut good = connect(&address, "REQ", "").await;
    for power in [20u64, 32, 40, 63] {
        let mut bad = connect(&address, "REQ", "").await;
        let announced = [&[2u8][..], &(1u64 << power).to_be_bytes()].concat();
        bad.write_all(&announced).await.unwrap();
        assert!(is_closed(&mut bad).await);
    }
    ask(&mut good, &["", "ping"]).await;
    assert_eq!(answer(&mut good).await, ["", "ping"]);
    good.write_all(&encode_command("PING", b"\0\0context"))
        .await
        .unwrap();
    let mut pong = vec![0; encode_command("PONG", b"context").len()];
    good.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, encode_command("PONG", b"context"));
}

#[tokio::test]
async fn half_open_connections_make_room() {
    let address = served(Arc::new(Echo)).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    let mut good = connect(&address, "REQ", "").await;
    ask(&mut good, &["", "ping"]).await;
    assert_eq!(answer(&mut good).await, ["", "ping"]);
    assert!(is_closed(&mut idle[0]).await);
}

/// Hears everything, trusts whoever says "secret".
struct Notes(tokio::sync::mpsc::UnboundedSender<Frames>);

impl Hear for Notes {
    async fn hear(&self, message: Frames) -> bool {
        let trusted = message.iter().any(|frame| frame == "secret");
        self.0.send(message).unwrap();
        trusted
    }
}

#[tokio::test]
async fn a_reply_goes_to_the_connection_that_asked() {
    let (to, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let router = Arc::new(Router::new(Notes(to)));
    let address = served(router.clone()).await;
    let mut good = connect(&address, "DEALER", "me").await;
    ask(&mut good, &["question"]).await;
    let question = heard.recv().await.unwrap();
    let mut thief = connect(&address, "DEALER", "me").await;
    assert!(router.send(&[question[0].clone(), Bytes::from_static(b"answer")]));
    assert_eq!(answer(&mut good).await, ["answer"]);
    // Nothing came to whoever took the name: its first message is the next one.
    ask(&mut thief, &["question"]).await;
    let way = heard.recv().await.unwrap()[0].clone();
    assert!(router.send(&[way, Bytes::from_static(b"yours")]));
    assert_eq!(answer(&mut thief).await, ["yours"]);
}

#[tokio::test]
async fn a_peer_of_another_port_is_found_by_its_name() {
    let (to, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let shell = Arc::new(Router::new(Notes(to.clone())));
    let stdin = Arc::new(Router::new(Notes(to)));
    let (at_shell, at_stdin) = (served(shell.clone()).await, served(stdin.clone()).await);
    let mut asker = connect(&at_shell, "DEALER", "me").await;
    let mut listener = connect(&at_stdin, "DEALER", "me").await;
    ask(&mut asker, &["question"]).await;
    let way = heard.recv().await.unwrap()[0].clone();
    while !stdin.send(&[way.clone(), Bytes::from_static(b"who are you?")]) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(answer(&mut listener).await, ["who are you?"]);
}

#[tokio::test]
async fn strangers_make_room_for_front_ends() {
    let (to, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let address = served(Arc::new(Router::new(Notes(to)))).await;
    let mut good = connect(&address, "DEALER", "me").await;
    ask(&mut good, &["secret"]).await;
    heard.recv().await.unwrap();
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(connect(&address, "DEALER", "").await);
    }
    assert!(is_closed(&mut strangers[0]).await);
    for peer in [&mut good, &mut strangers[199]] {
        ask(peer, &["still here"]).await;
        assert_eq!(heard.recv().await.unwrap()[1], "still here");
    }
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_holds_nobody_up_for_ever() {
    let port = Arc::new(Publisher::new(Box::new(|topic| {
        vec![topic.clone(), "welcome".into()]
    })));
    let address = served(port.clone()).await;
    let mut good = connect(&address, "SUB", "").await;
    let mut stuck = Vec::new();
    for _ in 0..3 {
        stuck.push(connect(&address, "SUB", "").await);
    }
    for peer in stuck.iter_mut().chain([&mut good]) {
        // Each in the way of its version.
        let subscribe = encode_command("SUBSCRIBE", b"").to_vec();
        let message = [0, 1, 1].to_vec();
        peer.write_all(if peer.local_addr().unwrap().port() % 2 == 0 {
            &subscribe
        } else {
            &message
        })
        .await
        .unwrap();
    }
    assert_eq!(answer(&mut good).await, ["", "welcome"]);
    let (messages, size) = (200, 1 << 20);
    let reader = tokio::spawn(async move {
        let mut decoder = Decoder::new(1 << 30);
        let mut count = 0;
        while count < messages {
            while let Some(item) = decoder.next().unwrap() {
                let Item::Message(message) = item else {
                    continue;
                };
                assert_eq!(message[1].len(), size);
                assert!(message[1].iter().all(|byte| *byte == count as u8));
                count += 1;
            }
            if count < messages {
                assert_ne!(good.read_buf(decoder.room()).await.unwrap(), 0);
            }
        }
    });
    for number in 0..messages {
        port.send(&[
            Bytes::from_static(b"stream"),
            Bytes::from(vec![number as u8; size]),
        ])
        .await;
    }
    reader.await.unwrap();
    port.drained(Duration::from_secs(5)).await;
}
