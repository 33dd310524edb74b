//! The proxy inside a program of one's own: routes from code, events, an error page, and a Pingora
//! `Server` that the program runs itself.
//!
//! ```text
//! cargo run --example embedded
//! curl http://127.0.0.1:3000/hello         # the app below
//! curl http://127.0.0.1:3000/elsewhere     # the program's own error page
//! curl --json '{"prefix": "/more", "port": 4322}' http://127.0.0.1:3000/register
//! ```
//!
//! The first argument is another port.
#![allow(
    clippy::print_stdout,
    reason = "what it shows, it shows on the terminal"
)]

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use bytes::Bytes;
use dynamic_reverse_proxy::registry::{Event, ProxyError, ProxyFailure, Registration};
use dynamic_reverse_proxy::server::{DynamicProxy, Options};
use http::{Response, StatusCode};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(3000), |port| port.parse())?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));

    let mut options = Options::default();
    // So that nobody registers the proxy as its own target.
    options.own_listeners = vec![address];
    let proxy = DynamicProxy::new(options).on_proxy_error(answer);

    // Before the server runs; later it is `proxy.register_route(..).await`.
    let app = start_app()?;
    proxy.add_routes([Registration::new("/hello", app.port())?])?;

    let events = proxy.subscribe();
    thread::spawn(move || follow(events));

    let conf = ServerConf {
        // Pingora waits this long after SIGTERM; its default is five minutes.
        grace_period_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = proxy.service(&server.configuration);
    service.add_tcp(&address.to_string());
    server.add_service(service);
    println!("listening on http://{address}");
    server.run_forever()
}

/// The program's own page for a path that nobody serves; anything else is answered as usual.
fn answer(failure: &ProxyFailure) -> Option<Response<Bytes>> {
    if failure.error != ProxyError::NotFound {
        return None;
    }
    let page = format!("Nothing lives at {} yet.\n", failure.path);
    let mut response = Response::new(Bytes::from(page));
    *response.status_mut() = StatusCode::NOT_FOUND;
    Some(response)
}

/// Tells what happens, event by event.
fn follow(mut events: Receiver<Event>) {
    loop {
        match events.blocking_recv() {
            Ok(Event::RouteRegistered(route, instance)) => {
                println!("registered {} -> {}", route.key(), instance.target);
            }
            Ok(Event::RegisterError(failure)) => {
                println!("refused a registration: {}", failure.error);
            }
            Ok(Event::ProxyError(failure)) => {
                println!("{} {}: {}", failure.method, failure.path, failure.error);
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => println!("too slow: {missed} events missed"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// An app, as small as it can be: it says which path it was asked for.
fn start_app() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming() {
            if let Err(error) = client.and_then(|client| greet(&client)) {
                println!("the app lost a client: {error}");
            }
        }
    });
    Ok(address)
}

fn greet(mut client: &TcpStream) -> std::io::Result<()> {
    let mut request = BufReader::new(client);
    let mut first = String::new();
    request.read_line(&mut first)?;
    let mut field = String::new();
    while request.read_line(&mut field)? > 2 {
        field.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or("/");
    let body = format!("The app was asked for {path}.\n");
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
