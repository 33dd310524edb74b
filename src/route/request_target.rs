//! The target of a request line, taken apart.

/// A request's target in one of its four forms (RFC 9112, 3.2). Path and query are as they came; read
/// the path with [`RequestPath::parse`](super::RequestPath::parse).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestTarget<'a> {
    /// `/path?query`, the usual form (3.2.1).
    Origin {
        /// The path.
        path: &'a [u8],
        /// The text behind the first `?`, if there is one.
        query: Option<&'a [u8]>,
    },
    /// `http://authority/path?query`, as sent to a proxy (3.2.2).
    Absolute {
        /// The scheme, in the case that it came in.
        scheme: &'a str,
        /// The host and port, which overrule the `Host` field.
        authority: &'a str,
        /// The path, which may be empty.
        path: &'a [u8],
        /// The text behind the first `?`, if there is one.
        query: Option<&'a [u8]>,
    },
    /// `host:port`, for `CONNECT` (3.2.3).
    Authority(&'a str),
    /// `*`, for `OPTIONS` (3.2.4).
    Asterisk,
}

/// Why a text is no request target. Such a request deserves a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetFormError {
    /// Nothing was sent.
    #[error("the request target is empty; send a path such as /")]
    Empty,
    /// A `#`, which a client keeps to itself (RFC 9110, 4.2.5).
    #[error("the request target has a fragment; leave out # and what follows it")]
    Fragment,
    /// A scheme without a host behind it.
    #[error("the request target has no valid host; send scheme://host/path or /path")]
    NoAuthority,
    /// None of the four forms.
    #[error("the request target has none of the forms of RFC 9112; send a path that begins with /")]
    UnknownForm,
}

impl<'a> RequestTarget<'a> {
    /// Takes a request target apart. Neither host nor path is checked here.
    ///
    /// # Errors
    /// [`TargetFormError`] if it has none of the four forms.
    pub fn parse(raw: &'a [u8]) -> Result<Self, TargetFormError> {
        if memchr::memchr(b'#', raw).is_some() {
            return Err(TargetFormError::Fragment);
        }
        match raw {
            [] => Err(TargetFormError::Empty),
            [b'/', ..] => {
                let (path, query) = split_query(raw);
                Ok(Self::Origin { path, query })
            }
            b"*" => Ok(Self::Asterisk),
            _ => match split_scheme(raw) {
                Some((scheme, rest)) => absolute(scheme, rest),
                None => authority(raw),
            },
        }
    }

    /// The path as it came, in the two forms that have one.
    #[must_use]
    pub fn path(&self) -> Option<&'a [u8]> {
        match self {
            Self::Origin { path, .. } | Self::Absolute { path, .. } => Some(path),
            Self::Authority(_) | Self::Asterisk => None,
        }
    }
}

fn split_query(raw: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', raw).and_then(|at| raw.split_at_checked(at)) {
        Some((path, query)) => (path, query.get(1..)),
        None => (raw, None),
    }
}

/// The scheme (RFC 3986, 3.1) and what follows its `://`.
fn split_scheme(raw: &[u8]) -> Option<(&str, &[u8])> {
    let (scheme, rest) = raw.split_at_checked(memchr::memchr(b':', raw)?)?;
    let valid = scheme.first()?.is_ascii_alphabetic()
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let scheme = std::str::from_utf8(scheme).ok().filter(|_| valid)?;
    Some((scheme, rest.strip_prefix(b"://")?))
}

fn absolute<'a>(scheme: &'a str, rest: &'a [u8]) -> Result<RequestTarget<'a>, TargetFormError> {
    let (before, query) = split_query(rest);
    let end = memchr::memchr(b'/', before).unwrap_or(before.len());
    let (authority, path) = before.split_at_checked(end).unwrap_or((before, b""));
    match std::str::from_utf8(authority) {
        Ok(authority) if !authority.is_empty() => Ok(RequestTarget::Absolute {
            scheme,
            authority,
            path,
            query,
        }),
        _ => Err(TargetFormError::NoAuthority),
    }
}

fn authority(raw: &[u8]) -> Result<RequestTarget<'_>, TargetFormError> {
    let text = std::str::from_utf8(raw).map_err(|_not_text| TargetFormError::UnknownForm)?;
    match text.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty()
                && !host.contains(['/', '?', '@'])
                && !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit()) =>
        {
            Ok(RequestTarget::Authority(text))
        }
        _ => Err(TargetFormError::UnknownForm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin<'a>(path: &'a str, query: Option<&'a str>) -> RequestTarget<'a> {
        RequestTarget::Origin {
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
        }
    }

    fn absolute<'a>(
        scheme: &'a str,
        authority: &'a str,
        path: &'a str,
        query: Option<&'a str>,
    ) -> RequestTarget<'a> {
        let (path, query) = (path.as_bytes(), query.map(str::as_bytes));
        RequestTarget::Absolute {
            scheme,
            authority,
            path,
            query,
        }
    }

    #[test]
    fn each_form_is_taken_apart() {
        let cases = [
            ("/", origin("/", None)),
            ("/a?b", origin("/a", Some("b"))),
            ("/a?", origin("/a", Some(""))),
            ("/a?b?c=/%zz", origin("/a", Some("b?c=/%zz"))),
            ("//a/b", origin("//a/b", None)),
            ("/http://x", origin("/http://x", None)),
            ("http://h", absolute("http", "h", "", None)),
            ("http://h/p?q", absolute("http", "h", "/p", Some("q"))),
            ("HTTP://h:80?q/r", absolute("HTTP", "h:80", "", Some("q/r"))),
            ("h:443", RequestTarget::Authority("h:443")),
            ("[::1]:443", RequestTarget::Authority("[::1]:443")),
            ("*", RequestTarget::Asterisk),
        ];
        for (raw, target) in cases {
            assert_eq!(RequestTarget::parse(raw.as_bytes()), Ok(target), "{raw}");
        }
    }

    #[test]
    fn what_has_no_form_is_an_error() {
        let cases: [(&[u8], TargetFormError); 10] = [
            (b"", TargetFormError::Empty),
            (b"/a#b", TargetFormError::Fragment),
            (b"http://h/?q#", TargetFormError::Fragment),
            (b"http:///p", TargetFormError::NoAuthority),
            (b"http://\xff/", TargetFormError::NoAuthority),
            (b"a", TargetFormError::UnknownForm),
            (b"?q", TargetFormError::UnknownForm),
            (b"h:", TargetFormError::UnknownForm),
            (b"h:80/p", TargetFormError::UnknownForm),
            (b"1ttp://h", TargetFormError::UnknownForm),
        ];
        for (raw, error) in cases {
            assert_eq!(
                RequestTarget::parse(raw),
                Err(error),
                "{}",
                String::from_utf8_lossy(raw)
            );
        }
    }
}
