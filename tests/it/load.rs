//! Much at once: registrations beside traffic that must not notice; and an app as people have it.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    App, Client, Origin, Socket, TestProxy, in_time, pattern, registration, request,
};

/// How long apps go on registering, and how often.
const SPAN: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(20);

/// What nobody who is not registering may notice: longer than this. Two cores have to carry the
/// proxy, every origin and all other tests meanwhile, hence the room.
const NOTICED: Duration = Duration::from_secs(1);

/// The pieces of the slow download: one every so often, until the registrations are over.
const PIECE: usize = 1024;
const PIECES: usize = 4000;

/// Registers new prefixes and old ones in turn, on connections of their own, and says how often.
async fn register_all_the_time(proxy: &TestProxy, port: u16) -> usize {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < SPAN {
        ticks.tick().await;
        let prefix = if count % 2 == 0 { count } else { count % 10 };
        let body = format!("{{\"prefix\": \"/app/{prefix}\", \"port\": {port}}}");
        let response = request(proxy.address(), registration(body)).await;
        assert_eq!(response.status, 200, "{}", response.text());
        count += 1;
    }
    count
}

/// Echoes every 10 ms until the span is over; the worst round trip and how many there were.
fn chatter(mut socket: Socket) -> JoinHandle<(Duration, usize)> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut worst, mut count) = (Duration::ZERO, 0);
        let begin = Instant::now();
        while begin.elapsed() < SPAN {
            ticks.tick().await;
            let sent = Instant::now();
            socket.echo(Message::text(count.to_string())).await;
            worst = worst.max(sent.elapsed());
            count += 1;
        }
        (worst, count)
    })
}

/// Reads a body of a known length; the worst gap between two pieces of it, and whether it is right.
fn download(mut client: Client, body: Vec<u8>) -> JoinHandle<Duration> {
    tokio::spawn(async move {
        let head = client.response_head().await.expect("an answer");
        let length = body.len().to_string();
        assert_eq!(head.field("content-length"), Some(length.as_str()));
        let (mut worst, mut last) = (Duration::ZERO, Instant::now());
        let mut seen = 0;
        while seen < body.len() {
            let piece = client.piece().await;
            assert!(!piece.is_empty(), "cut after {seen} bytes");
            assert!(piece == body[seen..seen + piece.len()], "others at {seen}");
            seen += piece.len();
            worst = worst.max(last.elapsed());
            last = Instant::now();
        }
        worst
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_disturb_nobody() {
    let chat = Origin::websocket().await;
    let (files, mut visitors) = Origin::by_hand().await;
    let app = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/chat", chat.port()).await;
    proxy.register("/files", files.port()).await;

    let chatter = chatter(Socket::open(&proxy, "/chat").await);
    let body = pattern(PIECE * PIECES);
    let mut client = proxy.client().await;
    client.send("GET /files HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await.expect("a request");
    let source = body.clone();
    let sender = tokio::spawn(async move {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            source.len()
        );
        visit.send(head).await;
        let mut ticks = tokio::time::interval(SPAN / u32::try_from(PIECES).unwrap());
        for piece in source.chunks(PIECE) {
            ticks.tick().await;
            visit.send(piece).await;
        }
        visit
    });
    let download = download(client, body);

    let count = register_all_the_time(&proxy, app.port()).await;
    let (worst_echo, echoes) = in_time("the chat", chatter).await.expect("no panic");
    let worst_gap = in_time("the download", download).await.expect("no panic");
    in_time("the files", sender).await.expect("no panic");
    eprintln!(
        "{count} registrations in {SPAN:?}: worst round trip of {echoes} is {worst_echo:?}, \
         worst gap of a download {worst_gap:?}"
    );
    // Fewer when the machine is busy; that they were made at all is what matters here.
    assert!(count > 500, "{count} registrations");
    assert!(worst_echo < NOTICED, "an echo took {worst_echo:?}");
    assert!(worst_gap < NOTICED, "a gap of {worst_gap:?}");
    let last = request(proxy.address(), "GET /app/0/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(last.await.text(), "app");
}

/// Python's own file server, which speaks HTTP/1.0 unless it is told otherwise.
async fn python(folder: &std::path::Path, arguments: &[&str]) -> Option<App> {
    let folder = folder.to_str().expect("a path in UTF-8");
    let mut all = vec!["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"];
    all.extend(["--directory", folder]);
    all.extend(arguments);
    App::start("python3", &all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_file_server_is_served() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = pattern(3_000_000);
    std::fs::create_dir(folder.path().join("sub")).expect("a directory");
    std::fs::write(folder.path().join("data.bin"), &data).expect("a file");
    std::fs::write(folder.path().join("sub/a page.html"), "<p>hello").expect("a file");
    for arguments in [&[][..], &["--protocol", "HTTP/1.1"][..]] {
        let Some(app) = python(folder.path(), arguments).await else {
            return;
        };
        let proxy = TestProxy::plain().await;
        proxy.register("/", app.port()).await;
        browse(&proxy, &data).await;
    }
}

async fn browse(proxy: &TestProxy, data: &[u8]) {
    let mut client = proxy.client().await;
    let index = client.get("/").await;
    assert_eq!(index.status, 200);
    assert!(index.text().contains("data.bin"), "{}", index.text());
    let page = client.get("/sub/a%20page.html").await;
    assert_eq!(page.text(), "<p>hello");
    assert_eq!(page.field("content-type"), Some("text/html"));
    let moved = client.get("/sub").await;
    assert_eq!(
        (moved.status, moved.field("location")),
        (301, Some("/sub/"))
    );
    assert_eq!(client.get("/none").await.status, 404);

    let file = client.get("/data.bin").await;
    assert!(file.body == data, "another file came");
    assert_eq!(file.field("content-length"), Some("3000000"));
    let modified = file.field("last-modified").expect("a date").to_owned();
    let again = client
        .exchange(format!(
            "GET /data.bin HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: {modified}\r\n\r\n"
        ))
        .await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = client
        .exchange("HEAD /data.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(head.field("content-length"), Some("3000000"));
    // It knows no ranges: the whole file, as when it is asked itself.
    let range = client
        .exchange("GET /data.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n")
        .await;
    assert_eq!((range.status, range.body.len()), (200, data.len()));
    let refused = client
        .exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(refused.status, 501);
}
