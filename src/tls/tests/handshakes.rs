//! Handshakes in memory, between the configuration of a listener and rustls's client.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, HandshakeKind, NamedGroup,
    ProtocolVersion, RootCertStore, ServerConnection, SignatureScheme, SupportedProtocolVersion,
};

use super::super::testing::{Authority, Identity, Wanted, pair};
use super::super::{
    Authorities, Certificates, ClientAuth, MinVersion, ServerOptions, provider, server_config,
};

/// An authority, and certificates that it issued for these names, each under its first.
struct World {
    authority: Authority,
    certificates: Arc<Certificates>,
}

impl World {
    fn new(names: &[&[&str]]) -> Self {
        let world = Self {
            authority: Authority::root("Root"),
            certificates: Arc::default(),
        };
        for (index, names) in names.iter().enumerate() {
            let wanted = Wanted {
                names,
                ..Wanted::default()
            };
            world.add(&format!("c{index}"), &wanted, false);
        }
        world
    }

    fn add(&self, name: &str, wanted: &Wanted<'_>, default: bool) -> Identity {
        let identity = self.authority.issue(wanted);
        self.certificates
            .take(name, &identity.given(default))
            .unwrap();
        identity
    }

    fn server(&self, options: &ServerOptions) -> Arc<rustls::ServerConfig> {
        server_config(options, Arc::clone(&self.certificates)).unwrap()
    }

    fn client(&self) -> Client {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.certificate.as_bytes());
        roots.add(root.unwrap()).unwrap();
        Client {
            roots,
            versions: vec![&TLS13, &TLS12],
            provider: aws_lc_rs::default_provider(),
            identity: None,
            alpn: Vec::new(),
        }
    }
}

struct Client {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    provider: CryptoProvider,
    identity: Option<Identity>,
    alpn: Vec<Vec<u8>>,
}

impl Client {
    fn config(self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
                builder
                    .with_client_auth_cert(vec![certificate.unwrap()], key.unwrap())
                    .unwrap()
            }
        };
        config.alpn_protocols = self.alpn;
        Arc::new(config)
    }
}

/// Why a handshake failed, on the client's side and on the server's.
#[derive(Debug)]
struct Failed {
    client: Option<Error>,
    server: Option<Error>,
}

type Both = (ClientConnection, ServerConnection);

/// A handshake, and a byte back and forth, after which tickets have arrived.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<rustls::ServerConfig>,
    name: &str,
) -> Result<Both, Box<Failed>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut failed = Failed {
        client: None,
        server: None,
    };
    let mut is_sent = false;
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let to_server = wire.len();
        let mut rest = wire.as_slice();
        while !rest.is_empty() && failed.server.is_none() {
            server.read_tls(&mut rest).unwrap();
            failed.server = server.process_new_packets().err();
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let to_client = wire.len();
        let mut rest = wire.as_slice();
        while !rest.is_empty() && failed.client.is_none() {
            client.read_tls(&mut rest).unwrap();
            failed.client = client.process_new_packets().err();
        }
        if to_server + to_client > 0 {
            continue;
        }
        if failed.server.is_some() || failed.client.is_some() {
            return Err(Box::new(failed));
        }
        if is_sent {
            let mut byte = [0];
            client.reader().read_exact(&mut byte).unwrap();
            return Ok((client, server));
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        server.writer().write_all(b"x").unwrap();
        is_sent = true;
    }
}

fn refused(failed: &Failed) -> AlertDescription {
    match failed.client {
        Some(Error::AlertReceived(alert)) => alert,
        _ => panic!("{failed:?}"),
    }
}

