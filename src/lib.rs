//! An edge reverse proxy, built on Pingora, that apps configure themselves, at run time, over REST.
//!
//! One public port; behind it any number of apps, each on a port of its own, in any language. An app
//! says `POST /register {"prefix": "/shop", "port": 4321}` when it starts, and from the moment that
//! call is answered every request under `/shop` goes to it.
//!
//! This crate is the proxy as a library; the program `dynamic-reverse-proxy` is [`cli`] and nothing
//! else. `docs/` is the manual of the program, `ARCHITECTURE.md` the map of the code with a glossary.
//!
//! # A proxy in a program of one's own
//!
//! [`server::DynamicProxy`] is the proxy as an object. It is given routes, listened to, and mounted
//! as a service in a Pingora `Server`:
//!
//! ```no_run
//! use dynamic_reverse_proxy::pingora::server::Server;
//! use dynamic_reverse_proxy::registry::Registration;
//! use dynamic_reverse_proxy::server::{DynamicProxy, Options};
//!
//! let proxy = DynamicProxy::new(Options::default());
//! proxy.add_routes([
//!     Registration::new("/", 4000)?,
//!     Registration::new("/shop", 4321)?.for_request_hosts(&["example.com", "*.example.com"])?,
//! ])?;
//!
//! let mut server = Server::new(None)?;
//! server.bootstrap();
//! let mut service = proxy.service(&server.configuration);
//! service.add_tcp("127.0.0.1:3000");
//! server.add_service(service);
//! server.run_forever();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crates whose types stand in the signatures are re-exported ([`pingora`], [`http`], ...), so that a
//! program has the same versions of them. Without the default features `acme`, `cli` and `jemalloc` neither
//! ACME, the command line nor the allocator is compiled.
//!
//! `examples/embedded.rs` is a longer one: it subscribes to the [events](registry::Event) and answers
//! failures itself. [`server::Server`] is the other way: the whole stand-alone server from a
//! [`config::Config`].
//!
//! # The way of a request
//!
//! ```text
//! a connection
//!   -> front      takes it in (PROXY protocol, TLS, HTTP/2), reads the head of a request into one
//!        |        Request, checks it, holds it to limits and a deadline
//!        |
//!      proxy::decide   asks the stages, one after another
//!        |
//!        |-- Control --> control   who asks? what for?
//!        |                  |
//!        |               registry  resolves the target, has the store keep the change, publishes it,
//!        |                         tells subscribers; only then is the call answered
//!        |
//!        |-- Reply ----> the proxy's own words: no route, a redirect, a refusal
//!        |
//!        `-- Forward --> proxy::exchange   to one of the route's instances: the same path, byte for
//!                           |              byte; one try is a pump between the client's side
//!                           |              (front::Downstream) and an upstream
//!                           |
//!                        proxy::record     where every exchange ends
//! ```
//!
//! A request takes its route from the table once and keeps it: a change of the table touches no
//! request that is on its way, and no WebSocket. Readers of the table never wait for a writer.
//!
//! # The way of a change
//!
//! ```text
//! registry::Change   edits of some routes, or the whole set; conditions; who asks
//!   -> writer        a thread of its own takes all changes that wait
//!   -> attempt       each is tried on a copy of the table, which costs nothing, and makes steps or fails
//!   -> store         one commit for all that are possible
//!   -> publish       one pointer; every later request sees them
//!   -> effects       timers of leases and drains, events, the audit
//! ```
//!
//! # The modules
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | the commands, most of them clients of the control API, and the exit codes |
//! | [`server`] | the stand-alone [`Server`](server::Server): sockets, signals, the wiring; and the [`DynamicProxy`](server::DynamicProxy) for programs |
//! | `front` | a connection before and between its requests: PROXY protocol, TLS, HTTP/1 or HTTP/2; the check of a request's head, what one client may take, the shedding of load, the end of what is in flight |
//! | `control` | the REST API: registration, routes, events; who may do what; the bridge from Pingora to it |
//! | `proxy` | the data path: what is decided about a request, the exchange with its app, the rules for both; `ProxyHttp` over the same rules |
//! | [`tls`] | certificates: loaded, chosen by name, watched, kept; rustls's configuration of a listener |
//! | [`acme`] | certificates from an authority: ordered, proven, renewed |
//! | [`health`] | whether the proxy is ready, and what probes are told |
//! | `telemetry` | the log |
//! | [`registry`] | the live routes and their only writer: changes, leases, drains, events; the store behind it |
//! | [`route`] | routing, pure: hosts, prefixes, request paths, instances, what goes on behind them, the table |
//! | [`config`] | the configuration file |
//! | `reply` | the bodies of the replies that the proxy makes itself, as JSON or as HTML |
//!
//! Dependencies point one way: `cli -> server -> {proxy, control, acme, tls, telemetry, front} ->
//! registry -> route`, and `control` and `acme` use `tls`. `config` is read by `cli` and `server` only, and uses
//! `route` for the fields of a route, as `cli` does; `server`, `proxy` and `control` use `health`; `reply` depends on nothing, and Pingora is named in
//! `front`, `proxy`, `server`, the bridge of `control` and its own keys in `config`.

#[doc(no_inline)]
pub use {bytes, http, ipnet, pingora, rustls, tokio};

#[cfg(feature = "acme")]
pub mod acme;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
mod control;
mod front;
pub mod health;
#[doc(hidden)]
pub mod internals;
mod proxy;
pub mod registry;
mod reply;
pub mod route;
pub mod server;
#[cfg(feature = "cli")]
mod telemetry;
pub mod tls;
