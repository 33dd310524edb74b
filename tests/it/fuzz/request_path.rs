//! Request targets, paths, hosts and prefixes from arbitrary bytes.

use dynamic_reverse_proxy::route::{
    HostPattern, PathPrefix, RequestHost, RequestPath, RequestTarget,
};

pub(super) fn run(data: &[u8]) {
    path(data);
    match RequestTarget::parse(data) {
        Ok(RequestTarget::Origin { path: raw, query }) => {
            let joined = query.map_or(raw.to_vec(), |query| [raw, b"?", query].concat());
            assert_eq!(joined, data);
            path(raw);
        }
        Ok(RequestTarget::Absolute {
            path: raw,
            authority,
            ..
        }) => {
            path(raw);
            host(authority);
        }
        Ok(RequestTarget::Authority(authority)) => host(authority),
        Ok(RequestTarget::Asterisk) | Err(_) => {}
    }
    if let Ok(text) = std::str::from_utf8(data) {
        host(text);
        prefix(text);
    }
}

fn path(raw: &[u8]) {
    if let Ok(path) = RequestPath::parse(raw) {
        let path = path.as_str();
        assert!(path.starts_with('/') && path.is_ascii());
        assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
        let again = RequestPath::parse(path.as_bytes()).expect("a path");
        assert_eq!(again.as_str(), path);
    }
}

fn host(text: &str) {
    if let Ok(host) = RequestHost::parse(text) {
        let name = host.as_str();
        assert_eq!(RequestHost::parse(name).expect("a host").as_str(), name);
        assert_eq!(
            HostPattern::parse(name).expect("a pattern").to_string(),
            name
        );
    }
    if let Ok(pattern) = HostPattern::parse(text) {
        assert_eq!(HostPattern::parse(&pattern.to_string()), Ok(pattern));
    }
}

/// A prefix is spelt as a request for it is.
fn prefix(text: &str) {
    if let Ok(prefix) = PathPrefix::parse(text) {
        assert_eq!(PathPrefix::parse(prefix.as_str()), Ok(prefix.clone()));
        let path = RequestPath::parse(prefix.as_str().as_bytes()).expect("a path");
        assert_eq!(path.as_str(), prefix.as_str());
    }
}
