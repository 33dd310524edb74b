//! The module as a whole: loading, changing, and handshakes in memory.

mod changes;
mod handshakes;
mod loading;

use std::path::PathBuf;

use super::CertificateFiles;
use super::testing::Identity;

/// The files of certificates, in a folder of their own.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(file), text).unwrap();
    }

    /// Writes both files of a certificate.
    fn put(&self, name: &str, identity: &Identity) {
        self.write(&format!("{name}.crt"), &identity.certificate);
        self.write(&format!("{name}.key"), &identity.key);
    }

    fn entry(&self, name: &str) -> CertificateFiles {
        CertificateFiles {
            name: name.to_owned(),
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
            default: false,
        }
    }

    fn default(&self, name: &str) -> CertificateFiles {
        CertificateFiles {
            default: true,
            ..self.entry(name)
        }
    }
}
