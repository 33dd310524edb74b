use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::super::socket::Socket;
use super::*;
use crate::proxy::peer::Address;
use crate::route::{Endpoint, Target};

const NEW: u64 = u64::MAX;

/// Both ends of a connection to a path, which no instance is newer than.
fn pair(path: &str) -> (Socket, UnixStream) {
    pair_before(path, NEW)
}

/// Both ends of a connection to a path, made when the newest instance had this serial number.
fn pair_before(path: &str, newest: u64) -> (Socket, UnixStream) {
    let (own, other) = UnixStream::pair().unwrap();
    (Socket::unix(own, path, newest), other)
}

fn take(pool: &Pool<Socket>, path: &str) -> Option<Socket> {
    let target = Target::at(Endpoint::Unix(path.into()));
    pool.take(KeyRef::new(&target, Address::Unix(path)), NEW)
}

/// Waits for the end of a connection.
async fn ends(other: &mut UnixStream) {
    let mut byte = [0];
    let end = tokio::time::timeout(Duration::from_secs(10), other.read(&mut byte)).await;
    assert_eq!(end.expect("the end").unwrap(), 0);
}

fn count(pool: &Pool<Socket>) -> usize {
    let mut idle = pool.idle.lock();
    let all: usize = idle.to.values().map(VecDeque::len).sum();
    assert_eq!(all, idle.count);
    assert!(idle.order.len() <= 2 * all + MOST_USED);
    idle.forget_used();
    assert_eq!(all, idle.order.len());
    all
}

/// Which end of these pairs a connection is.
async fn is_to(mut socket: Socket, other: &mut UnixStream) -> bool {
    std::future::poll_fn(|context| socket.poll_write(context, b"x"))
        .await
        .unwrap();
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(10), other.read(&mut byte)).await;
    read.is_ok_and(|read| read.is_ok_and(|count| count == 1))
}

#[tokio::test]
async fn the_latest_to_a_key_is_used_first_and_none_to_another() {
    let pool = Arc::new(Pool::new(10, None));
    let (first, mut first_other) = pair("/a");
    let (second, mut second_other) = pair("/a");
    pool.keep(first);
    pool.keep(second);
    assert!(take(&pool, "/b").is_none());
    let target = Target::at(Endpoint::Unix("/a".into()));
    let inet = Address::Inet("127.0.0.1:1".parse().unwrap());
    assert!(pool.take(KeyRef::new(&target, inet), 0).is_none());
    for other in [&mut second_other, &mut first_other] {
        let taken = take(&pool, "/a").expect("a connection");
        assert!(is_to(taken, other).await);
    }
    assert!(take(&pool, "/a").is_none());
}

#[tokio::test]
async fn an_instance_is_given_none_that_is_older() {
    let pool = Arc::new(Pool::new(10, None));
    let (new, mut new_other) = pair_before("/a", 8);
    let (old, mut old_other) = pair_before("/a", 7);
    pool.keep(new);
    pool.keep(old);
    let target = Target::at(Endpoint::Unix("/a".into()));
    let to_a = |serial| pool.take(KeyRef::new(&target, Address::Unix("/a")), serial);
    assert!(to_a(9).is_none());
    assert!(is_to(to_a(8).expect("the new one"), &mut new_other).await);
    assert!(to_a(8).is_none());
    assert!(is_to(to_a(7).expect("the old one"), &mut old_other).await);
    assert_eq!(count(&pool), 0);
}

#[tokio::test]
async fn the_oldest_goes_when_there_are_too_many() {
    let pool = Arc::new(Pool::new(2, None));
    let mut others = Vec::new();
    for path in ["/0", "/1", "/2"] {
        let (own, other) = pair(path);
        pool.keep(own);
        others.push(other);
    }
    assert_eq!(count(&pool), 2);
    assert!(take(&pool, "/0").is_none());
    assert!(take(&pool, "/1").is_some() && take(&pool, "/2").is_some());
}

/// The order holds what is idle and not much more, however often connections are used.
#[tokio::test]
async fn the_oldest_is_known_after_many_uses() {
    let pool = Arc::new(Pool::new(3, None));
    let mut others = Vec::new();
    for path in ["/0", "/1", "/2"] {
        let (own, other) = pair(path);
        pool.keep(own);
        others.push(other);
    }
    for path in ["/0", "/1"].repeat(1000) {
        let socket = take(&pool, path).expect("a connection");
        pool.keep(socket);
        assert!(pool.idle.lock().order.len() <= 2 * 3 + MOST_USED);
    }
    let (new, _other) = pair("/new");
    pool.keep(new);
    assert_eq!(count(&pool), 3);
    assert!(take(&pool, "/2").is_none(), "idle for longest");
    for path in ["/0", "/1", "/new"] {
        assert!(take(&pool, path).is_some(), "{path}");
    }
}

#[tokio::test]
async fn what_a_target_has_closed_or_spoken_on_is_not_used() {
    let pool = Arc::new(Pool::new(10, None));
    let (closed, other) = pair("/a");
    let (spoken, mut speaker) = pair("/a");
    pool.keep(closed);
    pool.keep(spoken);
    drop(other);
    speaker.write_all(b"x").await.unwrap();
    // The news has to reach the runtime.
    tokio::time::timeout(Duration::from_secs(10), async {
        while count(&pool) > 0 {
            if let Some(socket) = take(&pool, "/a") {
                pool.keep(socket);
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("both are gone");
}

/// Whether the task sleeps until something happens.
fn is_asleep(pool: &Pool<Socket>) -> bool {
    pool.idle.lock().is_asleep
}

async fn falls_asleep(pool: &Pool<Socket>) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while !is_asleep(pool) {
            tokio::time::sleep(SHORTEST_PERIOD).await;
        }
    })
    .await
    .expect("it sleeps");
}

#[tokio::test]
async fn while_nothing_happens_nobody_looks_and_what_is_closed_goes_at_once() {
    let pool = Arc::new(Pool::new(10, None));
    let ((closed, other), (kept, mut kept_other)) = (pair("/a"), pair("/b"));
    pool.keep(closed);
    pool.keep(kept);
    falls_asleep(&pool).await;
    drop(other);
    tokio::time::timeout(Duration::from_secs(10), async {
        while count(&pool) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the task is woken");
    assert!(is_asleep(&pool), "and sleeps on");
    // Whoever comes is looked after.
    let (own, spoken) = pair("/a");
    pool.keep(own);
    assert!(!is_asleep(&pool));
    falls_asleep(&pool).await;
    assert!(is_to(take(&pool, "/b").expect("the other"), &mut kept_other).await);
    drop((spoken, pool));
}

#[tokio::test]
async fn what_is_idle_while_the_task_sleeps_goes_in_time() {
    let limit = Duration::from_secs(2);
    let pool = Arc::new(Pool::new(10, Some(limit)));
    let (own, mut other) = pair("/a");
    let begin = Instant::now();
    pool.keep(own);
    falls_asleep(&pool).await;
    ends(&mut other).await;
    assert!(begin.elapsed() >= limit);
}

#[tokio::test]
async fn nothing_is_idle_for_ever() {
    let pool = Arc::new(Pool::new(10, Some(Duration::from_millis(50))));
    let (own, mut other) = pair("/a");
    pool.keep(own);
    ends(&mut other).await;
    assert_eq!(count(&pool), 0);
    // And whoever comes later is looked after again.
    let (own, mut other) = pair("/a");
    pool.keep(own);
    ends(&mut other).await;
}
