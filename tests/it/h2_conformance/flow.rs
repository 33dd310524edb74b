//! RFC 9113, 6.9: the windows of a client.

use super::*;
use crate::support::http2::WINDOW_UPDATE;

/// How many bytes of DATA come for a stream before its end or before the proxy has no more to send.
async fn received(frames: &mut Frames, wanted: usize) -> (usize, bool) {
    let mut count = 0;
    while count < wanted {
        let Some(frame) = next(frames, &[DATA, RST_STREAM, GOAWAY]).await else {
            panic!("{count} of {wanted} bytes have come");
        };
        assert_eq!(frame.kind, DATA, "{frame:?}");
        count += frame.payload.len();
        if frame.flags & END_STREAM != 0 {
            return (count, true);
        }
    }
    // No more than what was wanted: a PING is answered first.
    frames.send(PING, 0, 0, FIRST).await;
    let more = next(frames, &[DATA, PING]).await.expect("a frame");
    assert_eq!(more.kind, PING, "more than the window allows: {more:?}");
    (count, false)
}

async fn grow(frames: &mut Frames, stream: u32, by: u32) {
    let by = by.to_be_bytes();
    frames.send(WINDOW_UPDATE, 0, stream, &by).await;
}

#[tokio::test]
async fn a_streams_window_is_kept() {
    let origin = origin().await;
    let proxy = before(&origin).await;
    let mut frames = Frames::connect(proxy.address()).await;
    frames.0.send(setting(4, 1)).await;
    frames.0.send(get(1)).await;
    assert_eq!(received(&mut frames, 1).await, (1, false));
    // 6.9.2: a change of the setting changes the windows of all streams.
    frames.0.send(setting(4, 3)).await;
    assert_eq!(received(&mut frames, 2).await, (2, false));
    // Below nothing: what comes next fills the debt first.
    frames.0.send(setting(4, 1)).await;
    grow(&mut frames, 1, 2).await;
    frames.send(PING, 0, 0, SECOND).await;
    let pong = next(&mut frames, &[DATA, PING]).await.expect("a frame");
    assert_eq!(pong.kind, PING, "{pong:?}");
    grow(&mut frames, 1, 1).await;
    assert_eq!(received(&mut frames, 1).await, (1, false));
    grow(&mut frames, 1, 100).await;
    assert_eq!(received(&mut frames, 2).await, (1, true));
}

#[tokio::test]
async fn the_connections_window_is_kept() {
    const SIZE: usize = 200_000;
    let origin = Origin::start(|mut visit| async move {
        while visit.request().await.is_some() {
            visit.answer(200, vec![b'x'; SIZE]).await;
        }
    })
    .await;
    let proxy = before(&origin).await;
    let mut frames = Frames::connect(proxy.address()).await;
    // A stream may take all; the connection has what RFC 9113, 6.9.2 gives it.
    frames.0.send(setting(4, 1 << 20)).await;
    frames.0.send(get(1)).await;
    assert_eq!(received(&mut frames, 65_535).await, (65_535, false));
    grow(&mut frames, 0, 1000).await;
    assert_eq!(received(&mut frames, 1000).await, (1000, false));
    grow(&mut frames, 0, 1 << 20).await;
    let rest = SIZE - 66_535;
    assert_eq!(received(&mut frames, rest).await, (rest, true));
}

#[tokio::test]
async fn frames_are_no_longer_than_the_client_takes() {
    let origin = Origin::start(|mut visit| async move {
        while visit.request().await.is_some() {
            visit.answer(200, vec![b'x'; 60_000]).await;
        }
    })
    .await;
    let proxy = before(&origin).await;
    let mut frames = Frames::connect(proxy.address()).await;
    frames.0.send(get(1)).await;
    let mut count = 0;
    while count < 60_000 {
        let data = next(&mut frames, &[DATA]).await.expect("DATA");
        assert!(data.payload.len() <= 16_384, "{}", data.payload.len());
        count += data.payload.len();
    }
}