#[test]
fn a_client_gets_the_certificate_for_its_name() {
    let world = World::new(&[&["a.example"], &["*.b.example"]]);
    let server = world.server(&ServerOptions::default());
    let client = world.client().config();
    let mut seen = Vec::new();
    for name in ["a.example", "x.b.example"] {
        let (client, server) = shake(&client, &server, name).unwrap();
        assert_eq!(server.server_name(), Some(name));
        seen.push(client.peer_certificates().unwrap()[0].clone());
    }
    assert_ne!(seen[0], seen[1]);
    for name in ["c.example", "b.example", "x.y.b.example"] {
        let failed = shake(&client, &server, name).unwrap_err();
        assert_eq!(refused(&failed), AlertDescription::AccessDenied, "{name}");
    }
    // An address is no name (RFC 6066, 3).
    let failed = shake(&client, &server, "192.0.2.1").unwrap_err();
    assert_eq!(refused(&failed), AlertDescription::AccessDenied);
    assert_eq!(world.certificates.unmatched(), 4);
    // The default is for all of them; whether it is believed is the client's affair.
    let wanted = Wanted {
        names: &["192.0.2.1", "c.example"],
        ..Wanted::default()
    };
    world.add("default", &wanted, true);
    assert!(shake(&client, &server, "192.0.2.1").is_ok());
    assert!(shake(&client, &server, "c.example").is_ok());
    assert!(
        shake(&client, &server, "d.example")
            .unwrap_err()
            .server
            .is_some()
    );
}

#[test]
fn a_client_that_names_no_host_gets_the_only_certificate() {
    // rustls names no host when it asks for an address.
    let world = World::new(&[&["a.example", "192.0.2.1"]]);
    let server = world.server(&ServerOptions::default());
    let client = world.client().config();
    assert!(shake(&client, &server, "192.0.2.1").is_ok());
    // Another name is another certificate's.
    let failed = shake(&client, &server, "b.example").unwrap_err();
    assert_eq!(refused(&failed), AlertDescription::AccessDenied);
    let second = Wanted {
        names: &["b.example"],
        ..Wanted::default()
    };
    world.add("second", &second, false);
    let failed = shake(&client, &server, "192.0.2.1").unwrap_err();
    assert_eq!(refused(&failed), AlertDescription::AccessDenied);
}

#[test]
fn both_versions_are_spoken_unless_one_is_too_old() {
    let world = World::new(&[&["a.example"]]);
    let only = |version| {
        let mut client = world.client();
        client.versions = vec![version];
        client.config()
    };
    let server = world.server(&ServerOptions::default());
    for (version, name) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let (client, _) = shake(&only(version), &server, "a.example").unwrap();
        assert_eq!(client.protocol_version(), Some(name));
    }
    let server = world.server(&ServerOptions {
        min_version: MinVersion::Tls13,
        ..ServerOptions::default()
    });
    let failed = shake(&only(&TLS12), &server, "a.example").unwrap_err();
    assert_eq!(refused(&failed), AlertDescription::ProtocolVersion);
    assert!(shake(&only(&TLS13), &server, "a.example").is_ok());
}

