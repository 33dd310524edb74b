//! Which HTTP client and which HTTP/2 server carry the requests.

/// What carries proxied requests. The rules for them are the same; the manual lists what the engines do
/// differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The proxy's own exchange; the default.
    #[default]
    Direct,
    /// Pingora's `HttpProxy`, and Pingora's own HTTP/2 sessions for clients of HTTP/2. It costs a multiple
    /// of the CPU. It is there to fall back to, should the own exchange be at fault, and to compare with.
    Pingora,
}
