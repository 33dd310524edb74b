//! A case: what the client sends, what the upstream does, and what each has to see.

use std::time::Duration;

use super::pair::{Client, Pair, Upstream};
use super::wire::{Fields, Framing, to_latin1};

/// How long a case may take. The limit on the first byte is shorter, and those on silence in between
/// are longer, so that a request which only they end is found.
const LIMIT: Duration = Duration::from_secs(8);

/// One case. It is a cell of the matrix for each pair that it applies to.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) request: Request,
    pub(crate) http1: Option<Script>,
    pub(crate) http2: Option<Vec<Act>>,
    pub(crate) is_for: fn(Pair) -> bool,
    pub(crate) outcome: Outcome,
    /// What the client has to see besides.
    pub(crate) seen: Vec<Rule<Seen>>,
    /// What the upstream has to see.
    pub(crate) asked: Vec<Rule<Asked>>,
    /// Whether the upstream has to be asked once, and no more.
    pub(crate) is_asked_once: bool,
    /// How often it is run.
    pub(crate) times: usize,
    /// How long it may take, the next request on the connection included.
    pub(crate) limit: Duration,
    /// Whether it takes seconds, and so is begun first.
    pub(crate) is_slow: bool,
    /// Whether it has to run by itself, since it ends connections that others may share.
    pub(crate) is_alone: bool,
}

/// A request as it is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// As it stands in the request line of HTTP/1, or in `:path`.
    pub(crate) target: String,
    /// What a client of HTTP/2 says about its own scheme; `None` for the truth.
    pub(crate) scheme: Option<&'static str>,
    /// The value of Host or `:authority`; `None` for a request of HTTP/1.0 without Host.
    pub(crate) host: Option<&'static str>,
    pub(crate) fields: Vec<(&'static str, &'static str)>,
    pub(crate) body: Body,
    /// Whether the body waits for a 100 (Continue).
    pub(crate) waits: bool,
    /// What is sent once the protocol has been switched, and has to come back.
    pub(crate) tunnel: Option<&'static [u8]>,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    None,
    Length(Vec<u8>),
    /// Chunked in HTTP/1.1; in HTTP/2, without `content-length`.
    Unknown(Vec<u8>),
    /// Bytes of chunked coding, for HTTP/1.1 alone.
    RawChunks(Vec<u8>),
}

/// What an upstream of HTTP/1 does with a request.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Whether it reads the body before it does anything.
    pub(crate) reads_body: bool,
    pub(crate) steps: Vec<Step>,
}

/// What an upstream of HTTP/1 does. After its last step it goes on to the next request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Sends the bytes again and again until the connection ends, with pauses.
    Drip(&'static [u8]),
    /// Reads the request's body.
    ReadBody,
    /// Reads this many bytes of the request's body, chunked coding included.
    ReadSome(usize),
    /// A response with the request's body.
    EchoBody,
    /// Sends back whatever comes.
    Echo,
    /// Does nothing until the connection ends, which has to be soon.
    AwaitEnd,
    /// Closes in order, and reads what still comes.
    Close,
    /// Closes at once, whatever has not been read.
    Drop,
    /// Closes without `close_notify`.
    Truncate,
    Reset,
}

/// What an upstream of HTTP/2 does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    ReadBody,
    Interim(u16),
    Head {
        status: u16,
        fields: Vec<(&'static str, String)>,
        ends: bool,
    },
    Data(Vec<u8>, bool),
    EchoBody,
    Reset(h2::Reason),
    GoAway(h2::Reason),
    /// Closes the connection.
    Close,
    /// Does nothing more for as long as the connection lasts.
    Silence,
}

/// What a client has seen of a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) interim: Vec<u16>,
    /// 0 if no response came.
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) framing: Option<Framing>,
    pub(crate) end: End,
    /// Whether the connection is at its end.
    pub(crate) is_closed: bool,
    /// Why the response is malformed, if it is.
    pub(crate) fault: Option<String>,
    /// Whether the next request on the same connection was served; `None` if the connection ended.
    pub(crate) next: Option<Result<(), String>>,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    /// The end of the connection came before that of the response.
    #[default]
    Cut,
    /// `RST_STREAM`, or RST.
    Reset,
}

