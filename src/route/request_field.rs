//! The fields of a request by their names: which pass to an app as they are, and which the proxy guards.

use smallvec::SmallVec;

/// The treatment of a field on its way to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldAction {
    /// It goes on as it is.
    Passes,
    /// It is for this hop, or a claim that only the proxy may make.
    Ends,
    /// Where the body ends: the proxy says it anew.
    Length,
    Host,
    Te,
    Expect,
    /// The addresses that the request came from so far.
    ForwardedFor,
    Forwarded,
    /// Claims that stand if the client is trusted.
    ForwardedProto,
    ForwardedPort,
    ForwardedHost,
    Claim,
}

/// The treatment of a field by its name, in any case; `id_field` is the field for the id of a request
/// (`request_id.field`), which ends as well.
pub(crate) fn field_action(name: &[u8], id_field: &str) -> FieldAction {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    // Lengths first: most fields are none of these.
    let action = match name.len() {
        2 if is("te") => FieldAction::Te,
        4 if is("host") => FieldAction::Host,
        7 if is("trailer") || is("upgrade") => FieldAction::Ends,
        6 if is("expect") => FieldAction::Expect,
        9 if is("forwarded") => FieldAction::Forwarded,
        9 if is("x-real-ip") => FieldAction::Claim,
        10 if is("connection") || is("keep-alive") => FieldAction::Ends,
        13 if is("x-rewrite-url") => FieldAction::Claim,
        14 if is("http2-settings") => FieldAction::Ends,
        14 if is("content-length") => FieldAction::Length,
        14 if is("x-original-url") => FieldAction::Claim,
        15 if is("x-forwarded-for") => FieldAction::ForwardedFor,
        16 if is("x-forwarded-host") => FieldAction::ForwardedHost,
        16 if is("x-forwarded-port") => FieldAction::ForwardedPort,
        16 if is("proxy-connection") => FieldAction::Ends,
        17 if is("x-forwarded-proto") => FieldAction::ForwardedProto,
        17 if is("transfer-encoding") => FieldAction::Ends,
        18 if is("proxy-authenticate") => FieldAction::Ends,
        19 if is("proxy-authorization") => FieldAction::Ends,
        _ if is_forwarding(name) => FieldAction::Claim,
        _ => FieldAction::Passes,
    };
    let is_ours = || (name.len() == id_field.len() && is(id_field)) || is_client_certificate(name);
    if action == FieldAction::Passes && (is_ours() || shadows(name, id_field)) {
        FieldAction::Ends
    } else {
        action
    }
}

/// `X-Forwarded-Prefix`, `-Server`, `-Scheme`, `-Ssl` and whatever else somebody believes.
fn is_forwarding(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Whether a name is another spelling of one that does not simply pass: CGI, WSGI and PHP make one
/// variable of `X_Forwarded_For`, `X.Forwarded.For` and `X-Forwarded-For`.
fn shadows(name: &[u8], id_field: &str) -> bool {
    let is_other = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'-';
    if !name.iter().any(is_other) {
        return false;
    }
    let hyphenated = |name: &[u8]| -> SmallVec<[u8; 40]> {
        let letter = |byte: &u8| if is_other(byte) { b'-' } else { *byte };
        name.iter().map(letter).collect()
    };
    let id_field = hyphenated(id_field.as_bytes());
    let id_field = std::str::from_utf8(&id_field).unwrap_or_default();
    field_action(&hyphenated(name), id_field) != FieldAction::Passes
}

/// Whether a field, by its name in any case, would be taken for one of those that tell an app about the
/// client's certificate: `-`, `_` and often every other sign are the same to apps that see fields as
/// variables of an environment (RFC 3875, 4.1.18).
fn is_client_certificate(name: &[u8]) -> bool {
    let begins = |own: &str| {
        let same = |(own, other): (u8, &u8)| {
            own.eq_ignore_ascii_case(other) || (own == b'-' && !other.is_ascii_alphanumeric())
        };
        own.len() <= name.len() && own.bytes().zip(name).all(same)
    };
    match name.first() {
        Some(b'c' | b'C') if name.len() == 11 => begins("client-cert"),
        Some(b'c' | b'C') => name.len() == 17 && begins("client-cert-chain"),
        Some(b'x' | b'X') => begins("x-client-cert-"),
        _ => false,
    }
}

/// Whether a field has a treatment of its own, whatever carries the id of a request: nothing else can be
/// written under its name.
pub(crate) fn is_guarded_field(name: &str) -> bool {
    field_action(name.as_bytes(), "") != FieldAction::Passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_taken_for_the_fields_of_a_certificate_is_known() {
        for (name, expected) in [
            ("client-cert", true),
            ("client_cert", true),
            ("client.cert", true),
            ("x~client+cert.subject", true),
            ("client-cert-chain", true),
            ("client_cert-chain", true),
            ("x-client-cert-subject", true),
            ("x_client_cert_subject", true),
            ("x-client-cert-", true),
            ("x-client-cert", false),
            ("client-certs", false),
            ("client-cert-other", false),
            ("client-id", false),
            ("cookie", false),
            ("x-client", false),
            ("xylophone-cert-", false),
        ] {
            assert_eq!(is_client_certificate(name.as_bytes()), expected, "{name}");
        }
    }
}
