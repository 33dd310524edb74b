//! The rules of the data path, as pure functions over fields: what an upstream is sent, what of its
//! response reaches the client, which failure is which reply, when a request may be sent again, who may
//! keep an exchange waiting. Whatever carries a request calls them; none of them does I/O.

pub(super) mod failure;
pub(super) mod forwarding;
pub(super) mod request;
pub(super) mod response;
pub(super) mod retry;
pub(super) mod timeouts;
