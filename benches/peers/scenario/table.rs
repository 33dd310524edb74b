//! What there is to measure.

use crate::args::Args;
use crate::load::http2::Ask as Http2Ask;
use crate::peer::Needs;

/// A scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) about: &'static str,
    pub(crate) needs: Needs,
    pub(crate) work: Work,
}

/// What is done in it.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Load(Load),
    Idle(State),
    /// Apps that come and go; see [`crate::churn`].
    Churn,
}

/// A load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    /// Whether it is also measured at a fixed rate.
    pub(crate) rate: bool,
    /// Changes of other routes a second: peers that can are measured without and with them.
    pub(crate) changes: f64,
    /// Whether each peer is also measured with a single route, in the same rounds: beside many, or none.
    pub(crate) beside_one: bool,
}

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Over connections that stay.
    Get {
        connections: usize,
        path: &'static str,
        length: u64,
    },
    /// A new connection for each.
    Fresh { connections: usize },
    /// Bodies from the client.
    Upload { connections: usize, length: usize },
    /// Over HTTP/2.
    Http2 {
        connections: usize,
        streams: usize,
        ask: Http2Ask,
    },
    /// Messages.
    WebSocket { connections: usize },
    /// Registrations of routes that were not there.
    Register { connections: usize },
}

/// In what state connections are idle.
#[derive(Clone, Copy)]
pub(crate) enum State {
    /// Between two requests.
    Http,
    WebSocket,
}

impl Scenario {
    /// How many steps a peer takes, for the progress.
    pub(crate) fn steps(&self, args: &Args) -> usize {
        match self.work {
            Work::Load(load) => args.rounds + if load.rate { args.rate_rounds } else { 0 },
            Work::Idle(_) => 1,
            Work::Churn => args.rounds,
        }
    }

    /// What CPU time is told for.
    pub(crate) fn unit(&self) -> &'static str {
        match self.work {
            Work::Idle(_) => "connection",
            Work::Churn => "request",
            Work::Load(load) => match load.kind {
                Kind::WebSocket { .. } => "message",
                Kind::Register { .. } => "registration",
                _ => "request",
            },
        }
    }
}

const PLAIN: Needs = Needs {
    tls: false,
    http2: false,
    no_sessions: false,
    websocket: false,
    grpc: false,
    routes: 0,
    leases: false,
    dynamic: false,
    https: false,
    no_route: false,
    churn: false,
};

const TLS: Needs = Needs { tls: true, ..PLAIN };

const SMALL: Kind = Kind::Get {
    connections: 64,
    path: "/",
    length: crate::origin::SMALL,
};

const fn load(kind: Kind) -> Work {
    Work::Load(Load {
        kind,
        rate: true,
        changes: 0.0,
        beside_one: false,
    })
}

const fn closed(kind: Kind) -> Work {
    Work::Load(Load {
        kind,
        rate: false,
        changes: 0.0,
        beside_one: false,
    })
}

const fn beside_one(kind: Kind) -> Work {
    Work::Load(Load {
        kind,
        rate: false,
        changes: 0.0,
        beside_one: true,
    })
}

const fn routes(count: usize) -> Needs {
    Needs {
        routes: count,
        ..PLAIN
    }
}

