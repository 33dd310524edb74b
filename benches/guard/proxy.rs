//! The proxy under callgrind, with a folder of its own, and the orders that callgrind takes while it runs.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::Result;
use crate::scenario::{Connection, Request, Scenario};

pub(crate) struct Proxy {
    child: Child,
    pub(crate) port: u16,
    /// What it shows to clients, where it speaks TLS.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    folder: TempDir,
    /// How many files callgrind has written.
    dumps: usize,
}

impl Proxy {
    pub(crate) fn start(scenario: &Scenario, binary: &Path, origin: u16) -> Result<Self> {
        let folder = TempDir::with_prefix("guard-")?;
        let certificate = match scenario.connection {
            Connection::Tls => Some(make_certificate(folder.path())?),
            Connection::Http1 | Connection::Http2 => None,
        };
        let conf = configuration(scenario, folder.path(), origin)?;
        fs::write(folder.path().join("conf.yaml"), conf)?;
        let log = folder.path().join("log");
        let mut child = Command::new("valgrind")
            .arg("--tool=callgrind")
            // Instructions are counted from the first order on; the start runs faster without.
            .arg("--instr-atstart=no")
            // Takes orders soon without being stopped by ptrace(2), as long as there is something to do.
            .arg("--vgdb-poll=500")
            .arg(option("--callgrind-out-file", folder.path(), "out"))
            .arg(option("--vgdb-prefix", folder.path(), "vgdb"))
            .arg(binary)
            .arg("--conf")
            .arg(folder.path().join("conf.yaml"))
            .env_remove("RUST_LOG")
            .env_remove("PORT")
            .env_remove("port")
            // Else copies of some length are one instruction for each byte to callgrind (rep movsb),
            // and how long they have to be depends on the processor.
            .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        let out = child.stdout.take().ok_or("no standard output")?;
        let mut proxy = Self {
            child,
            port: 0,
            certificate,
            folder,
            dumps: 0,
        };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let log = fs::read_to_string(&log)?;
        let port = match scenario.connection {
            // The line is about the first listener, which is in cleartext.
            Connection::Tls => log
                .lines()
                .find_map(|line| Some(line.split_once("TLS on ")?.1)),
            Connection::Http1 | Connection::Http2 => line.trim().rsplit(' ').next(),
        };
        let port = port.and_then(|shown| shown.rsplit(':').next()?.parse().ok());
        proxy.port = port.ok_or_else(|| format!("the proxy has not started: {log}"))?;
        if scenario.request == Request::Call {
            proxy.register(&scenario.http1(0, origin))?;
        }
        Ok(proxy)
    }

    fn register(&self, request: &[u8]) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(request)?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        if line.starts_with("HTTP/1.1 200 ") {
            return Ok(());
        }
        Err(format!("a registration was answered with {line:?}").into())
    }

    /// Begins to look at instructions.
    pub(crate) fn look(&self) -> Result<()> {
        self.order(&["instrumentation", "on"])
    }

    /// Forgets what has been counted.
    pub(crate) fn zero(&self) -> Result<()> {
        self.order(&["zero"])
    }

    /// Has what was counted since the last time written to a file.
    pub(crate) fn dump(&mut self) -> Result<PathBuf> {
        self.dumps += 1;
        self.order(&["dump"])?;
        Ok(self.folder.path().join(format!("out.{}", self.dumps)))
    }

    fn order(&self, words: &[&str]) -> Result<()> {
        let said = Command::new("vgdb")
            .arg(option("--vgdb-prefix", self.folder.path(), "vgdb"))
            .arg(format!("--pid={}", self.child.id()))
            // A proxy that sleeps takes no orders by itself, and this one sleeps for as long as nobody asks: after
            // this time valgrind is called by ptrace(2).
            .arg("--max-invoke-ms=200")
            .args(words)
            .output()?;
        if said.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&said.stderr);
        Err(format!("vgdb {}: {}: {why}", words.join(" "), said.status).into())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("the proxy does not end: {error}");
        }
    }
}

fn option(name: &str, folder: &Path, file: &str) -> String {
    format!("{name}={}", folder.join(file).display())
}

/// One worker and all else as it is by default.
fn configuration(scenario: &Scenario, folder: &Path, origin: u16) -> Result<String> {
    let mut text = "port: 0\nthreads: 1\ncontrol: {listen: 'off'}\n".to_owned();
    if scenario.connection == Connection::Http2 {
        writeln!(text, "http2: {{cleartext: true}}")?;
    }
    if scenario.connection == Connection::Tls {
        let folder = folder.display();
        writeln!(text, "tls:\n  listen: ['127.0.0.1:0']\n  certificates:")?;
        writeln!(text, "    - name: localhost")?;
        writeln!(text, "      certificate: {folder}/localhost.crt")?;
        writeln!(text, "      key: {folder}/localhost.key")?;
    }
    if scenario.request == Request::Call {
        // It is registered: routes of a configuration are for HTTP/1.1.
        return Ok(text);
    }
    writeln!(text, "routes:")?;
    for number in 0..scenario.routes {
        let prefix = scenario.prefix(number);
        writeln!(text, "  - {{prefix: '{prefix}', port: {origin}}}")?;
    }
    Ok(text)
}

/// A certificate for `localhost` that vouches for itself, as the configuration names it.
fn make_certificate(folder: &Path) -> Result<CertificateDer<'static>> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
    fs::write(folder.join("localhost.crt"), certificate.pem())?;
    fs::write(folder.join("localhost.key"), key.serialize_pem())?;
    Ok(certificate.der().clone())
}
