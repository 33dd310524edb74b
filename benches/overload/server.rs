//! The proxy under test, as a process.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::Result;
use crate::args::Args;
use crate::client::get;
use crate::tls::Certificate;

/// A running proxy, killed when it is dropped.
pub(crate) struct Proxy {
    child: Child,
    port: u16,
    tls_port: u16,
    control: u16,
    pub(crate) origin: u16,
    certificate: Certificate,
    folder: TempDir,
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

impl Proxy {
    pub(crate) fn start(args: &Args, origin: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (port, tls_port, control) = (free_port()?, free_port()?, free_port()?);
        let certificate = Certificate::write(folder.path())?;
        let path = folder.path().display();
        let (engine, threads) = (&args.engine, args.threads);
        let configuration = format!(
            "listen: ['127.0.0.1:{port}']\ncontrol: {{listen: '127.0.0.1:{control}'}}\n\
             store: memory\nthreads: {threads}\nengine: {engine}\nhttp2: {{cleartext: true}}\n\
             tls:\n  listen: ['127.0.0.1:{tls_port}']\n  \
             certificates: [{{name: bench, certificate: '{path}/cert.pem', key: '{path}/key.pem'}}]\n\
             routes: [{{prefix: /, host: 127.0.0.1, port: {origin}}}]\n"
        );
        let file = folder.path().join("proxy.yaml");
        fs::write(&file, configuration)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let child = Command::new(&args.proxy)
            .arg("--conf")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let proxy = Self {
            child,
            port,
            tls_port,
            control,
            origin,
            certificate,
            folder,
        };
        for _ in 0..200 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(proxy);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err("the proxy does not listen".into())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The port where it speaks TLS.
    pub(crate) fn tls_port(&self) -> u16 {
        self.tls_port
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(crate) fn control(&self) -> u16 {
        self.control
    }

    /// How many requests it says that it has shed.
    pub(crate) async fn shed(&self) -> Result<u64> {
        let answer = get(self.control, "/v1/status").await?;
        let status: serde_json::Value = serde_json::from_slice(&answer.body)?;
        Ok(status
            .get("shed")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0))
    }

    /// What its log says of overload.
    pub(crate) fn log_of_overload(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines = log
            .lines()
            .filter(|line| line.contains("overload") || line.contains("ERROR"));
        lines.take(20).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Err(error) = self
            .child
            .kill()
            .and_then(|()| self.child.wait().map(|_| ()))
        {
            eprintln!("the proxy goes on: {error}");
        }
    }
}
