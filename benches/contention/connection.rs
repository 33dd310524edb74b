//! What a connection, or a stream of HTTP/2, does to what all workers have: it is counted, and is in a
//! list where whoever takes an app down finds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dynamic_reverse_proxy::internals::Connections;
use parking_lot::Mutex;
use slab::Slab;

use super::measure::Case;

/// As it was: one count, a list for each of 16 threads, side by side, and whoever is in one keeps the
/// whole by its count.
#[derive(Default)]
struct Before {
    open: AtomicUsize,
    handles: [Mutex<Slab<Arc<AtomicUsize>>>; 16],
}

impl Before {
    fn pass(self: &Arc<Self>, thread: usize) {
        let counted = Arc::clone(self);
        self.open.fetch_add(1, Ordering::AcqRel);
        let handle = Arc::new(AtomicUsize::new(0));
        let found = Arc::clone(self);
        let Some(handles) = found.handles.get(thread % 16) else {
            return;
        };
        let key = handles.lock().insert(Arc::clone(&handle));
        handle.store(0, Ordering::Relaxed);
        handle.store(7, Ordering::SeqCst);
        drop(handles.lock().try_remove(key));
        counted.open.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) fn cases() -> Vec<Case<'static>> {
    let before = Arc::<Before>::default();
    let now = Arc::<Connections>::default();
    vec![
        Case::new(
            "connection: counted and listed, before",
            move |thread, meter| meter.ns(|| before.pass(thread)),
        ),
        Case::new(
            "connection: counted and listed, now",
            move |_thread, meter| meter.ns(|| now.pass(7)),
        ),
    ]
}
