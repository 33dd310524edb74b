//! Crowds: what thousands of connections and streams cost, and that others notice nothing.
//!
//! Each says what it saw; the proxy has 4,096 descriptors. `make test-all` runs those that take a while.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::engine;
use crate::support::http2::{Http2, get as get2};
use crate::support::{Client, Origin, TestProxy, command, eventually, in_time, registration};
use crate::table_limits::peak_kib;

const DESCRIPTORS: usize = 4096;

/// What others may wait at most: the test itself keeps both cores busy.
const NOTICED: Duration = Duration::from_secs(2);

/// Whether this process may have so many descriptors; says so if not.
fn may_open(count: u64) -> bool {
    let most = rlimit::increase_nofile_limit(count).expect("a limit");
    if most < count {
        eprintln!("not tested: it needs {count} descriptors, and this process may have {most}");
    }
    most >= count
}

async fn start(configuration: &str) -> (TestProxy, Origin) {
    start_with(DESCRIPTORS, configuration).await
}

/// A proxy with so many descriptors, and an app that answers, but for what begins with `/hangs`.
async fn start_with(descriptors: usize, configuration: &str) -> (TestProxy, Origin) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.yaml");
    let engine = engine::chosen().unwrap_or("direct");
    let text = format!(
        "engine: {engine}\nport: 0\ncontrol: {{listen: 127.0.0.1:0}}\nhttp2: {{cleartext: true, streams: 1000}}\n\
         proxy_protocol: {{trusted: [127.0.0.9]}}\n{configuration}\n"
    );
    std::fs::write(&path, text).expect("a file");
    let mut limited = tokio::process::Command::new("prlimit");
    limited
        .arg(format!("--nofile={descriptors}:{descriptors}"))
        .arg(command().as_std().get_program())
        .arg("--conf")
        .arg(path);
    let proxy = TestProxy::spawn(limited, folder).await;
    let origin = Origin::start(|mut visit| async move {
        while let Some(request) = visit.request().await {
            if request.head.line.contains("/hangs") {
                // Until the proxy closes.
                drop(visit.stream.read(&mut [0]).await);
                return;
            }
            if request.head.line.contains("/long") {
                visit
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                    .await;
                let piece = vec![b'x'; 64 * 1024];
                // Without a deadline: the readers are slow.
                while visit.stream.write_all(&piece).await.is_ok() {}
                return;
            }
            visit.answer(200, "app").await;
        }
    })
    .await;
    proxy.register("/", origin.port()).await;
    (proxy, origin)
}

/// How often a limit was met.
async fn met(proxy: &TestProxy, key: &str) -> u64 {
    let status = proxy.look("/v1/status").await;
    let mut limits = status["limits"].as_array().expect("limits").iter();
    let found = limits.find(|limit| limit["key"] == key);
    found.expect("the limit")["refused"]
        .as_u64()
        .expect("a count")
}

/// A connection of a balancer's for a client.
async fn announced(proxy: &TestProxy, client: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.9:0".parse().expect("an address"))
        .expect("a port");
    let stream = in_time("connecting", socket.connect(proxy.address())).await;
    let mut stream = stream.expect("the proxy accepts");
    let header = format!("PROXY TCP4 {client} 127.0.0.1 4000 80\r\n");
    stream
        .write_all(header.as_bytes())
        .await
        .expect("a few bytes");
    stream
}

/// A visitor, an operator and an app, each on a new connection: the longest that one of them waited.
async fn others(proxy: &TestProxy, port: u16) -> Duration {
    let mut worst = Duration::ZERO;
    let begin = Instant::now();
    let source = "127.0.0.2".parse().expect("an address");
    let visitor = Client::connect_from(source, proxy.address()).await;
    let response = visitor.expect("a connection").get("/").await;
    assert_eq!((response.status, response.text()), (200, "app".to_owned()));
    worst = worst.max(begin.elapsed());
    let begin = Instant::now();
    assert_eq!(proxy.api("GET", "/v1/status", None).await.status, 200);
    worst = worst.max(begin.elapsed());
    let begin = Instant::now();
    let body = json!({ "prefix": "/new", "port": port }).to_string();
    let app = Client::connect(proxy.address())
        .await
        .exchange(registration(body))
        .await;
    assert_eq!(app.status, 200, "{}", app.text());
    worst.max(begin.elapsed())
}

fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_silent_connections_of_one_address_and_others_notice_nothing() {
    if !may_open(8192) {
        return;
    }
    let (proxy, origin) = start("timeouts: {handshake: 2m}").await;
    let (mut held, mut worst) = (Vec::new(), Duration::ZERO);
    for number in 0..5000 {
        held.push(announced(&proxy, "192.0.2.1").await);
        if number % 250 == 249 {
            worst = worst.max(others(&proxy, origin.port()).await);
        }
    }
    let beyond = 5000 - DESCRIPTORS / 2;
    let key = "limits.connections_per_client";
    eventually("each beyond the limit is counted", async || {
        met(&proxy, key).await >= beyond as u64
    })
    .await;
    let mut open = 0;
    eventually("each beyond the limit is closed", async || {
        open = held.iter().filter(|stream| is_open(stream)).count();
        open <= DESCRIPTORS / 2
    })
    .await;
    let (files, peak) = (proxy.open_files(), peak_kib(proxy.pid()));
    let closed = met(&proxy, key).await;
    eprintln!(
        "of 5,000 {open} are open, {closed} closed and counted; others waited {worst:?} at most; \
         {files} descriptors, {peak} KiB"
    );
    assert_eq!((open, closed), (DESCRIPTORS / 2, beyond as u64));
    assert!(worst < NOTICED, "{worst:?}");
    assert!(files < DESCRIPTORS * 3 / 4, "{files} descriptors");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes a while, and thousands of descriptors: make test-all"]
async fn a_thousand_slow_readers_take_bounded_memory_and_others_are_served() {
    if !may_open(8192) {
        return;
    }
    let (proxy, origin) = start("overload: {target: off}\ntimeouts: {connect: 20s}").await;
    others(&proxy, origin.port()).await;
    let before = peak_kib(proxy.pid());
    let mut readers = JoinSet::new();
    for number in 0..1000 {
        if number % 50 == 0 {
            eventually("downloads have begun", async || origin.open() >= number).await;
        }
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("SO_RCVBUF");
        let stream = in_time("connecting", socket.connect(proxy.address())).await;
        let mut stream = stream.expect("the proxy accepts");
        let request = b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(request).await.expect("a request");
        readers.spawn(async move {
            let mut piece = [0; 256];
            loop {
                let count = stream.read(&mut piece).await.expect("a download");
                assert!(count > 0, "a slow reader was cut");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }
    eventually("all downloads have begun", async || origin.open() >= 1000).await;
    let (begin, mut worst) = (Instant::now(), Duration::ZERO);
    while begin.elapsed() < Duration::from_secs(5) {
        worst = worst.max(others(&proxy, origin.port()).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (files, peak) = (proxy.open_files(), peak_kib(proxy.pid()));
    eprintln!(
        "1,000 slow readers: {before} KiB before, {peak} KiB at most; others waited {worst:?} at most; \
         {files} descriptors"
    );
    assert!(readers.try_join_next().is_none(), "a slow reader was cut");
    assert!(
        peak - before < 160 * 1024,
        "{before} KiB before, {peak} KiB at most"
    );
    assert!(worst < NOTICED, "{worst:?}");
}

/// Connections, and the streams on them that wait for the app.
struct Crowd {
    _connections: Vec<Http2>,
    _waiting: JoinSet<Option<u16>>,
}

/// 20,000 requests over HTTP/2 that an app does not answer, on connections of these clients.
async fn crowd(proxy: &TestProxy, client: impl Fn(usize) -> String) -> (u64, Crowd) {
    let mut connections = Vec::new();
    let mut pending = JoinSet::new();
    for number in 0..200 {
        let stream = announced(proxy, &client(number)).await;
        let mut connection = Http2::over(stream).await;
        for _ in 0..100 {
            let begun = connection.begin(get2("/hangs"), false).await;
            pending.spawn(async move {
                let response = begun.response.await.ok()?;
                Some(response.status().as_u16())
            });
        }
        connections.push(connection);
    }
    let mut refused = 0;
    // Those that wait for the app stay.
    while let Ok(Some(done)) =
        tokio::time::timeout(Duration::from_secs(3), pending.join_next()).await
    {
        let status = done.expect("no panic").expect("an answer");
        assert!([429, 503].contains(&status), "{status}");
        refused += 1;
    }
    let crowd = Crowd {
        _connections: connections,
        _waiting: pending,
    };
    (refused, crowd)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes a while, and thousands of descriptors: make test-all"]
async fn two_hundred_connections_of_a_hundred_streams_take_an_eighth_of_the_descriptors() {
    if !may_open(8192) {
        return;
    }
    let (proxy, origin) = start("").await;
    others(&proxy, origin.port()).await;
    let before = peak_kib(proxy.pid());
    let (refused, crowd) = crowd(&proxy, |_| "192.0.2.1".to_owned()).await;
    let worst = others(&proxy, origin.port()).await;
    let (files, peak, upstream) = (proxy.open_files(), peak_kib(proxy.pid()), origin.open());
    eprintln!(
        "of 20,000 streams {refused} were refused; {upstream} connections to the app; others waited \
         {worst:?}; {before} KiB before, {peak} KiB at most; {files} descriptors"
    );
    let most = DESCRIPTORS / 8;
    assert_eq!(refused, 20_000 - most as u64);
    assert_eq!(met(&proxy, "limits.streams_per_client").await, refused);
    assert!(upstream <= most + 10, "{upstream} connections to the app");
    assert!(files < DESCRIPTORS / 2, "{files} descriptors");
    assert!(
        peak - before < 128 * 1024,
        "{before} KiB before, {peak} KiB at most"
    );
    assert!(worst < NOTICED, "{worst:?}");
    drop(crowd);
    eventually("the app is left alone", async || origin.open() < 20).await;
}

/// A client within its limit, whose every connection has a request in progress: its connections and those to the
/// app for it leave the others their half.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_of_one_client_on_all_of_its_connections_leave_others_served() {
    if !may_open(4096) {
        return;
    }
    let (proxy, origin) = start_with(1024, "overload: {target: off}").await;
    let source = "127.0.0.3".parse().expect("an address");
    let mut uploads = Vec::new();
    for _ in 0..510 {
        let mut client = Client::connect_from(source, proxy.address())
            .await
            .expect("a connection");
        let head = "POST /hangs HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc";
        client.send(head).await;
        uploads.push(client);
    }
    let (mut waiting, mut refused) = (uploads.iter().collect::<Vec<_>>(), 0);
    eventually("each has a connection or is refused", async || {
        waiting.retain(|client| is_open(&client.stream));
        refused = uploads.len() - waiting.len();
        origin.open() + refused >= uploads.len()
    })
    .await;
    eprintln!("{refused} were refused; {} descriptors", proxy.open_files());
    assert!(refused > 100, "{refused} were refused");
    // Half for its connections, and a quarter for those to the app: the others' were refused.
    // The other engine makes a connection, and closes it at once.
    eventually("the others have their descriptors", async || {
        proxy.open_files() <= 800
    })
    .await;
    for _ in 0..20 {
        others(&proxy, origin.port()).await;
    }
    assert_eq!(met(&proxy, "limits.connections_per_client").await, 0);
    drop(uploads);
}

/// Of 256 descriptors an app's connections get those below the 224th, whoever carries the requests.
#[tokio::test(flavor = "multi_thread")]
async fn apps_connections_leave_an_eighth_of_the_descriptors() {
    let limits = "limits: {streams_per_client: 1000}\noverload: {target: off}";
    let (proxy, origin) = start_with(256, limits).await;
    let base = proxy.open_files();
    let mut client = Http2::connect(proxy.address()).await;
    let mut streams = JoinSet::new();
    for _ in 0..300 {
        let pending = client.begin(get2("/hangs"), false).await;
        streams.spawn(pending.answer());
    }
    let refused = || proxy.log().matches("too few descriptors").count();
    eventually("each has a connection or is refused", async || {
        origin.open() + refused() >= 300
    })
    .await;
    for _ in 0..refused() {
        // Only a refusal is answered.
        let answer = streams.join_next().await.expect("one more");
        let answer = answer.expect("no panic");
        assert_eq!(
            (answer.status, &*answer.code()),
            (503, "TOO_MANY_CONNECTIONS")
        );
    }
    // Under the other engine a connection is made and closed at once. Of the last eighth nothing but a client's
    // connection or two is taken.
    eventually("the app has no more", async || proxy.open_files() < 230).await;
    // What was open at the beginning may have been closed since.
    let room = 224 - base;
    assert!(origin.open() > room - 10, "{} of {room}", origin.open());
    // Whoever has a connection goes on, an operator gets in, and an app.
    assert_eq!(proxy.api("GET", "/v1/status", None).await.status, 200);
    proxy.register("/new", origin.port()).await;
    assert!(
        proxy.log().contains("too few descriptors"),
        "{}",
        proxy.log()
    );
}

/// Kept connections of ordinary clients, each of which has cost an app's connection as well.
#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_of_two_clients_leave_descriptors_to_an_operator() {
    if !may_open(4096) {
        return;
    }
    let (proxy, origin) = start_with(1024, "overload: {target: off}").await;
    let mut kept = Vec::new();
    for address in ["192.0.2.1", "192.0.2.2"] {
        let mut clients = Vec::new();
        for _ in 0..600 {
            let source = "127.0.0.9".parse().expect("an address");
            let client = Client::connect_from(source, proxy.address()).await;
            let mut client = client.expect("a connection");
            let header = format!("PROXY TCP4 {address} 127.0.0.1 4000 80\r\n");
            // Refused ones are closed at once.
            if client.offer(header).await.is_ok() {
                clients.push(client);
            }
        }
        for client in &mut clients {
            drop(client.offer("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await);
        }
        kept.extend(clients);
    }
    eventually("they have their places", async || proxy.open_files() > 800).await;
    assert_eq!(proxy.api("GET", "/v1/status", None).await.status, 200);
    proxy.register("/new", origin.port()).await;
    eventually("they have left some", async || proxy.open_files() < 960).await;
}

/// The descriptors that are kept back are kept from apps' connections, too.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes a while, and thousands of descriptors: make test-all"]
async fn two_hundred_clients_of_a_hundred_streams_leave_descriptors_to_others() {
    if !may_open(16_384) {
        return;
    }
    let (proxy, origin) = start("overload: {target: off}").await;
    let (refused, crowd) = crowd(&proxy, |number| format!("192.0.2.{number}")).await;
    let (files, peak, upstream) = (proxy.open_files(), peak_kib(proxy.pid()), origin.open());
    eprintln!(
        "of 20,000 streams {refused} were refused; {upstream} connections to the app; {files} descriptors, \
         {peak} KiB"
    );
    assert!(
        refused > 20_000 - DESCRIPTORS as u64,
        "{refused} were refused"
    );
    assert!(files <= DESCRIPTORS / 16 * 15, "{files} descriptors");
    // The operator gets in, and so does an app.
    assert_eq!(proxy.api("GET", "/v1/status", None).await.status, 200);
    proxy.register("/new", origin.port()).await;
    assert!(!proxy.log().contains("os error 24"), "descriptors ran out");
    drop(crowd);
    eventually("the app is left alone", async || origin.open() < 20).await;
    others(&proxy, origin.port()).await;
}
