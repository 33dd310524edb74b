//! What RFC 9113 and RFC 7541 demand of a server, rule by rule, as h2spec does it: frames by hand, and
//! what may come back. Where the proxy falls short is named in [`SHORT`], and a rule that it keeps
//! again has to leave that list.

mod connections;
mod flow;
mod frames;
mod hpack;
mod messages;

use std::net::SocketAddr;
use std::time::Duration;

use dynamic_reverse_proxy::server::{ListenerOptions, Options};
use futures_util::future::join_all;
use h2::Reason;
use tokio::time::timeout;

use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING,
    RST_STREAM, SETTINGS, WHOLE, block, frame,
};
use crate::support::{Embedded, Origin};

/// How long an outcome may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The rules that are not kept, and what h2 0.4 does instead.
const SHORT: &[(&str, &str)] = &[
    (
        "6.9.2 a setting that takes a window above 2^31-1",
        "resets the stream, and the connection goes on",
    ),
    (
        "8.1 trailers with a pseudo-header field",
        "takes the trailers without it; it reaches no origin",
    ),
    (
        "8.3.1 a :path with a fragment",
        "cuts the fragment off before anybody sees it; it reaches no origin",
    ),
];

/// The rules whose error ends the connection, as it should or may, but with `PROTOCOL_ERROR` where
/// there is a code that says more: h2 0.4 has one for all frames that it cannot read.
const GENERIC: &[&str] = &[
    "4.3 a block that cannot be decoded",
    "5.1 DATA after END_STREAM",
    "5.1 HEADERS after END_STREAM",
    "5.1 HEADERS after RST_STREAM",
    "6.3 PRIORITY of four bytes",
    "6.4 RST_STREAM of three bytes",
    "6.5 SETTINGS of five bytes",
    "6.5 an acknowledgement with a payload",
    "6.5.2 INITIAL_WINDOW_SIZE of 2^31",
    "6.7 PING of six bytes",
    "6.8 GOAWAY of seven bytes",
    "6.9 WINDOW_UPDATE of three bytes",
    "7541 2.3.3 a name that there is not",
    "7541 2.3.3 an entry that there is not",
    "7541 4.2 a change of size at the end",
    "7541 4.4 an entry that was evicted",
    "7541 5.1 an integer without an end",
    "7541 5.2 EOS in a string",
    "7541 5.2 a string that is cut off",
    "7541 5.2 padding of eight bits",
    "7541 5.2 padding of zeros",
    "7541 6.1 the index 0",
    "7541 6.3 a table above SETTINGS_HEADER_TABLE_SIZE",
];

/// One rule: what is sent after the preface and SETTINGS, and what may follow.
struct Case {
    rule: &'static str,
    steps: Vec<Step>,
    expected: Expected,
}

enum Step {
    Send(Vec<u8>),
    /// Wait for the end of a stream.
    Ended(u32),
}

/// What may come back.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// GOAWAY with one of these, and the end of the connection.
    Connection(&'static [Reason]),
    /// `RST_STREAM` with one of these; or the same as for the connection (RFC 9113, 5.4.2).
    Stream(&'static [Reason]),
    /// A stream error `PROTOCOL_ERROR`, or an answer of 4xx before it (RFC 9113, 8.1.1).
    Malformed,
    /// 200.
    Served,
    /// Nothing, and the connection goes on.
    Ignored,
}

/// What has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Connection(Reason),
    /// GOAWAY, and the connection stays open.
    StaysOpen(Reason),
    Stream(Reason),
    /// A status; 0 for one that is no entry of the static table.
    Answer(u16),
    Ignored,
    /// The end of the connection without GOAWAY.
    Closed,
    Nothing,
}

impl Expected {
    fn allows(self, outcome: Outcome) -> bool {
        match (self, outcome) {
            (Self::Connection(reasons), Outcome::Connection(reason))
            | (Self::Stream(reasons), Outcome::Stream(reason) | Outcome::Connection(reason)) => {
                reasons.contains(&reason)
            }
            (Self::Malformed, Outcome::Stream(reason) | Outcome::Connection(reason)) => {
                reason == Reason::PROTOCOL_ERROR
            }
            // 431 and 405, say, are no entries of the static table.
            (Self::Malformed, Outcome::Answer(status)) => status == 400 || status == 0,
            (Self::Served, Outcome::Answer(status)) => status == 200,
            (Self::Ignored, Outcome::Ignored) => true,
            _ => false,
        }
    }
}

/// The reasons, in short.
const PROTOCOL: Expected = Expected::Connection(&[Reason::PROTOCOL_ERROR]);
const SIZE: Expected = Expected::Connection(&[Reason::FRAME_SIZE_ERROR]);
const COMPRESSION: Expected = Expected::Connection(&[Reason::COMPRESSION_ERROR]);
const CLOSED: Expected = Expected::Stream(&[Reason::STREAM_CLOSED]);
use Expected::{Ignored, Malformed, Served};

const FIELDS: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "localhost"),
];

fn fields(method: &'static str, path: &'static str) -> Vec<u8> {
    let mut fields = FIELDS;
    fields[0].1 = method;
    fields[2].1 = path;
    block(&fields)
}

/// A whole request.
fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &fields("GET", "/"))
}

/// One that the origin never answers.
fn waiting(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &fields("GET", "/wait"))
}

/// One whose body is to come; the origin answers when it has it all.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields("POST", "/"))
}

