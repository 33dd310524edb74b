//! Texts with a form of their own, by name, for the description of the API.

use std::borrow::Cow;

use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};

/// A label of a host name, and a name of labels (RFC 1035, and `_`).
const NAME: &str = r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?";

/// The schema of a text.
pub(crate) fn text(description: &str, build: fn(ObjectBuilder) -> ObjectBuilder) -> RefOr<Schema> {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description));
    Object::from(build(text)).into()
}

/// A text with a format that is the proxy's own.
pub(crate) fn custom(text: ObjectBuilder, format: &str) -> ObjectBuilder {
    text.format(Some(SchemaFormat::Custom(format.to_owned())))
}

/// The name of a schema.
pub(crate) fn named(name: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(name)
}

/// Describes a type that is written as a text.
macro_rules! describe_text {
    ($name:ident, $description:expr, $build:expr) => {
        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                $crate::route::texts::named(stringify!($name))
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $crate::route::texts::text($description, $build)
            }
        }
    };
}

/// Declares texts with a name: for each the schema, and what it says.
macro_rules! texts {
    ($($name:ident: $description:literal, $build:expr;)*) => {$(
        #[doc = $description]
        #[derive(Debug)]
        pub(crate) struct $name;

        $crate::route::texts::describe_text!($name, $description, $build);
    )*};
}

pub(crate) use describe_text;
pub(crate) use texts;

texts! {
    HostPattern: "Request hosts: `*` for any, `example.com`, `*.example.com` for all below it, or an \
        address, an IPv6 one in brackets. Case does not count.",
        |text| text.pattern(Some(host_pattern())).max_length(Some(253)).examples(["*", "example.com"]);

    RequestHost: "Request hosts, but not any: `example.com`, `*.example.com` or an address.",
        |text| text.pattern(Some(format!(r"^((\*\.)?{NAME}|\[{}\])$", ipv6()))).max_length(Some(253))
            .examples(["example.com"]);

    AskedPrefix: "A path prefix of whole segments, up to 2048 bytes. A missing slash at the front is \
        added, one at the end dropped, an escape of an unreserved character decoded, and a character escaped \
        that a path has only as an escape: `/é` is `/%C3%A9`.",
        |text| text.pattern(Some(asked_path())).examples(["/shop"]);

    Drain: "How long requests in flight may go on, with a unit, up to `24h`; then they are cut.",
        |text| custom(text, "drain").examples(["0s"]);

    InstanceId: "The name of an instance within its route.",
        |text| text.pattern(Some(r"^(?!\.\.?$)[A-Za-z0-9._~-]{1,64}$")).examples(["default"]);

    Owner: "Whose an instance is.",
        |text| text.pattern(Some(r"^[^\u0000-\u001F\u007F-\u009F]{1,64}$")).examples(["team-a"]);

    TargetHost: "Where the app is: a name that resolves, or an address; on loopback, unless \
        `targets.allow` says otherwise.",
        |text| custom(text, "target-host").default(Some("localhost".into())).examples(["localhost"]);

    UnixPath: "The absolute path of a Unix socket, up to 107 bytes, without `.`, `..` and `//`.",
        |text| text.pattern(Some(r"^(/(?!\.\.?(/|$))[ -.0-~]+)+$")).max_length(Some(107))
            .examples(["/run/apps/shop.sock"]);

    Protocol: "What is spoken with the app: HTTP/1.1, HTTP/2 without TLS, HTTP/2 with TLS (which needs \
        `https`), or what it chooses.",
        |text| text.enum_values(Some(["http1", "h2c", "h2", "auto"])).default(Some("http1".into()));

    Lease: "The length of a lease, with a unit, from `1s` to `30d`: `30s`, `1h30m`.",
        |text| custom(text, "lease").examples(["30s"]);
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

/// A path as it is asked for: all but what begins a query or a fragment, control characters and bad escapes;
/// no segment that is `.` or `..`, and not blank.
fn asked_path() -> String {
    let plain = r"[^\u0000-\u001F\u007F-\u009F?#%]";
    format!(r"^(?!\s*$)(?!(.*/)?\.\.?(/|$))({plain}|{ESCAPE})+$")
}

/// An escape (RFC 3986, 2.1), but for those of control characters, U+0080 to U+009F among them, and of the dot.
const ESCAPE: &str = "(?!%[Cc]2%[89])%([3-689A-Fa-f][0-9A-Fa-f]|2[0-9A-DFa-df]|7[0-9A-Ea-e])";

/// Characters of a path and escapes (RFC 3986, 3.3), but no segment that is `.` or `..`, and no `%2E`,
/// which is a dot; and what else it does not begin with.
pub(crate) fn path(not: &str) -> String {
    let plain = r"[A-Za-z0-9_~!$&'()*+,;=:@/\[\].-]";
    format!(r"^(?!{not}(.*/)?\.\.?(/|$))({plain}|{ESCAPE})+$")
}
