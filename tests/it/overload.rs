//! Too many requests: what has waited for too long is told to come again, and what must not wait is served.
//!
//! Requests are made to wait by stopping the process, so nothing here depends on how fast the machine is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http2::Http2;
use crate::support::{
    Client, Origin, Response, TestProxy, Wire, eventually, in_time, registration,
};
use crate::tls_clients::shop;
use crate::tls_connections;

/// The target, and how long requests wait that have waited for too long.
const TARGET: Duration = Duration::from_millis(500);
const TOO_LONG: Duration = Duration::from_secs(1);

/// How long the reply to a stream that is shed is held back at least; it is more.
const HELD_BACK: Duration = Duration::from_millis(500);

/// The first request that has waited is shed.
const AT_ONCE: &str = "http2:\n  cleartext: true\noverload:\n  target: 500ms\n  interval: 0s";

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn start(configuration: &str) -> (TestProxy, Origin) {
    let origin = Origin::saying("ok").await;
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    (proxy, origin)
}

/// Stops the process, has requests sent to it, and lets it go on when they have waited.
async fn stopped_during(proxy: &TestProxy, send: impl AsyncFnOnce()) {
    proxy.signal("STOP");
    eventually("every thread is stopped", async || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).expect("threads");
        tasks.flatten().all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).expect("a thread");
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        })
    })
    .await;
    send().await;
    tokio::time::sleep(TOO_LONG).await;
    proxy.signal("CONT");
}

fn is_shed(response: &Response) {
    assert_eq!(response.verdict(), (503, "OVERLOADED".to_owned()));
    assert_eq!(response.field("retry-after"), Some("1"));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    assert!(
        response
            .field("x-request-id")
            .is_some_and(|id| id.len() == 32)
    );
}

