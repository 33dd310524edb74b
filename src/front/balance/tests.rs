//! Which worker has a connection, and how it gets there.

use std::task::Poll;

use super::*;

fn place(balance: &Balance<()>, index: usize, open: usize) {
    balance.0[index].open.store(open, Ordering::Relaxed);
}

#[test]
fn a_worker_hands_on_what_it_has_too_many_of() {
    let balance = Balance::<()>::new(3);
    let seat = balance.seat(0);
    for (own, others, expected) in [
        (0, [0, 0], None),
        (8, [0, 0], None),
        (9, [0, 5], Some(1)),
        (9, [5, 0], Some(2)),
        (98, [80, 90], None),
        (99, [80, 90], Some(1)),
        (5, [80, 90], None),
    ] {
        for (index, open) in [own, others[0], others[1]].into_iter().enumerate() {
            place(&balance, index, open);
        }
        let better = seat.better();
        let index = better.and_then(|better| {
            let is_it = |place: &Arc<Place<()>>| Arc::ptr_eq(place, better);
            balance.0.iter().position(is_it)
        });
        assert_eq!(index, expected, "{own} beside {others:?}");
    }
}

#[test]
fn a_connection_counts_until_it_is_dropped() {
    let balance = Balance::<()>::new(1);
    let seat = balance.seat(0);
    let counted = (seat.enter(), seat.enter());
    assert_eq!(balance.0[0].open(), 2);
    drop(counted);
    assert_eq!(balance.0[0].open(), 0);
    assert!(seat.better().is_none());
}

/// How many connections are handed on in the test.
const HANDED_ON: usize = 200;

#[test]
fn what_is_handed_on_to_a_busy_worker_waits_for_few_turns() {
    let balance = Balance::<()>::new(1);
    let seat = balance.seat(0);
    let mut arrivals = seat.arrivals().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let turns = runtime.block_on(async move {
        let taken = tokio::spawn(async move {
            for _ in 0..HANDED_ON {
                arrivals.recv().await.unwrap();
            }
        });
        tokio::task::yield_now().await;
        // From another thread, as the other workers do it.
        std::thread::spawn(move || {
            for _ in 0..HANDED_ON {
                let moving = Moving {
                    socket: socket.try_clone().unwrap(),
                    peer: None,
                };
                let place = seat.place().unwrap();
                let counted = place.enter();
                let arrival = Handover { moving, counted };
                assert!(place.arrivals.get().unwrap().send(arrival).is_ok());
            }
        })
        .join()
        .unwrap();
        // There is always something else to do.
        let mut turns = 0;
        let busy = std::future::poll_fn(move |context| {
            turns += 1;
            if taken.is_finished() {
                return Poll::Ready(turns);
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        tokio::spawn(busy).await.unwrap()
    });
    assert!(turns < HANDED_ON, "{turns} turns");
}
