//! What the fuzz targets (`fuzz/`) do, here with bytes at random for a moment.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // A fault is to end the test.
#![allow(clippy::similar_names)] // What is heard is of heads.

mod chunked;
mod cuts;
mod naive_chunks;
mod proxy_protocol;
mod request_head;
mod request_path;
mod response_head;
mod route_table;

/// Bytes at random, most of them from `alphabet`, so that they mean something.
fn random_bytes(alphabet: &[u8], most: usize) -> Vec<u8> {
    let byte = |_| match fastrand::u8(..) {
        0..8 => fastrand::u8(..),
        _ => *fastrand::choice(alphabet).expect("an alphabet"),
    };
    (0..fastrand::usize(..most)).map(byte).collect()
}

#[test]
fn the_route_table_holds_against_random_bytes() {
    fastrand::seed(1);
    for _ in 0..300 {
        route_table::run(&random_bytes(b"\0\x01\x02\x03/ab*-.\n", 2_000));
    }
}

#[test]
fn request_paths_hold_against_random_bytes() {
    fastrand::seed(2);
    for _ in 0..50_000 {
        request_path::run(&random_bytes(b"//../%2e%2E%5cab?*:@[]#", 40));
    }
}

/// Text in which some bytes are others, or gone, or repeated, behind two lengths of pieces.
fn varied(texts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![2, fastrand::u8(..60), fastrand::u8(..60)];
    bytes.extend_from_slice(fastrand::choice(texts).expect("a text"));
    for _ in 0..fastrand::usize(..4) {
        let (at, other) = (
            fastrand::usize(3..bytes.len()),
            fastrand::usize(3..bytes.len()),
        );
        match fastrand::u8(..5) {
            0 => bytes[at] = fastrand::u8(..),
            1 => bytes[at] = *fastrand::choice(b"\r\n \t:;,0f").expect("a byte"),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, bytes[other]),
            _ => {
                let part = bytes[at.min(other)..at.max(other)].to_vec();
                drop(bytes.splice(at..at, part));
            }
        }
    }
    bytes
}

#[test]
fn request_heads_hold_against_varied_ones() {
    fastrand::seed(3);
    for _ in 0..10_000 {
        request_head::run(&varied(&[
            b"GET /a/../b?c HTTP/1.1\r\nHost: a\r\nConnection: close, X-Own\r\nX-Own: 1\r\n\r\n",
            b"\r\nPOST http://b/ HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / HTTP/1.1\r\n",
            b"POST / HTTP/1.1\r\nHost:a:1\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"GET / HTTP/1.0\r\nX-Forwarded-For: x\r\nForwarded: for=x\r\nA: b\r\n\r\n",
        ]));
    }
}

#[test]
fn responses_hold_against_varied_ones() {
    fastrand::seed(4);
    for _ in 0..10_000 {
        let varied = varied(&[
            b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: a\r\n b\r\n\r\n5;a\r\nhello\r\n0\r\nA: b\r\n\r\n",
            b"HTTP/1.0 200\nConnection : close, X\n\nhello",
            b"HTTP/1.1 101 Switch\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
            b"HTTP/1.1 304 No\r\nContent-Length: 5\r\nX: a\x01b\r\n\r\n",
        ]);
        response_head::run(&[&[*fastrand::choice(b"BHU").expect("one")], &varied[..]].concat());
    }
}

#[test]
fn chunked_bodies_hold_against_varied_ones() {
    fastrand::seed(5);
    for _ in 0..10_000 {
        let varied = varied(&[
            b"5\r\nhello\r\nA;name=\"va;lue\"\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
            b"01 ;~a~\r\nx\r\n~0~0;~ ~\r\nName: value\r\n~b~\r\n\r\n",
            b"A0\r\n~x~\r\n0\r\n\r\n",
        ]);
        chunked::run(&[&[*fastrand::choice(b"~ ").expect("one")], &varied[..]].concat());
    }
}

#[test]
fn headers_of_the_proxy_protocol_hold_against_varied_ones() {
    fastrand::seed(6);
    for _ in 0..20_000 {
        let varied = varied(&[
            b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\nGET / HTTP/1.1\r\n",
            b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
            b"PROXY UNKNOWN ff:: x 1 2 3\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c0123456789ab\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x240123456789abcdef0123456789abcdef0123\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x02ab",
        ]);
        proxy_protocol::run(&varied[3..]);
    }
}
