//! HTTP/2 on both sides, as gRPC needs it: bodies that flow both ways at once, and trailers.

use bytes::Bytes;
use dynamic_reverse_proxy::registry::{Destination, Registration};
use dynamic_reverse_proxy::route::Protocol;
use dynamic_reverse_proxy::server::{ListenerOptions, Options};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::support::http2::{Frames, GOAWAY, HEADERS, Http2, Pending, SETTINGS, request};
use crate::support::{Embedded, Wire, in_time};

/// What a client's connection begins with (RFC 9113, 3.4).
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An app that sends back every piece of a body as it comes, and says in its trailers how it went.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

async fn serve(stream: TcpStream) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond));
    }
}

/// An app that refuses streams, so many times.
async fn refusing(times: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for _ in 0..times {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            respond.send_reset(Reason::REFUSED_STREAM);
            tokio::spawn(async move {
                drop(request);
                while connection.accept().await.is_some() {}
            });
        }
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream).await;
    });
    port
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let te = request.headers().get("te").cloned();
    if request.uri().path() == "/none" {
        // Nothing but trailers, as a call that fails at once has it.
        let mut refused = Response::new(());
        refused
            .headers_mut()
            .insert("grpc-status", HeaderValue::from_static("12"));
        respond.send_response(refused, true).unwrap();
        return;
    }
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    let mut body = request.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        answer.send_data(piece, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    if let Some(te) = te {
        trailers.insert("te-was", te);
    }
    let of_request = body.trailers().await.unwrap();
    trailers.insert("fields", of_request.map_or(0, |fields| fields.len()).into());
    answer.send_trailers(trailers).unwrap();
}

/// An app whose first connection sends GOAWAY and leaves a request unprocessed.
async fn leaving() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut frames = Frames(Wire::new(stream));
        frames.0.bytes(PREFACE.len()).await;
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames.next_of(&[HEADERS]).await.unwrap();
        // No stream was processed, and there is no error.
        frames.send(GOAWAY, 0, 0, &[0; 8]).await;
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream).await;
    });
    port
}

/// A proxy that speaks HTTP/2 on both sides.
async fn proxy() -> Embedded {
    proxy_of(echo().await).await
}

async fn proxy_of(port: u16) -> Embedded {
    let mut options = Options::default();
    options.listener = ListenerOptions::default();
    options.listener.http2_cleartext = true;
    let proxy = Embedded::start(options);
    let app = Destination::local(port.try_into().unwrap());
    let app = app.speaking(Protocol::H2c, None).unwrap();
    let registration = Registration::new("/", port).unwrap().to(app);
    proxy.proxy.register_route(registration).await.unwrap();
    proxy
}

fn call() -> Request<()> {
    let mut call = request(Method::POST, "/shop.Cart/Watch");
    let fields = call.headers_mut();
    fields.insert("te", HeaderValue::from_static("trailers"));
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    call
}

/// The answer's body, and the client's half of the stream; nothing has been sent on it.
async fn begin(client: &mut Http2) -> (SendStream<Bytes>, RecvStream) {
    let Pending { response, body } = client.begin(call(), true).await;
    let response = in_time("the head of an answer", response).await.unwrap();
    assert_eq!(response.status(), 200);
    (body, response.into_body())
}

async fn piece(answer: &mut RecvStream) -> Option<Bytes> {
    let piece = in_time("a piece", answer.data()).await?.unwrap();
    answer.flow_control().release_capacity(piece.len()).unwrap();
    Some(piece)
}

async fn trailers(answer: &mut RecvStream) -> HeaderMap {
    let trailers = in_time("trailers", answer.trailers()).await.unwrap();
    trailers.expect("an answer with trailers")
}