#[test]
fn sessions_are_resumed() {
    let world = World::new(&[&["a.example"]]);
    for version in [&TLS12, &TLS13] {
        let server = world.server(&ServerOptions::default());
        let mut client = world.client();
        client.versions = vec![version];
        let client = client.config();
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (client, server) = shake(&client, &server, "a.example").unwrap();
            assert_eq!(client.handshake_kind(), Some(expected), "{version:?}");
            assert_eq!(server.handshake_kind(), Some(expected), "{version:?}");
        }
        // Another listener has other keys of tickets.
        let other = world.server(&ServerOptions::default());
        let (client, _) = shake(&client, &other, "a.example").unwrap();
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn the_hybrid_exchange_of_keys_comes_first_and_the_others_work() {
    let world = World::new(&[&["a.example"]]);
    let server = world.server(&ServerOptions::default());
    let group = |client: Client| {
        let (client, _) = shake(&client.config(), &server, "a.example").unwrap();
        client.negotiated_key_exchange_group().unwrap().name()
    };
    assert_eq!(provider().kx_groups[0].name(), NamedGroup::X25519MLKEM768);
    let mut client = world.client();
    client.provider = CryptoProvider::clone(&provider());
    assert_eq!(group(client), NamedGroup::X25519MLKEM768);
    for only in &provider().kx_groups {
        let mut client = world.client();
        client.provider.kx_groups = vec![*only];
        assert_eq!(group(client), only.name());
    }
    // A client that sends a share for X25519 alone, though it knows the hybrid too, is not asked for
    // another: that would be one more round trip.
    let mut client = world.client();
    client.provider.kx_groups = vec![
        aws_lc_rs::kx_group::X25519,
        aws_lc_rs::kx_group::X25519MLKEM768,
    ];
    assert_eq!(group(client), NamedGroup::X25519);
}

#[test]
fn protocols_are_negotiated() {
    let world = World::new(&[&["a.example"]]);
    let server = world.server(&ServerOptions::default());
    let with = |protocols: &[&str]| {
        let mut client = world.client();
        client.alpn = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let (client, _) = shake(&client.config(), &server, "a.example")?;
        Ok(client
            .alpn_protocol()
            .map(|p| String::from_utf8(p.to_vec()).unwrap()))
    };
    for (offered, expected) in [
        (&["http/1.1", "h2"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["http/1.0", "http/1.1"], Some("http/1.1")),
        (&["http/1.0"], Some("http/1.0")),
        (&[], None),
    ] {
        assert_eq!(with(offered).unwrap().as_deref(), expected, "{offered:?}");
    }
    let failed: Box<Failed> = with(&["smtp"]).unwrap_err();
    assert_eq!(refused(&failed), AlertDescription::NoApplicationProtocol);
    // Challenges are off.
    let failed = with(&["acme-tls/1"]).unwrap_err();
    assert!(failed.client.is_some());
}

#[test]
fn a_challenge_is_answered_to_nobody_else() {
    let world = World::new(&[&["a.example"]]);
    let server = world.server(&ServerOptions {
        challenges: true,
        ..ServerOptions::default()
    });
    let answer = world.authority.issue(&Wanted {
        names: &["a.example"],
        ..Wanted::default()
    });
    let answer = pair(&answer).certified;
    let shown = |alpn: &[&str]| {
        let mut client = world.client();
        client.alpn = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let (client, _) = shake(&client.config(), &server, "a.example")?;
        Ok::<_, Box<Failed>>(client.peer_certificates().unwrap()[0] == answer.cert[0])
    };
    let failed = shown(&["acme-tls/1"]).unwrap_err();
    assert_eq!(refused(&failed), AlertDescription::AccessDenied);
    world.certificates.set_challenge("A.example", &answer);
    assert!(shown(&["acme-tls/1"]).unwrap());
    assert!(!shown(&["h2", "acme-tls/1"]).unwrap());
    assert!(!shown(&[]).unwrap());
    world.certificates.clear_challenge("a.example");
    assert!(shown(&["acme-tls/1"]).is_err());
}

#[test]
fn a_client_without_the_certificate_that_is_asked_for_is_refused() {
    let world = World::new(&[&["a.example"]]);
    let people = Authority::root("People");
    let authorities = || Authorities::parse(people.certificate.as_bytes()).unwrap();
    let member = people.issue(&Wanted::default());
    let stranger = Authority::root("Else").issue(&Wanted::default());
    let with = |client_auth: ClientAuth, identity: Option<&Identity>| {
        let server = world.server(&ServerOptions {
            client_auth,
            ..ServerOptions::default()
        });
        let mut client = world.client();
        client.identity = identity.cloned();
        let (_, server) = shake(&client.config(), &server, "a.example")?;
        Ok::<_, Box<Failed>>(server.peer_certificates().is_some())
    };
    assert!(!with(ClientAuth::Off, Some(&member)).unwrap());
    assert!(!with(ClientAuth::Optional(authorities()), None).unwrap());
    assert!(with(ClientAuth::Optional(authorities()), Some(&member)).unwrap());
    assert!(with(ClientAuth::Require(authorities()), Some(&member)).unwrap());
    for (client_auth, identity, expected) in [
        (
            ClientAuth::Require(authorities()),
            None,
            AlertDescription::CertificateRequired,
        ),
        (
            ClientAuth::Require(authorities()),
            Some(&stranger),
            AlertDescription::UnknownCA,
        ),
        (
            ClientAuth::Optional(authorities()),
            Some(&stranger),
            AlertDescription::UnknownCA,
        ),
    ] {
        let failed = with(client_auth, identity).unwrap_err();
        assert_eq!(refused(&failed), expected);
    }
}

#[test]
fn a_resumed_session_has_the_clients_certificate_that_it_began_with() {
    let world = World::new(&[&["a.example"]]);
    let people = Authority::root("People");
    let member = people.issue(&Wanted::default());
    let expected = pair(&member).certified.cert[0].clone();
    let server = world.server(&ServerOptions {
        client_auth: ClientAuth::Require(
            Authorities::parse(people.certificate.as_bytes()).unwrap(),
        ),
        ..ServerOptions::default()
    });
    for version in [&TLS12, &TLS13] {
        let mut client = world.client();
        client.versions = vec![version];
        client.identity = Some(member.clone());
        let client = client.config();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (_, server) = shake(&client, &server, "a.example").unwrap();
            assert_eq!(server.handshake_kind(), Some(kind));
            assert_eq!(server.peer_certificates().unwrap()[0], expected);
        }
    }
}

#[test]
fn authorities_are_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let missing = Authorities::load(&path).unwrap_err().to_string();
    assert!(missing.ends_with("check the path"), "{missing}");
    std::fs::write(&path, &Identity::shared().key).unwrap();
    let none = Authorities::load(&path).unwrap_err().to_string();
    assert!(none.contains("ca.pem has no certificate"), "{none}");
    std::fs::write(&path, Authority::root("Root").certificate).unwrap();
    Authorities::load(&path).unwrap();
}