pub(crate) const SCENARIOS: [Scenario; 23] = [
    Scenario {
        name: "small-get",
        about: "GET of 66 bytes over 64 connections that stay",
        needs: PLAIN,
        work: load(SMALL),
    },
    Scenario {
        name: "new-connection",
        about: "GET of 66 bytes, each over a connection of its own",
        needs: PLAIN,
        work: load(Kind::Fresh { connections: 32 }),
    },
    Scenario {
        name: "body-100k",
        about: "GET of 100 KiB over 16 connections",
        needs: PLAIN,
        work: load(Kind::Get {
            connections: 16,
            path: "/bytes/102400",
            length: 102_400,
        }),
    },
    Scenario {
        name: "body-10m",
        about: "GET of 10 MiB over 4 connections",
        needs: PLAIN,
        work: closed(Kind::Get {
            connections: 4,
            path: "/bytes/10485760",
            length: 10_485_760,
        }),
    },
    Scenario {
        name: "upload-1m",
        about: "POST of 1 MiB over 8 connections",
        needs: PLAIN,
        work: closed(Kind::Upload {
            connections: 8,
            length: 1024 * 1024,
        }),
    },
    Scenario {
        name: "tls",
        about: "GET of 66 bytes over 64 TLS connections that stay, HTTP/1.1",
        needs: TLS,
        work: load(SMALL),
    },
    Scenario {
        name: "handshake",
        about: "a full handshake of TLS 1.3 (P-256, X25519) and one GET of 66 bytes",
        needs: Needs {
            no_sessions: true,
            ..TLS
        },
        work: load(Kind::Fresh { connections: 32 }),
    },
    Scenario {
        name: "h2",
        about: "GET of 66 bytes, HTTP/2 over TLS, 32 connections of 10 streams",
        needs: Needs { http2: true, ..TLS },
        work: load(Kind::Http2 {
            connections: 32,
            streams: 10,
            ask: Http2Ask::Get,
        }),
    },
    Scenario {
        name: "websocket",
        about: "a message of 64 bytes there and back, 64 WebSockets",
        needs: Needs {
            websocket: true,
            ..PLAIN
        },
        work: load(Kind::WebSocket { connections: 64 }),
    },
    Scenario {
        name: "grpc",
        about: "unary calls of gRPC over TLS, 16 connections of 10 streams; h2c to the origin",
        needs: Needs {
            http2: true,
            grpc: true,
            ..TLS
        },
        work: load(Kind::Http2 {
            connections: 16,
            streams: 10,
            ask: Http2Ask::Call,
        }),
    },
    Scenario {
        name: "https-upstream",
        about: "small-get, TLS 1.3 and HTTP/1.1 to the origin, whose certificate is verified",
        needs: Needs {
            https: true,
            ..PLAIN
        },
        work: load(SMALL),
    },
    Scenario {
        name: "no-route",
        about: "GET that no route takes over 64 connections that stay, beside small-get",
        needs: Needs {
            no_route: true,
            ..PLAIN
        },
        work: beside_one(SMALL),
    },
    Scenario {
        name: "idle",
        about: "memory of each of 10,000 connections between two requests",
        needs: PLAIN,
        work: Work::Idle(State::Http),
    },
    Scenario {
        name: "idle-tls",
        about: "memory of each of 10,000 TLS connections between two requests",
        needs: TLS,
        work: Work::Idle(State::Http),
    },
    Scenario {
        name: "idle-websocket",
        about: "memory of each of 10,000 WebSockets",
        needs: Needs {
            websocket: true,
            ..PLAIN
        },
        work: Work::Idle(State::WebSocket),
    },
    Scenario {
        name: "routes-1",
        about: "small-get with one route besides /",
        needs: routes(1),
        work: closed(SMALL),
    },
    Scenario {
        name: "routes-1k",
        about: "small-get to 100 of 1,000 routes, beside one route",
        needs: routes(1000),
        work: beside_one(SMALL),
    },
    Scenario {
        name: "routes-100k",
        about: "small-get to 100 of 100,000 routes, beside one route",
        needs: routes(100_000),
        work: beside_one(SMALL),
    },
    Scenario {
        name: "routes-1m",
        about: "small-get to 100 of 1,000,000 routes, beside one route",
        needs: routes(1_000_000),
        work: beside_one(SMALL),
    },
    Scenario {
        name: "registration",
        about: "registrations of new routes over 8 connections",
        needs: Needs {
            dynamic: true,
            ..PLAIN
        },
        work: load(Kind::Register { connections: 8 }),
    },
    Scenario {
        name: "changes",
        about: "small-get to 100 of 1,000 routes; also while 1,000 others change each second",
        needs: routes(1000),
        work: Work::Load(Load {
            kind: SMALL,
            rate: true,
            changes: 1000.0,
            beside_one: false,
        }),
    },
    Scenario {
        name: "churn",
        about: "200 apps that start, stop and die at random, and 100 visitors over connections that stay",
        needs: Needs {
            churn: true,
            ..PLAIN
        },
        work: Work::Churn,
    },
    Scenario {
        name: "everything",
        about: "h2 to 100 of 100,000 routes with leases; also while others change each millisecond",
        needs: Needs {
            http2: true,
            routes: 100_000,
            leases: true,
            ..TLS
        },
        work: Work::Load(Load {
            kind: Kind::Http2 {
                connections: 32,
                streams: 10,
                ask: Http2Ask::Get,
            },
            rate: true,
            changes: 1000.0,
            beside_one: false,
        }),
    },
];

impl Kind {
    /// How many connections, and how many streams on each.
    pub(crate) fn connections(self) -> (usize, usize) {
        match self {
            Self::Get { connections, .. }
            | Self::Fresh { connections }
            | Self::Upload { connections, .. }
            | Self::WebSocket { connections }
            | Self::Register { connections } => (connections, 1),
            Self::Http2 {
                connections,
                streams,
                ..
            } => (connections, streams),
        }
    }
}
