//! ring against aws-lc-rs as what TLS with clients is made of: how many full handshakes of TLS 1.3 a
//! core's worth of server makes in a second, and what a record costs.
//!
//! `cargo bench --bench tls_handshake`; about a minute. Client and server are in memory, and only
//! the server's side is timed. On a machine of two cores that others used too, two runs, rounded:
//!
//! ```text
//!                                          P-256    RSA-2048   handshakes/s
//! X25519          ring                     9,600    1,600
//! X25519          aws-lc-rs               11,100    2,740
//! X25519MLKEM768  ring, aws-lc-rs's group 10,100    1,600
//! X25519MLKEM768  aws-lc-rs                9,100    2,450
//!
//!                                        100 B    1 kB    16 kB   µs for a record in and one out
//!                 ring                    0.39    0.62     4.82
//!                 aws-lc-rs               0.39    0.58     3.88
//! ```
//!
//! aws-lc-rs it is (`src/tls/provider.rs`): with X25519 it makes a sixth more handshakes for P-256 and
//! two thirds more for RSA, it alone has the hybrid group, and large records cost a fifth less. A
//! mixture, with ring's signatures and aws-lc-rs's group, gains a tenth for P-256 with the hybrid and
//! loses a third for RSA.

// A fault is to end the bench; it says what it found.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs, ring};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    client::Resumption, version::TLS13,
};

const ROUNDS: usize = 10;
const HANDSHAKES: usize = 200;
const RECORDS: usize = 2_000;

/// A certificate for `localhost` that vouches for itself.
struct Identity {
    name: &'static str,
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Identity {
    fn new(name: &'static str, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            name,
            certificate,
            key,
        }
    }

    fn server(
        &self,
        provider: CryptoProvider,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.der().clone()], key)
            .expect("a certificate");
        config.ticketer = ticketer;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Arc::new(config)
    }

    /// A client with one group for the exchange of keys, which asks for no resumption.
    fn client(&self, group: &'static dyn SupportedKxGroup) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a root");
        let provider = CryptoProvider {
            kx_groups: vec![group],
            ..aws_lc_rs::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

/// A handshake; how long the server worked at it.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> (ClientConnection, ServerConnection, Duration) {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
    let mut busy = Duration::ZERO;
    let begin = Instant::now();
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    busy += begin.elapsed();
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("the client's bytes");
        }
        let begin = Instant::now();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("the client's bytes");
            server.process_new_packets().expect("a handshake");
        }
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).expect("the server's bytes");
        }
        busy += begin.elapsed();
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("the server's bytes");
            client.process_new_packets().expect("a handshake");
        }
    }
    (client, server, busy)
}

/// The server's work in a handshake, several times.
fn handshakes(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Vec<Duration> {
    (0..HANDSHAKES)
        .map(|_| handshake(client, server).2)
        .collect()
}

/// The server's work in reading a record of this many bytes and writing one back, several times.
fn records(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, size: usize) -> Vec<Duration> {
    let (mut client, mut server, _) = handshake(client, server);
    let mut buffer = vec![7; size];
    let mut wire = Vec::with_capacity(2 * size + 100);
    let mut record = || {
        wire.clear();
        client.writer().write_all(&buffer).expect("a record");
        client.write_tls(&mut wire).expect("a record");
        let begin = Instant::now();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("a record");
            server.process_new_packets().expect("a record");
        }
        server.reader().read_exact(&mut buffer).expect("a record");
        server.writer().write_all(&buffer).expect("a record");
        wire.clear();
        server.write_tls(&mut wire).expect("a record");
        let busy = begin.elapsed();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("a record");
            client.process_new_packets().expect("a record");
        }
        client.reader().read_exact(&mut buffer).expect("a record");
        busy
    };
    (0..RECORDS).map(|_| record()).collect()
}

/// The time that a quarter of the samples stay below: whatever else the machine does makes some of
/// them longer, and none shorter.
fn quartile(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 4]
}

/// A line of what is measured: its name, and what takes a sample.
type Line = (String, Box<dyn Fn() -> Vec<Duration>>);

/// Measures lines in turn, several times over, so that no one of them has the quiet moments alone.
fn measure(lines: &[Line]) -> impl Iterator<Item = (&str, Duration)> {
    let mut samples = vec![Vec::new(); lines.len()];
    for _ in 0..ROUNDS {
        for ((_, take), samples) in lines.iter().zip(&mut samples) {
            samples.extend(take());
        }
    }
    let names = lines.iter().map(|(name, _)| name.as_str());
    names.zip(samples.into_iter().map(quartile))
}

/// What TLS is made of.
#[derive(Clone, Copy)]
enum Made {
    Ring,
    /// ring, but for the hybrid exchange of keys, which it lacks.
    RingAndHybrid,
    AwsLc,
}

impl Made {
    fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::RingAndHybrid => "ring and aws-lc-rs's hybrid",
            Self::AwsLc => "aws-lc-rs",
        }
    }

    fn provider(self, group: &'static dyn SupportedKxGroup) -> CryptoProvider {
        match self {
            Self::Ring => ring::default_provider(),
            Self::RingAndHybrid => CryptoProvider {
                kx_groups: vec![group],
                ..ring::default_provider()
            },
            Self::AwsLc => CryptoProvider {
                kx_groups: vec![group],
                ..aws_lc_rs::default_provider()
            },
        }
    }

    fn ticketer(self) -> Arc<dyn ProducesTickets> {
        match self {
            Self::AwsLc => aws_lc_rs::Ticketer::new().expect("tickets"),
            _ => ring::Ticketer::new().expect("tickets"),
        }
    }
}

fn main() {
    let x25519 = aws_lc_rs::kx_group::X25519;
    let hybrid = aws_lc_rs::kx_group::X25519MLKEM768;
    let identities = [
        Identity::new("P-256", &PKCS_ECDSA_P256_SHA256),
        Identity::new("RSA-2048", &PKCS_RSA_SHA256),
    ];
    let mut lines: Vec<Line> = Vec::new();
    for identity in &identities {
        for (made, exchange, group) in [
            (Made::Ring, "X25519", x25519),
            (Made::AwsLc, "X25519", x25519),
            (Made::RingAndHybrid, "X25519MLKEM768", hybrid),
            (Made::AwsLc, "X25519MLKEM768", hybrid),
        ] {
            let server = identity.server(made.provider(group), made.ticketer());
            let client = identity.client(group);
            let name = format!("{:9} {exchange:15} {:28}", identity.name, made.name());
            lines.push((name, Box::new(move || handshakes(&client, &server))));
        }
    }
    println!("full handshakes of TLS 1.3, for each second of the server's work");
    for (name, time) in measure(&lines) {
        println!("{name} {:6.0}", 1.0 / time.as_secs_f64());
    }
    let mut lines: Vec<Line> = Vec::new();
    for size in [100, 1_000, 16_000] {
        for made in [Made::Ring, Made::AwsLc] {
            let server = identities[0].server(made.provider(x25519), made.ticketer());
            let client = identities[0].client(x25519);
            let name = format!("{size:6} bytes  {:28}", made.name());
            lines.push((name, Box::new(move || records(&client, &server, size))));
        }
    }
    println!("a record read and one written, in microseconds");
    for (name, time) in measure(&lines) {
        println!("{name} {:6.2}", time.as_secs_f64() * 1e6);
    }
}
