//! Texts with a form of their own, by name: their patterns say what the server takes.

use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};

pub(in crate::control) use crate::route::texts::{
    AskedPrefix, Drain, HostPattern, InstanceId, Owner, RequestHost,
};
use crate::route::texts::{custom, path, texts};

/// 1 to 65535.
const PORT_DIGITS: &str = "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}\
    |655[0-2][0-9]|6553[0-5])$";

texts! {
    Prefix: "A path prefix of whole segments, as it is kept.",
        |text| text.pattern(Some(path("[^/]|"))).max_length(Some(2048)).examples(["/shop"]);

    PathOfPrefix: "A path prefix without its first slash, as it stands in a path of this API. Between \
        segments the slash is written as it is: as `%2F` it would be another prefix.",
        |text| text.pattern(Some(r"^(?!\.\.?$)[^\u0000-\u001F\u007F-\u009F]+$")).examples(["shop"]);

    CertificateName: "The name of a certificate.",
        |text| text.pattern(Some("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")).examples(["site"]);

    CertificatePem: "A certificate and its chain, the certificate first: PEM (RFC 7468).",
        |text| custom(text, "pem-certificates").min_length(Some(1));

    KeyPem: "The private key of a certificate, not encrypted: PKCS#8, PKCS#1 or SEC1, PEM (RFC 7468).",
        |text| custom(text, "pem-private-key").min_length(Some(1));

    Port: "The port that the app listens on.",
        |text| text.schema_type(Type::Integer).minimum(Some(1)).maximum(Some(65535));

    PortDigits: "The port that the app listens on, as digits.",
        |text| text.pattern(Some(PORT_DIGITS));

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

    OpSet: "Changes settings.",
        |text| text.enum_values(Some(["set"]));

    OpLeave: "Removes an instance.",
        |text| text.enum_values(Some(["leave"]));
}
