//! Several worker threads: each has its share of the connections, however busy one of them was when they came.

use std::collections::{BTreeSet, HashSet};
use std::fs;

use crate::support::{Client, Origin, TestProxy, eventually, in_time};

/// How many of its connections to this port each of the process's pollers watches.
fn watched(proxy: &TestProxy) -> Vec<usize> {
    let process = format!("/proc/{}", proxy.pid());
    let connections = connections(proxy.port());
    let link = |number: &str| {
        let link = fs::read_link(format!("{process}/fd/{number}"));
        link.map(|link| link.to_string_lossy().into_owned())
    };
    // A poller may have two descriptors.
    let mut pollers = BTreeSet::<BTreeSet<String>>::new();
    for entry in fs::read_dir(format!("{process}/fd"))
        .expect("descriptors")
        .flatten()
    {
        let number = entry.file_name().to_string_lossy().into_owned();
        if !link(&number).is_ok_and(|link| link.contains("eventpoll")) {
            continue;
        }
        let info = fs::read_to_string(format!("{process}/fdinfo/{number}")).unwrap_or_default();
        let sockets = info.lines().filter_map(|line| line.strip_prefix("tfd:"));
        let sockets = sockets.filter_map(|rest| rest.split_whitespace().next());
        let sockets =
            sockets.filter(|socket| link(socket).is_ok_and(|link| connections.contains(&link)));
        pollers.insert(sockets.map(str::to_owned).collect());
    }
    let counts = pollers.iter().map(BTreeSet::len);
    let mut counts: Vec<_> = counts.filter(|count| *count > 0).collect();
    counts.sort_unstable();
    counts
}

/// The established connections that came to a port, by the name of their socket.
fn connections(port: u16) -> HashSet<String> {
    let table = fs::read_to_string("/proc/net/tcp").expect("connections");
    let local = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_one = words.get(1)?.ends_with(&local) && *words.get(3)? == "01";
            let inode = words.get(9)?;
            is_one.then(|| format!("socket:[{inode}]"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_come_while_a_worker_is_busy_are_shared() {
    let (endless, mut visitors) = Origin::by_hand().await;
    let quick = Origin::saying("ok").await;
    let mut proxy = TestProxy::start("threads: 2\nshutdown_grace: 1s").await;
    proxy.register("/endless", endless.port()).await;
    proxy.register("/quick", quick.port()).await;
    // Whichever worker has this connection has something to do all the time.
    let mut busy = proxy.client().await;
    busy.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await.expect("a request");
    visit.send("HTTP/1.1 200 OK\r\n\r\n").await;
    let sender = tokio::spawn(async move {
        let piece = vec![b'x'; 256 * 1024];
        while visit.offer(&piece).await.is_ok() {}
    });
    assert_eq!(busy.response_head().await.expect("a head").status, 200);
    let reader = tokio::spawn(async move { while !busy.piece().await.is_empty() {} });

    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(Client::connect(proxy.address()).await);
    }
    for client in &mut clients {
        assert_eq!(client.get("/quick").await.status, 200);
    }
    let counts = watched(&proxy);
    let [fewest, most] = counts[..] else {
        panic!("two workers have connections: {counts:?}");
    };
    assert_eq!(fewest + most, 201);
    assert!(most <= fewest + fewest / 8 + 8 + 1, "{counts:?}");

    // A connection that was handed on ends like any other.
    drop(clients);
    eventually("they are closed", async || watched(&proxy) == [1]).await;
    reader.abort();
    let ended = proxy.stop().await;
    assert!(ended.status.success(), "{:?}", ended.status);
    in_time("the app's end", sender).await.expect("no panic");
}
