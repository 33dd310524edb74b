//! Clients with one connection: a request is one write, and its answer is waited for and checked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Result;
use crate::http2::Http2;
use crate::proxy::Proxy;
use crate::scenario::{Connection, Request, Scenario};

/// Longer than any answer takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Client {
    scenario: Scenario,
    origin: u16,
    link: Link,
    /// How many requests there have been.
    number: usize,
}

enum Link {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Http2(Http2),
}

impl Client {
    pub(crate) fn connect(scenario: &Scenario, proxy: &Proxy, origin: u16) -> Result<Self> {
        let link = match (scenario.connection, &proxy.certificate) {
            (Connection::Http2, _) => Link::Http2(Http2::connect(proxy.port)?),
            (Connection::Tls, Some(certificate)) => Link::Tls(Box::new(StreamOwned::new(
                session(certificate)?,
                tcp(proxy.port)?,
            ))),
            _ => Link::Tcp(tcp(proxy.port)?),
        };
        Ok(Self {
            scenario: *scenario,
            origin,
            link,
            number: 0,
        })
    }

    /// The next request, and its answer, which has to be right.
    pub(crate) fn ask(&mut self) -> Result<()> {
        let number = self.number;
        self.number += 1;
        let request = || self.scenario.http1(number, self.origin);
        let (status, body) = match &mut self.link {
            Link::Tcp(stream) => exchange(stream, &request())?,
            Link::Tls(stream) => exchange(stream, &request())?,
            Link::Http2(link) => match self.scenario.request {
                Request::Call => link.call(&self.scenario.path(number))?,
                _ => link.get(&self.scenario.path(number))?,
            },
        };
        if status == 200 && self.scenario.is_right(&body) {
            return Ok(());
        }
        let start = String::from_utf8_lossy(body.get(..200).unwrap_or(&body));
        Err(format!("request {number}: status {status}: {start}").into())
    }
}

fn tcp(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn session(certificate: &CertificateDer<'static>) -> Result<ClientConnection> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

/// The status and the body of the answer.
fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Result<(u16, Vec<u8>)> {
    stream.write_all(request)?;
    stream.flush()?;
    let (mut answer, mut piece) = (Vec::new(), vec![0; 256 * 1024]);
    let mut read = |answer: &mut Vec<u8>| -> Result<()> {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Err("the proxy has closed the connection".into());
        }
        answer.extend_from_slice(piece.get(..count).unwrap_or_default());
        Ok(())
    };
    let end = loop {
        if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
            break end + 4;
        }
        read(&mut answer)?;
    };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let status = head.get(9..12).ok_or("no status")?.parse()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.ok_or("an answer without a length")?.parse()?;
    while answer.len() < end + length {
        read(&mut answer)?;
    }
    Ok((status, answer.split_off(end)))
}
