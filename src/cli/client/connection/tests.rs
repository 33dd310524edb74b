//! The client against a server that does what the test says.

use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::{Call, Client, ClientError, Endpoint};

const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}";

fn client(address: &str, timeout: Duration) -> Client {
    let endpoint = Endpoint::parse(address).unwrap();
    let token = HeaderValue::from_static("Bearer secret");
    Client::new(endpoint, Some(token), timeout)
}

/// A server that answers each connection's first request with these bytes, one after the other.
async fn server(
    answers: &'static [&'static str],
) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            heads.push(head(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    });
    (client(&address, Duration::from_secs(10)), task)
}

async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_connection_that_has_ended_is_replaced() {
    let (mut client, server) = server(&[JSON, JSON]).await;
    for _ in 0..2 {
        let answer = client.call(Call::get("/v1/status")).await.unwrap();
        assert_eq!(&answer.body[..], b"{\"a\":1}");
        // The server closes after each answer, and the client has to notice.
        let kept = client.sender.as_mut().unwrap();
        while !kept.is_closed() {
            tokio::task::yield_now().await;
        }
    }
    let heads = server.await.unwrap();
    let head = heads[0].to_ascii_lowercase();
    assert!(head.starts_with("get /v1/status http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer secret"), "{head}");
    assert!(head.contains("host: 127.0.0.1:"), "{head}");
}

#[tokio::test]
async fn what_is_no_api_is_told() {
    let answers = &[
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhtml",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    ];
    let (mut client, _server) = server(answers).await;
    let call = |_: usize| Call::get("/v1/status");
    let not_http = client.call(call(0)).await;
    assert!(matches!(not_http, Err(ClientError::Broken { .. })));
    let cut = client.call(call(1)).await;
    assert!(matches!(cut, Err(ClientError::Broken { .. })));
    let not_json = client
        .call(call(2))
        .await
        .unwrap()
        .read::<serde_json::Value>();
    assert!(matches!(not_json, Err(ClientError::NotTheApi(_))));
    client.sender = None;
    let Err(ClientError::Refused(refusal)) = client.call(call(3)).await else {
        panic!("a refusal")
    };
    assert!(refusal.to_string().contains("--api"), "{refusal}");
}

#[tokio::test]
async fn silence_ends_and_slow_reading_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let silence = Duration::from_millis(300);
    let mut client = client(&address, silence);
    let silent = client.call(Call::get("/")).await;
    assert!(matches!(silent, Err(ClientError::TooSlow { .. })));
    assert!(silent.err().unwrap().is_passing());

    let (mut first, _) = listener.accept().await.unwrap();
    let body = "x".repeat(20 << 20);
    let call = Call::json(Method::PUT, "/", &body).unwrap();
    let begin = tokio::time::Instant::now();
    let reading = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        assert!(
            head.contains(&format!("content-length: {}", body.len() + 2)),
            "{head}"
        );
        let mut left = body.len() + 2;
        let mut piece = vec![0; 1 << 20];
        while left > 0 {
            let read = stream.read(&mut piece).await.unwrap();
            left -= read;
            if begin.elapsed() < silence * 2 {
                tokio::time::sleep(silence / 10).await;
            }
        }
        stream.write_all(JSON.as_bytes()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(client.call(call), reading);
    assert!(answer.is_ok());
    assert!(begin.elapsed() > silence);
    first.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let address = format!("unix:{}", path.display());
    let mut client = client(&address, Duration::from_secs(10));
    let none = client.call(Call::get("/")).await.err().unwrap();
    assert!(none.to_string().contains(&address), "{none}");
    let listener = UnixListener::bind(&path).unwrap();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        assert!(head.contains("host: localhost\r\n"), "{head}");
        stream.write_all(JSON.as_bytes()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(client.call(Call::get("/")), serving);
    assert_eq!(&answer.unwrap().body[..], b"{\"a\":1}");
}