#[test]
fn of_two_for_a_name_the_client_gets_the_one_that_it_can_check() {
    let world = World::new(&[]);
    for (name, algorithm) in [
        ("ecdsa", &PKCS_ECDSA_P256_SHA256),
        ("rsa", &PKCS_RSA_SHA256),
    ] {
        let wanted = Wanted {
            names: &["a.example"],
            algorithm,
            ..Wanted::default()
        };
        world.add(name, &wanted, false);
    }
    let choose = |scheme| {
        let chosen = world.certificates.choose(Some("a.example"), &[scheme]);
        chosen.unwrap().key.choose_scheme(&[scheme]).is_some()
    };
    assert!(choose(SignatureScheme::ECDSA_NISTP256_SHA256));
    assert!(choose(SignatureScheme::RSA_PSS_SHA256));
    assert!(!choose(SignatureScheme::ED25519));
}

#[test]
fn a_change_is_seen_by_the_next_handshake_and_no_connection() {
    let world = World::new(&[&["a.example"]]);
    let server = world.server(&ServerOptions::default());
    let client = || world.client().config();
    let (mut one, mut other) = shake(&client(), &server, "a.example").unwrap();
    world.add(
        "c0",
        &Wanted {
            names: &["b.example"],
            ..Wanted::default()
        },
        false,
    );
    assert!(shake(&client(), &server, "a.example").is_err());
    assert!(shake(&client(), &server, "b.example").is_ok());
    one.writer().write_all(b"still here").unwrap();
    let mut wire = Vec::new();
    one.write_tls(&mut wire).unwrap();
    other.read_tls(&mut wire.as_slice()).unwrap();
    other.process_new_packets().unwrap();
    let mut text = [0; 10];
    other.reader().read_exact(&mut text).unwrap();
    assert_eq!(&text, b"still here");
}
