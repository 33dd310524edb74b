//! The certificate authorities whose client certificates are believed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use thiserror::Error;

use super::error::{PairError, remedy};
use super::pem;

/// Certificate authorities, at least one.
#[derive(Clone, Debug)]
pub struct Authorities(Arc<RootCertStore>);

/// Why there are no authorities.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthoritiesError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}; {}", path.display(), remedy(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is of no use.
    #[error("{} {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: PairError,
    },
}

impl Authorities {
    /// Reads a file of certificates, PEM.
    ///
    /// # Errors
    /// [`AuthoritiesError`]: it cannot be read, or not every certificate in it is one.
    pub fn load(path: &Path) -> Result<Self, AuthoritiesError> {
        let text = fs::read(path).map_err(|source| AuthoritiesError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|problem| AuthoritiesError::Unusable {
            path: path.to_owned(),
            problem,
        })
    }

    /// Reads certificates, PEM.
    ///
    /// # Errors
    /// [`PairError`] of the first that is not valid.
    pub fn parse(text: &[u8]) -> Result<Self, PairError> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in pem::certificates(text)?.into_iter().enumerate() {
            roots
                .add(certificate)
                .map_err(|error| PairError::BadCertificate {
                    number: index + 1,
                    reason: error.to_string(),
                })?;
        }
        Ok(Self(Arc::new(roots)))
    }

    /// The authorities, to add others to.
    #[cfg(feature = "acme")]
    pub(crate) fn to_roots(&self) -> RootCertStore {
        RootCertStore::clone(&self.0)
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}