async fn shed_count(proxy: &TestProxy) -> u64 {
    let status = proxy.api("GET", "/v1/status", None).await;
    status.json()["shed"].as_u64().expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_waited_too_long_is_told_to_come_again() {
    let (proxy, origin) = start(AT_ONCE).await;
    let mut kept = proxy.client().await;
    assert_eq!(kept.get("/").await.status, 200);
    let served = origin.requests().len();
    let mut new = None;
    stopped_during(&proxy, async || {
        kept.send(GET).await;
        let mut client = proxy.client().await;
        client.send(GET).await;
        new = Some(client);
    })
    .await;
    is_shed(&kept.response().await);
    let mut new = new.expect("a client");
    is_shed(&new.response().await);
    assert_eq!(origin.requests().len(), served, "the app is not asked");
    // Both connections go on, and what comes now has not waited: at the latest, when they have been left alone
    // for a second.
    let mut shed = 2;
    for client in [&mut kept, &mut new] {
        eventually("it is served again", async || {
            let status = client.get("/").await.status;
            shed += u64::from(status == 503);
            status == 200
        })
        .await;
    }
    assert_eq!(shed_count(&proxy).await, shed);
}

/// The second and third have waited for the responses before them, and not for the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_to_a_slow_app_are_served() {
    for engine in ["direct", "pingora"] {
        let origin = Origin::start(|mut visit| async move {
            while visit.request().await.is_some() {
                tokio::time::sleep(TARGET + TARGET / 4).await;
                visit.answer(200, "ok").await;
            }
        })
        .await;
        let proxy = TestProxy::start(&format!("engine: {engine}\n{AT_ONCE}")).await;
        proxy.register("/", origin.port()).await;
        let mut client = proxy.client().await;
        client.send(GET.repeat(3)).await;
        for _ in 0..3 {
            assert_eq!(client.response().await.status, 200, "{engine}");
        }
        assert_eq!(shed_count(&proxy).await, 0, "{engine}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_has_one_line_at_its_beginning_and_one_at_its_end() {
    let (proxy, _origin) = start(AT_ONCE).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(proxy.client().await);
    }
    stopped_during(&proxy, async || {
        for client in &mut clients {
            client.send(GET).await;
        }
    })
    .await;
    for client in &mut clients {
        is_shed(&client.response().await);
    }
    proxy.logged(&["the overload is over after"]).await;
    let log = proxy.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("overload"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("overload.target (500ms)"), "{lines:?}");
    assert!(
        lines[1].ends_with("5 requests were answered with 503"),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_is_in_the_form_that_the_client_reads() {
    let (proxy, _origin) = start(AT_ONCE).await;
    let page = "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*;q=0.8\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345";
    let unfinished = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12345";
    let old = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
    let sent = [page, head, upload, unfinished, old];
    let mut clients = Vec::new();
    for _ in sent {
        clients.push(proxy.client().await);
    }
    stopped_during(&proxy, async || {
        for (client, request) in clients.iter_mut().zip(sent) {
            client.send(request).await;
        }
    })
    .await;
    let mut responses = Vec::new();
    for (client, request) in clients.iter_mut().zip(sent) {
        let is_head = request.starts_with("HEAD");
        responses.push(client.read(is_head).await.expect("a response"));
    }
    let [page, head, upload, unfinished, old] = &responses[..] else {
        panic!("{responses:?}");
    };
    assert_eq!(page.status, 503);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.text().contains("<code>OVERLOADED</code>"),
        "{}",
        page.text()
    );
    assert_eq!((head.status, head.body.len()), (503, 0));
    is_shed(upload);
    assert_eq!(upload.field("connection"), Some("keep-alive"));
    is_shed(unfinished);
    assert_eq!(unfinished.field("connection"), Some("close"));
    is_shed(old);
    assert_eq!(old.field("connection"), Some("close"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_http2_is_shed_and_its_connection_goes_on() {
    let (proxy, _origin) = start(AT_ONCE).await;
    let mut client = Http2::connect(proxy.address()).await;
    assert_eq!(client.get("/").await.status, 200);
    let mut waiting = Vec::new();
    let mut call = None;
    stopped_during(&proxy, async || {
        let request = Request::post("http://a/a.B/C").header("content-type", "application/grpc");
        call = Some(
            client
                .begin(request.body(()).expect("a request"), false)
                .await,
        );
        for _ in 0..2 {
            let request = Request::get("http://a/").body(()).expect("a request");
            waiting.push(client.begin(request, false).await);
        }
    })
    .await;
    let begin = Instant::now();
    for pending in waiting {
        let answer = pending.answer().await;
        assert_eq!(
            (answer.status, answer.code()),
            (503, "OVERLOADED".to_owned())
        );
    }
    // The connection cannot be left alone, so the replies are held back.
    assert!(begin.elapsed() >= HELD_BACK, "{:?}", begin.elapsed());
    let call = in_time("a call's end", call.expect("a call").response).await;
    let call = call.expect("a response");
    assert_eq!(call.status(), 200);
    assert_eq!(call.headers()["grpc-status"], "14");
    eventually("it is served again", async || {
        client.get("/").await.status == 200
    })
    .await;
    assert_eq!(shed_count(&proxy).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_and_control_calls_are_never_shed() {
    let (proxy, origin) = start(AT_ONCE).await;
    let control = proxy.control().await;
    let body = format!(r#"{{"prefix": "/late", "port": {}}}"#, origin.port());
    let (mut app, mut http2) = (proxy.client().await, Http2::connect(proxy.address()).await);
    let (mut visitor, mut operator) = (proxy.client().await, Client::connect(control).await);
    assert_eq!(http2.get("/").await.status, 200);
    let mut late = None;
    stopped_during(&proxy, async || {
        visitor.send(GET).await;
        app.send(registration(&body)).await;
        operator
            .send("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        let request = Request::get("http://localhost/register")
            .body(())
            .expect("a request");
        late = Some(http2.begin(request, false).await);
    })
    .await;
    is_shed(&visitor.response().await);
    assert_eq!(app.response().await.status, 200);
    assert_eq!(operator.response().await.status, 200);
    // Not a registration, but the control service says so.
    let answer = late.expect("a stream").answer().await;
    assert_eq!(answer.status, 405, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_does_not_last_is_no_overload() {
    let lasting = "overload:\n  target: 500ms\n  interval: 1h";
    for configuration in [lasting, "overload:\n  target: off\n  interval: 0s"] {
        let (proxy, _origin) = start(configuration).await;
        let mut client = proxy.client().await;
        stopped_during(&proxy, async || client.send(GET).await).await;
        assert_eq!(client.response().await.status, 200, "{configuration}");
        assert_eq!(shed_count(&proxy).await, 0);
        assert!(!proxy.log().contains("overload"), "{}", proxy.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_slow_has_not_waited() {
    let (proxy, _origin) = start(AT_ONCE).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\n").await;
    tokio::time::sleep(TOO_LONG).await;
    // The time counts from the last bytes.
    client.send("Host: a\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    let status = proxy.api("GET", "/v1/status", None).await.json();
    assert_eq!(status["shed"], Value::from(0), "{status}");
    assert!(TARGET < TOO_LONG);
}

/// How many connections may wait to be accepted (`src/server/accept_queue.rs`), and one more, as Linux counts.
const ACCEPT_QUEUE: usize = 1024 + 1;

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_new_connections_is_short() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("descriptors");
    let (proxy, _origin) = start("threads: 4").await;
    let mut waiting = Vec::new();
    stopped_during(&proxy, async || {
        // One that finds no place is tried again by the kernel, after a second.
        let soon = Duration::from_millis(500);
        while let Ok(connected) =
            tokio::time::timeout(soon, TcpStream::connect(proxy.address())).await
        {
            waiting.push(connected.expect("a connection"));
            assert!(waiting.len() <= ACCEPT_QUEUE, "the queue is longer");
        }
    })
    .await;
    // Those that have waited are accepted.
    let mut last = Client::on(Wire::new(waiting.pop().expect("a connection")));
    assert_eq!(last.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_request_of_a_new_connection_is_shed_where_it_is_accepted() {
    let (proxy, origin) = start(AT_ONCE).await;
    let mut first = proxy.client().await;
    stopped_during(&proxy, async || first.send(GET).await).await;
    is_shed(&first.response().await);
    // From now on requests are shed.
    let body = format!(r#"{{"prefix": "/late", "port": {}}}"#, origin.port());
    let length = body.len();
    let sent = [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345",
        &format!(
            "POST /register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
        "GET /register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nConnection: close\r\n",
    ];
    let mut clients = Vec::new();
    stopped_during(&proxy, async || {
        for request in sent {
            let mut client = proxy.client().await;
            client.send(request).await;
            clients.push(client);
        }
    })
    .await;
    // The time of a head that is sent in pieces counts from its last.
    clients[7].send("Host: a\r\n\r\n").await;
    let mut responses = Vec::new();
    for (client, request) in clients.iter_mut().zip(sent) {
        let is_head = request.starts_with("HEAD");
        let response = client.read(is_head).await.expect("a response");
        assert_eq!(response.field("connection"), Some("close"), "{request}");
        client.is_closed().await;
        responses.push(response);
    }
    let [
        get,
        head,
        old,
        page,
        upload,
        registered,
        not_registered,
        piecemeal,
    ] = &responses[..]
    else {
        panic!("{responses:?}");
    };
    for response in [get, old, upload] {
        is_shed(response);
    }
    assert_eq!((head.status, head.body.len()), (503, 0));
    assert_eq!(head.field("content-length"), get.field("content-length"));
    assert!(page.text().contains("<code>OVERLOADED</code>"));
    assert_eq!(page.field("x-request-id"), Some("mine"));
    assert_eq!(registered.status, 200, "{}", registered.text());
    assert_eq!(not_registered.status, 405);
    assert_eq!(piecemeal.status, 200);
    assert_eq!(shed_count(&proxy).await, 6);
}

/// The first bytes of a client of TLS.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(dynamic_reverse_proxy::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("shop.test").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a hello");
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_has_waited_too_long_is_not_begun() {
    let at_once = "threads: 1\noverload:\n  target: 500ms\n  interval: 0s\n";
    let (authority, _origin, proxy, port) = shop(at_once).await;
    let connect = async || {
        TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("a connection")
    };
    let mut accepted = connect().await;
    let mut kept = tls_connections::connect(authority.path(), port, &["http/1.1"]).await;
    let mut new = None;
    stopped_during(&proxy, async || {
        let mut stream = connect().await;
        for stream in [&mut accepted, &mut stream] {
            stream.write_all(&client_hello()).await.expect("a hello");
        }
        new = Some(stream);
    })
    .await;
    for mut stream in [accepted, new.expect("a connection")] {
        let mut answer = Vec::new();
        let read = in_time("the end", stream.read_to_end(&mut answer)).await;
        let reset = Some(std::io::ErrorKind::ConnectionReset);
        assert!(read.is_ok() || read.err().map(|error| error.kind()) == reset);
        assert!(answer.is_empty(), "{} bytes of a handshake", answer.len());
    }
    let status = proxy.api("GET", "/v1/status", None).await.json();
    assert_eq!(status["shed_handshakes"], Value::from(2), "{status}");
    // Connections that are there go on, and who comes now has not waited.
    tls_connections::exchange(&mut kept).await;
    let mut late = tls_connections::connect(authority.path(), port, &["http/1.1"]).await;
    tls_connections::exchange(&mut late).await;
}
