//! What is asked. Every scenario has a proxy of its own, and one connection.

/// One kind of request, again and again.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) connection: Connection,
    /// One is `/`; of more, each has a prefix of its own.
    pub(crate) routes: usize,
    pub(crate) request: Request,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    Http1,
    Tls,
    /// In cleartext, by prior knowledge: TLS has its own scenario.
    Http2,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// With three fields; the answer has two bytes.
    Get,
    /// With the fields of a browser.
    Browser,
    /// An answer of 100 KiB.
    Large,
    /// A body of 1 KiB.
    Post,
    /// A unary call of gRPC with a message of 32 bytes, which comes back; over HTTP/2, also to the app.
    Call,
    /// A registration that is there already, with its lease.
    Renewal,
}

/// The message of a call, behind its five bytes of gRPC: not compressed, 32 bytes.
pub(crate) const MESSAGE: [u8; 37] = {
    let mut message = [b'm'; 37];
    [message[0], message[1], message[2], message[3], message[4]] = [0, 0, 0, 0, 32];
    message
};

pub(crate) const ALL: [Scenario; 9] = [
    scenario("get", Connection::Http1, 1, Request::Get),
    scenario("get-browser", Connection::Http1, 1, Request::Browser),
    scenario("get-tls", Connection::Tls, 1, Request::Get),
    scenario("get-http2", Connection::Http2, 1, Request::Get),
    scenario("get-100k", Connection::Http1, 1, Request::Large),
    scenario("grpc", Connection::Http2, 1, Request::Call),
    scenario("post-1k", Connection::Http1, 1, Request::Post),
    scenario("routes-10000", Connection::Http1, 10_000, Request::Get),
    scenario("renewal", Connection::Http1, 1, Request::Renewal),
];

/// How many routes are asked for, at most.
const ASKED: usize = 100;

const fn scenario(
    name: &'static str,
    connection: Connection,
    routes: usize,
    request: Request,
) -> Scenario {
    Scenario {
        name,
        connection,
        routes,
        request,
    }
}

/// A browser's fields, besides `Host`.
const BROWSER: &str = "\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: http://localhost/shop/items\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
Upgrade-Insecure-Requests: 1\r\n\
Sec-Fetch-Dest: document\r\n\
Sec-Fetch-Mode: navigate\r\n\
Sec-Fetch-Site: same-origin\r\n\
Priority: u=0, i\r\n";

impl Scenario {
    /// The prefix of a route.
    pub(crate) fn prefix(&self, route: usize) -> String {
        match self.routes {
            1 => "/".to_owned(),
            _ => format!("/user/{route:07}"),
        }
    }

    /// The path of a request. Of many routes, those that are asked for lie evenly among them.
    pub(crate) fn path(&self, number: usize) -> String {
        let asked = self.routes.min(ASKED);
        let route = number % asked * (self.routes / asked);
        format!("{}/items/17", self.prefix(route).trim_end_matches('/'))
    }

    /// The whole request as HTTP/1.1; for calls, which are HTTP/2, the registration of their route.
    pub(crate) fn http1(&self, number: usize, origin: u16) -> Vec<u8> {
        let path = self.path(number);
        let get = |fields: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let post = |path: &str, kind: &str, body: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let text = match self.request {
            Request::Get | Request::Large => get("Accept: */*\r\nUser-Agent: guard\r\n"),
            Request::Browser => get(BROWSER),
            Request::Call => {
                let body = format!(r#"{{"prefix":"/","port":{origin},"protocol":"h2c"}}"#);
                post("/register", "application/json", &body)
            }
            Request::Post => post(&path, "text/plain", &"x".repeat(1024)),
            Request::Renewal => {
                let body = format!(r#"{{"prefix":"/app","port":{origin},"ttl":"1h"}}"#);
                post("/register", "application/json", &body)
            }
        };
        text.into_bytes()
    }

    /// The body that the app answers with.
    pub(crate) fn body(&self) -> Vec<u8> {
        match self.request {
            Request::Large => vec![b'x'; 100 * 1024],
            Request::Call => MESSAGE.to_vec(),
            _ => b"ok".to_vec(),
        }
    }

    /// Whether this is the body that has to come.
    pub(crate) fn is_right(&self, body: &[u8]) -> bool {
        match self.request {
            Request::Renewal => body.starts_with(br#"{"message":"Registered.""#),
            _ => body == self.body(),
        }
    }
}