/// What an upstream has seen of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: &'static str,
    /// `:scheme`, of HTTP/2.
    pub(crate) scheme: Option<String>,
    /// `:authority`, or the values of `Host`.
    pub(crate) authority: Vec<String>,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) framing: Option<Framing>,
    /// Whether the body came to its end.
    pub(crate) is_whole: bool,
    /// Whether the connection ended when the script waited for it.
    pub(crate) has_ended: Option<bool>,
    /// Whether the script waits for that now.
    pub(crate) is_awaiting: bool,
    pub(crate) fault: Option<String>,
}

/// The expected end of an exchange as a whole; rules say more about single fields.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The upstream's response arrives whole. If its length was known, the client is told it.
    Passes {
        status: u16,
        body: Vec<u8>,
        is_sized: bool,
    },
    /// A reply of the proxy's own.
    Own(u16, &'static str),
    /// A reply of the proxy's own with any 5xx.
    Fails,
    /// The response begins and visibly breaks off.
    Cut,
    /// `Fails` or `Cut`, which depends on how much of the response had come before the fault.
    FailsOrCut,
    /// The client is at fault: 400, or the end of the connection.
    BadRequest,
    /// Any whole response but 101.
    Answered,
    /// One of two outcomes, where the RFC allows both.
    Either(Box<Outcome>, Box<Outcome>),
}

impl Outcome {
    pub(crate) fn or(self, other: Self) -> Self {
        Self::Either(Box::new(self), Box::new(other))
    }
}

/// An expectation in words, and the check of it.
pub(crate) struct Rule<T> {
    pub(crate) wanted: String,
    pub(crate) holds: Box<Holds<T>>,
}

type Holds<T> = dyn Fn(Pair, &T) -> bool + Send + Sync;

impl<T> Rule<T> {
    pub(crate) fn new(
        wanted: impl Into<String>,
        holds: impl Fn(Pair, &T) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            wanted: wanted.into(),
            holds: Box::new(holds),
        }
    }
}

/// The fields of a message, for rules that are the same for both sides.
pub(crate) trait HasFields {
    fn fields(&self) -> &Fields;
}

impl HasFields for Seen {
    fn fields(&self) -> &Fields {
        &self.fields
    }
}

impl HasFields for Asked {
    fn fields(&self) -> &Fields {
        &self.fields
    }
}

