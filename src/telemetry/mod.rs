//! What the proxy writes about itself: so far its log.

pub(crate) mod log;
