//! Whether the case of a path matters.

/// Whether prefixes match with regard to ASCII case. Hosts never do (RFC 3986, 3.2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CaseSensitivity {
    /// `/shop` takes `/Shop`, and both are the same prefix.
    #[default]
    Insensitive,
    /// `/shop` and `/Shop` are two prefixes.
    Sensitive,
}
