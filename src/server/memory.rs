//! Memory that is free goes back to the system.
//!
//! jemalloc gives pages back some seconds after they have become free, but does so while it allocates: a
//! process that has nothing to do keeps what its last large call has freed. A thread of jemalloc's own
//! does it in time; it sleeps for as long as there is nothing to give back.

/// Starts that thread, after the step into the background, which threads do not survive.
#[cfg(feature = "jemalloc")]
pub(super) fn give_back() {
    use tikv_jemalloc_ctl::{background_thread, max_background_threads};
    // One is enough for all arenas, and wakes less.
    let started = max_background_threads::write(1).and_then(|()| background_thread::write(true));
    if let Err(error) = started {
        log::warn!("freed memory goes back to the system only while the proxy is busy: {error}");
    }
}

/// Another allocator has its own ways.
#[cfg(not(feature = "jemalloc"))]
pub(super) fn give_back() {}
