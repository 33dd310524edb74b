//! Which HTTP client and which HTTP/2 server carry the requests.

/// The implementation that carries proxied requests. Both apply the same rules; the manual lists the
/// differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The proxy's own exchange; the default.
    #[default]
    Direct,
    /// Pingora's `HttpProxy`, and Pingora's own HTTP/2 sessions for clients of HTTP/2. It costs a multiple
    /// of the CPU. It is there to fall back to, should the own exchange be at fault, and to compare with.
    Pingora,
}
