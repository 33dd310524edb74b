//! Whether clients have to show a certificate.

use std::fmt;
use std::str::FromStr;

use super::setting::{Setting, by_text};
use crate::route::texts::describe_text;
use crate::route::{FieldError, clip_value};

/// Whether clients have to show a certificate of their own, which their listener has verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Those that show none are served too.
    #[default]
    Optional,
    /// Those that show none are refused: 403.
    Require,
}

impl ClientCertificate {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Require => "require",
        }
    }
}

impl Setting for ClientCertificate {
    const CODE: &'static str = "INVALID_CLIENT_CERTIFICATE";
    const HELP: &'static str =
        "Whether clients have to show a certificate: optional (the default) or require (403)";
    const VALUE: &'static str = "WHETHER";
    const VALUES: &'static [&'static str] = &["optional", "require"];
}

describe_text!(
    ClientCertificate,
    "Whether clients have to show a certificate that their listener believes; one that shows none gets a \
     403.",
    |text| text.enum_values(Some(ClientCertificate::VALUES.iter().copied()))
);

by_text!(ClientCertificate);

impl FromStr for ClientCertificate {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        match text {
            "optional" => Ok(Self::Optional),
            "require" => Ok(Self::Require),
            _ => {
                let text = clip_value(text);
                let problem = format!("{text:?} is not a wish; write optional or require");
                Err(FieldError::new("client_certificate", Self::CODE, problem))
            }
        }
    }
}

impl fmt::Display for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