/// A whole request with more fields, pseudo-header fields among them.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &block(&[&FIELDS[..], more].concat()))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

/// One setting.
fn setting(id: u16, value: u32) -> Vec<u8> {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

fn case<const N: usize>(rule: &'static str, expected: Expected, sent: [Vec<u8>; N]) -> Case {
    Case {
        rule,
        steps: vec![Step::Send(sent.into_iter().flatten().collect())],
        expected,
    }
}

/// A case that begins once stream 1 has been answered.
fn later<const N: usize>(rule: &'static str, expected: Expected, sent: [Vec<u8>; N]) -> Case {
    let steps = vec![
        Step::Send(get(1)),
        Step::Ended(1),
        Step::Send(sent.into_iter().flatten().collect()),
    ];
    Case {
        rule,
        steps,
        expected,
    }
}

/// The status of a header block as h2 encodes it.
fn status(block: &[u8]) -> u16 {
    // A change of the dynamic table's size may come first.
    let first = block.iter().find(|byte| **byte & 0xe0 != 0x20);
    match first.copied() {
        Some(0x88) => 200,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}

const FIRST: &[u8] = b"rule one";
const SECOND: &[u8] = b"rule two";

async fn outcome(frames: &mut Frames, expected: Expected) -> Outcome {
    if matches!(expected, Ignored) {
        frames.send(PING, 0, 0, FIRST).await;
    }
    while let Some(frame) = frames.next().await {
        match frame.kind {
            GOAWAY => {
                let reason = frame.reason();
                let end = timeout(TIMEOUT, frames.0.rest()).await;
                return end.map_or(Outcome::StaysOpen(reason), |_| Outcome::Connection(reason));
            }
            RST_STREAM => return Outcome::Stream(frame.reason()),
            HEADERS => return Outcome::Answer(status(&frame.payload)),
            // What is to be ignored has nothing behind it even after a second turn.
            PING if frame.flags & ACK != 0 && frame.payload == FIRST => {
                frames.send(PING, 0, 0, SECOND).await;
            }
            PING if frame.flags & ACK != 0 && frame.payload == SECOND => return Outcome::Ignored,
            _ => {}
        }
    }
    Outcome::Closed
}

async fn ended(frames: &mut Frames, stream: u32) {
    while let Some(frame) = frames.next().await {
        let may_end = matches!(frame.kind, DATA | HEADERS);
        if frame.stream == stream && may_end && frame.flags & END_STREAM != 0 {
            return;
        }
    }
    panic!("the stream {stream} has no end");
}

async fn run(address: SocketAddr, case: Case) -> (&'static str, Expected, Outcome) {
    let mut frames = Frames::connect(address).await;
    for step in case.steps {
        match step {
            // The proxy may have had enough.
            Step::Send(bytes) => drop(frames.0.offer(bytes).await),
            Step::Ended(stream) => ended(&mut frames, stream).await,
        }
    }
    let outcome = timeout(TIMEOUT, outcome(&mut frames, case.expected)).await;
    let outcome = outcome.unwrap_or(Outcome::Nothing);
    (case.rule, case.expected, outcome)
}

/// An origin that answers, but for `/wait`.
async fn origin() -> Origin {
    Origin::start(|mut visit| async move {
        while let Some(request) = visit.request().await {
            if request.target() == "/wait" {
                std::future::pending::<()>().await;
            }
            visit.answer(200, "hello").await;
        }
    })
    .await
}

/// A proxy in cleartext before it.
async fn before(origin: &Origin) -> Embedded {
    let mut options = Options::default();
    options.listener = ListenerOptions::default();
    options.listener.http2_cleartext = true;
    let proxy = Embedded::start(options);
    proxy.register("/", origin.port()).await;
    proxy
}

/// Tries the cases; says which of them end in another way than they should.
async fn check(cases: Vec<Case>) {
    let origin = origin().await;
    let proxy = before(&origin).await;
    let mut problems = Vec::new();
    let mut rules: Vec<_> = cases.iter().map(|case| case.rule).collect();
    for (rule, expected, outcome) in
        join_all(cases.into_iter().map(|case| run(proxy.address(), case))).await
    {
        let is_short = SHORT.iter().any(|(short, _)| *short == rule);
        let is_generic = GENERIC.contains(&rule);
        let as_expected = expected.allows(outcome);
        if as_expected && (is_short || is_generic) {
            problems.push(format!("{rule}: is kept, and named as a shortfall"));
        } else if is_generic && !PROTOCOL.allows(outcome)
            || !as_expected && !is_short && !is_generic
        {
            problems.push(format!("{rule}: {outcome:?}, not {expected:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    rules.sort_unstable();
    rules.dedup_by(|one, other| {
        assert_ne!(one, other, "two cases of one name");
        false
    });
}

/// A frame that comes next, of these kinds, within the time.
async fn next(frames: &mut Frames, kinds: &[u8]) -> Option<Frame> {
    let next = timeout(TIMEOUT, frames.next_of(kinds)).await;
    next.ok().flatten()
}

/// Half a header block, and what is left of it.
fn in_two(stream: u32) -> (Vec<u8>, Vec<u8>) {
    let block = fields("GET", "/");
    let (first, rest) = block.split_at(5);
    (
        frame(HEADERS, END_STREAM, stream, first),
        frame(CONTINUATION, END_HEADERS, stream, rest),
    )
}