#[tokio::test]
async fn bodies_flow_both_ways_at_once_and_the_answers_trailers_arrive() {
    let proxy = proxy().await;
    let mut client = Http2::connect(proxy.address()).await;
    let (mut body, mut answer) = begin(&mut client).await;
    for text in ["one", "two", "three"] {
        body.send_data(Bytes::from(text), false).unwrap();
        // Only then the next: nothing is kept back until the end.
        assert_eq!(piece(&mut answer).await.unwrap(), text);
    }
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(piece(&mut answer).await, None);
    let trailers = trailers(&mut answer).await;
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["te-was"], "trailers");
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let proxy = proxy().await;
    let mut client = Http2::connect(proxy.address()).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(begin(&mut client).await);
    }
    for (number, (body, answer)) in calls.iter_mut().enumerate().rev() {
        let text = format!("call {number}");
        body.send_data(Bytes::from(text.clone()), true).unwrap();
        assert_eq!(piece(answer).await.unwrap(), text);
        assert_eq!(trailers(answer).await["grpc-status"], "0");
    }
}

#[tokio::test]
async fn a_call_that_fails_at_once_has_its_status() {
    let proxy = proxy().await;
    let mut client = Http2::connect(proxy.address()).await;
    let refused = client.begin(request(Method::POST, "/none"), false).await;
    let refused = in_time("an answer", refused.response).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "12");
    assert!(refused.into_body().is_end_stream());
}

#[tokio::test]
async fn what_is_no_call_is_refused_as_ever() {
    let mut options = Options::default();
    options.listener = ListenerOptions::default();
    options.listener.http2_cleartext = true;
    let proxy = Embedded::start(options);
    let mut client = Http2::connect(proxy.address()).await;
    let mut web = call();
    let media_type = HeaderValue::from_static("application/grpc-web+proto");
    web.headers_mut().insert("content-type", media_type);
    let answer = client.send(web).await;
    assert_eq!((answer.status, &*answer.code()), (501, "NOT_FOUND"));
    // There is no gRPC over HTTP/1.
    let request = "POST /shop.Cart/Watch HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\
                   Content-Type: application/grpc\r\n\r\n";
    let answer = proxy.client().await.exchange(request).await;
    assert_eq!(answer.status, 501);
    // What is one has fields alone.
    let pending = client.begin(call(), false).await;
    let answer = in_time("an answer", pending.response).await.unwrap();
    assert_eq!(answer.status(), 200);
    let fields = answer.headers();
    assert_eq!(fields["content-type"], "application/grpc");
    assert_eq!(fields["grpc-status"], "12");
    let message = "No app is registered for this path.";
    assert_eq!(fields["grpc-message"], message);
    assert!(fields.contains_key("x-request-id") && answer.into_body().is_end_stream());
}

/// RFC 9113, 8.7: what was refused has not been looked at, whatever its method is.
#[tokio::test]
async fn a_call_that_is_refused_is_made_again_once() {
    let apps = [
        (refusing(1).await, "0"),
        (leaving().await, "0"),
        (refusing(2).await, "14"),
    ];
    for (port, expected) in apps {
        let proxy = proxy_of(port).await;
        let mut client = Http2::connect(proxy.address()).await;
        let Pending { response, mut body } = client.begin(call(), true).await;
        body.send_data(Bytes::from("once"), true).unwrap();
        let response = in_time("an answer", response).await.unwrap();
        assert_eq!(response.status(), 200);
        if let Some(status) = response.headers().get("grpc-status") {
            assert_eq!(status, expected);
            assert!(response.into_body().is_end_stream());
            continue;
        }
        let mut answer = response.into_body();
        assert_eq!(piece(&mut answer).await.unwrap(), "once");
        assert_eq!(trailers(&mut answer).await["grpc-status"], expected);
    }
}

/// Pingora has no place for a request's trailers; gRPC has none.
#[tokio::test]
async fn a_requests_trailers_are_left_out_and_do_no_harm() {
    let proxy = proxy().await;
    let mut client = Http2::connect(proxy.address()).await;
    let (mut body, mut answer) = begin(&mut client).await;
    body.send_data(Bytes::from("all"), false).unwrap();
    let mut fields = HeaderMap::new();
    fields.insert("checksum", HeaderValue::from_static("1"));
    body.send_trailers(fields).unwrap();
    assert_eq!(piece(&mut answer).await.unwrap(), "all");
    let trailers = trailers(&mut answer).await;
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["fields"], "0", "the app got some");
}