/// A field has exactly these values, in this order.
pub(crate) fn field<T: HasFields>(name: &'static str, values: &'static [&'static str]) -> Rule<T> {
    Rule::new(format!("{name} is {values:?}"), move |_, message: &T| {
        message.fields().all(name) == values
    })
}

/// A field is not there.
pub(crate) fn no_field<T: HasFields>(name: &'static str) -> Rule<T> {
    field(name, &[])
}

impl Request {
    fn get(name: &str) -> Self {
        Self {
            method: "GET",
            target: format!("/m/{name}"),
            scheme: None,
            host: Some("app.example"),
            fields: Vec::new(),
            body: Body::None,
            waits: false,
            tunnel: None,
        }
    }

    /// What is sent on a connection behind the request of a case.
    pub(crate) fn next() -> Self {
        Self::get("next")
    }

    /// Whether a client can send it at all.
    fn fits(&self, client: Client) -> bool {
        match (&self.body, client) {
            (Body::Unknown(_), Client::Http10) => return false,
            (Body::RawChunks(_), client) if client != Client::Http11 => return false,
            _ => {}
        }
        match client {
            Client::Http10 => true,
            Client::Http11 => self.host.is_some(),
            Client::Http2 | Client::Http2Tls => self.host.is_some() && self.target.starts_with('/'),
        }
    }
}

impl Seen {
    /// Whether it is the response to [`Request::next`].
    pub(crate) fn is_next(&self) -> Result<(), String> {
        let is_next = self.status == 200 && self.body == b"next" && self.end == End::Whole;
        is_next.then_some(()).ok_or_else(|| format!("{self:?}"))
    }
}

impl Case {
    /// A GET that gets this outcome.
    pub(crate) fn new(name: &'static str, outcome: Outcome) -> Self {
        Self {
            name,
            request: Request::get(name),
            http1: None,
            http2: None,
            is_for: |_| true,
            outcome,
            seen: Vec::new(),
            asked: Vec::new(),
            is_asked_once: false,
            times: 1,
            limit: LIMIT,
            is_slow: false,
            is_alone: false,
        }
    }

    /// A GET that is answered with 200 and a body that has a length, by every upstream.
    pub(crate) fn ok(name: &'static str) -> Self {
        let outcome = Outcome::Passes {
            status: 200,
            body: b"ok".to_vec(),
            is_sized: true,
        };
        Self::new(name, outcome).answering(200, &[], "ok")
    }

    /// An upstream that answers every request of any protocol with fields and a body of known length.
    pub(crate) fn answering(
        self,
        status: u16,
        fields: &[(&'static str, &str)],
        body: &str,
    ) -> Self {
        let mut lines = vec![format!("HTTP/1.1 {status} Status")];
        lines.extend(
            fields
                .iter()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        lines.push(format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let sent = lines.join("\r\n");
        let mut sized = vec![("content-length", body.len().to_string())];
        sized.extend(
            fields
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let head = Act::Head {
            status,
            fields: sized,
            ends: body.is_empty(),
        };
        let mut acts = vec![Act::ReadBody, head];
        if !body.is_empty() {
            acts.push(Act::Data(body.into(), true));
        }
        self.sending(to_latin1(&sent)).acting(acts)
    }

    /// An upstream that gives the body back.
    pub(crate) fn echoing(self) -> Self {
        self.stepping(vec![Step::EchoBody])
            .acting(vec![Act::EchoBody])
    }

    /// An upstream of HTTP/1 that reads the request and sends these bytes.
    pub(crate) fn sending(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stepping(vec![Step::Send(bytes.into())])
    }

    /// An upstream of HTTP/1 that reads the request, sends these bytes and closes.
    pub(crate) fn closing(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stepping(vec![Step::Send(bytes.into()), Step::Close])
    }

    /// What an upstream of HTTP/1 does once it has read the request.
    pub(crate) fn stepping(mut self, steps: Vec<Step>) -> Self {
        self.http1 = Some(Script {
            reads_body: true,
            steps,
        });
        self
    }

    /// What an upstream of HTTP/1 does once it has read the head.
    pub(crate) fn early(mut self, steps: Vec<Step>) -> Self {
        self.http1 = Some(Script {
            reads_body: false,
            steps,
        });
        self
    }

    /// What an upstream of HTTP/2 does once it has read the head.
    pub(crate) fn acting(mut self, acts: Vec<Act>) -> Self {
        self.http2 = Some(acts);
        self
    }

    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.request.method = method;
        self
    }

    pub(crate) fn target(mut self, target: impl Into<String>) -> Self {
        self.request.target = target.into();
        self
    }

    /// A client of HTTP/2 that says so about its own scheme.
    pub(crate) fn scheme(mut self, scheme: &'static str) -> Self {
        self.request.scheme = Some(scheme);
        self
    }

    pub(crate) fn host(mut self, host: Option<&'static str>) -> Self {
        self.request.host = host;
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.request.fields.push((name, value));
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.request.body = body;
        self
    }

    pub(crate) fn only(mut self, is_for: fn(Pair) -> bool) -> Self {
        self.is_for = is_for;
        self
    }

    pub(crate) fn sees(mut self, rule: Rule<Seen>) -> Self {
        self.seen.push(rule);
        self
    }

    pub(crate) fn asks(mut self, rule: Rule<Asked>) -> Self {
        self.asked.push(rule);
        self
    }

    pub(crate) fn once(mut self) -> Self {
        self.is_asked_once = true;
        self
    }

    pub(crate) fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }

    pub(crate) fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// Whether the case applies to this pair.
    pub(crate) fn has_cell(&self, pair: Pair) -> bool {
        let has_script = match pair.upstream {
            Upstream::H2c | Upstream::H2Tls => self.http2.is_some(),
            Upstream::Http1 | Upstream::Https | Upstream::Unix => self.http1.is_some(),
        };
        has_script && self.request.fits(pair.client) && (self.is_for)(pair)
    }
}
