//! Texts with a form of their own, by name: their patterns say what the server takes.

use std::borrow::Cow;

use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A label of a host name, and a name of labels (RFC 1035, and `_`).
const NAME: &str = r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?";

/// 1 to 65535.
const PORT_DIGITS: &str = "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}\
    |655[0-2][0-9]|6553[0-5])$";

/// Declares texts with a name: for each the schema, and what it says.
macro_rules! texts {
    ($($name:ident: $description:literal, $build:expr;)*) => {$(
        #[doc = $description]
        #[derive(Debug)]
        pub(in crate::control) struct $name;

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some($description));
                let build: fn(ObjectBuilder) -> ObjectBuilder = $build;
                Object::from(build(text)).into()
            }
        }
    )*};
}

texts! {
    HostPattern: "Request hosts: `*` for any, `example.com`, `*.example.com` for all below it, or an \
        address, an IPv6 one in brackets. Case does not count.",
        |text| text.pattern(Some(host_pattern())).max_length(Some(253)).examples(["*", "example.com"]);

    RequestHost: "Request hosts, but not any: `example.com`, `*.example.com` or an address.",
        |text| text.pattern(Some(format!(r"^((\*\.)?{NAME}|\[{}\])$", ipv6()))).max_length(Some(253))
            .examples(["example.com"]);

    Prefix: "A path prefix of whole segments, as it is kept.",
        |text| text.pattern(Some(path("[^/]|"))).max_length(Some(2048)).examples(["/shop"]);

    AskedPrefix: "A path prefix of whole segments, up to 2048 bytes. A missing slash at the front is \
        added, one at the end dropped, an escape of an unreserved character decoded.",
        |text| text.pattern(Some(path(""))).examples(["/shop"]);

    PathOfPrefix: "A path prefix without its first slash, as it stands in a path of this API. Between \
        segments the slash is written as it is: as `%2F` it would be another prefix.",
        |text| text.pattern(Some(r"^(?!\.\.?$)[^\u0000-\u001F\u007F]+$")).examples(["shop"]);

    InstanceId: "The name of an instance within its route.",
        |text| text.pattern(Some(r"^(?!\.\.?$)[A-Za-z0-9._~-]{1,64}$")).examples(["default"]);

    CertificateName: "The name of a certificate.",
        |text| text.pattern(Some("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")).examples(["site"]);

    CertificatePem: "A certificate and its chain, the certificate first: PEM (RFC 7468).",
        |text| custom(text, "pem-certificates").min_length(Some(1));

    KeyPem: "The private key of a certificate, not encrypted: PKCS#8, PKCS#1 or SEC1, PEM (RFC 7468).",
        |text| custom(text, "pem-private-key").min_length(Some(1));

    Owner: "Whose an instance is.",
        |text| text.pattern(Some(r"^[^\u0000-\u001F\u007F-\u009F]{1,64}$")).examples(["team-a"]);

    TargetHost: "Where the app is: a name that resolves, or an address; on loopback, unless \
        `targets.allow` says otherwise.",
        |text| custom(text, "target-host").default(Some("localhost".into())).examples(["localhost"]);

    Port: "The port that the app listens on.",
        |text| text.schema_type(Type::Integer).minimum(Some(1)).maximum(Some(65535));

    PortDigits: "The port that the app listens on, as digits.",
        |text| text.pattern(Some(PORT_DIGITS));

    UnixPath: "The absolute path of a Unix socket, up to 107 bytes, without `.`, `..` and `//`.",
        |text| text.pattern(Some(r"^(/(?!\.\.?(/|$))[ -.0-~]+)+$")).max_length(Some(107))
            .examples(["/run/apps/shop.sock"]);

    Protocol: "What is spoken with the app: HTTP/1.1, HTTP/2 without TLS, HTTP/2 with TLS (which needs \
        `https`), or what it chooses.",
        |text| text.enum_values(Some(["http1", "h2c", "h2", "auto"])).default(Some("http1".into()));

    TlsPolicy: "What becomes of requests in cleartext: they are served, sent on to https with a 308, or \
        refused with a 403.",
        |text| text.enum_values(Some(["optional", "redirect", "require"]));

    Hsts: "The field `Strict-Transport-Security` of answers over TLS (RFC 6797), unless the app sets it; \
        `off` for none.",
        |text| text.pattern(Some("^(off|max-age=(0|[1-9][0-9]{0,8})(; includeSubDomains)?(; preload)?)$"))
            .examples(["max-age=31536000; includeSubDomains"]);

    ClientCertificate: "Whether clients have to show a certificate that their listener believes; one \
        that shows none gets a 403.",
        |text| text.enum_values(Some(["optional", "require"]));

    Lease: "The length of a lease, with a unit, from `1s` to `30d`: `30s`, `1h30m`.",
        |text| custom(text, "lease").examples(["30s"]);

    Drain: "How long requests in flight may go on, with a unit, up to `24h`; then they are cut.",
        |text| custom(text, "drain").examples(["0s"]);

    Duration: "A length of time with units, `1h 30m`.",
        |text| custom(text, "duration-with-units").examples(["12s 300ms"]);

    Since: "A time (RFC 3339), or how long ago it was.",
        |text| custom(text, "time-or-duration").examples(["30m"]);

    Cursor: "The `next` of the page before.",
        |text| custom(text, "cursor").examples(["*/shop"]);

    Url: "A URL with its host, or a path alone for a request without a host.",
        |text| custom(text, "url-or-path").examples(["http://example.com/shop/cart"]);

    Time: "A time (RFC 3339).",
        |text| text.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));

    EntityTag: "The state of a route or of the set (RFC 9110, 8.8.3).",
        |text| text.pattern(Some(r#"^"[0-9a-f]{8}-[0-9]+"$"#));

    EntityTags: "Entity tags, separated by commas, or `*`: that there is one at all.",
        |text| custom(text, "entity-tags")
            .pattern(Some(r#"^(\*|(W/)?"[0-9A-Za-z._~-]+"(, ?(W/)?"[0-9A-Za-z._~-]+")*)$"#))
            .examples(["*"]);

    Star: "`*`: that there is none yet.",
        |text| text.enum_values(Some(["*"]));

    Code: "The reason for programs, in capitals: `NO_SUCH_ROUTE`.",
        |text| text.pattern(Some("^[A-Z][A-Z0-9_]*$")).examples(["NO_SUCH_ROUTE"]);

    OpPut: "Puts a route.",
        |text| text.enum_values(Some(["put"]));

    OpRemove: "Removes a route.",
        |text| text.enum_values(Some(["remove"]));

    OpJoin: "Puts an instance.",
        |text| text.enum_values(Some(["join"]));

    OpLeave: "Removes an instance.",
        |text| text.enum_values(Some(["leave"]));
}

fn custom(text: ObjectBuilder, format: &str) -> ObjectBuilder {
    text.format(Some(SchemaFormat::Custom(format.to_owned())))
}

fn host_pattern() -> String {
    format!(r"^(\*|(\*\.)?{NAME}|\[{}\])$", ipv6())
}

/// An IPv6 address (RFC 4291, 2.2), without one of IPv4 in it.
fn ipv6() -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let mut forms = vec![format!("({group}:){{7}}{group}")];
    for before in 1..=6 {
        let after = 7 - before;
        forms.push(format!("({group}:){{1,{before}}}(:{group}){{1,{after}}}"));
    }
    forms.push(format!("({group}:){{1,7}}:"));
    forms.push(format!(":((:{group}){{1,7}}|:)"));
    format!("({})", forms.join("|"))
}

/// Characters of a path and escapes (RFC 3986, 3.3), but no segment that is `.` or `..`, and no `%2E`,
/// which is a dot; and what else it does not begin with.
fn path(not: &str) -> String {
    let escape = "%([3-689A-Fa-f][0-9A-Fa-f]|2[0-9A-DFa-df]|7[0-9A-Ea-e])";
    let plain = r"[A-Za-z0-9_~!$&'()*+,;=:@/\[\].-]";
    format!(r"^(?!{not}(.*/)?\.\.?(/|$))({plain}|{escape})+$")
}
