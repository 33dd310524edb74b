//! `health`: the paths of health probes on the listeners of the traffic.

use serde::{Deserialize, Deserializer};

use super::registration_path::is_plain;
use super::text;

/// `health`: health probes on the listeners of the traffic. The control API answers them always, at `/healthz`
/// and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Health {
    /// The path of liveness probes: 200 for as long as the process lives. Default: off.
    #[serde(deserialize_with = "path_or_off")]
    pub liveness_path: Option<String>,
    /// The path of readiness probes: 503 unless the proxy takes requests. Default: off.
    #[serde(deserialize_with = "path_or_off")]
    pub readiness_path: Option<String>,
}

fn path_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text::parse_with(deserializer, |text| match text {
        "off" => Ok(None),
        text if is_plain(text) => Ok(Some(text.to_owned())),
        text => Err(format!(
            "is not a path for probes: {}; write segments of letters, digits and -._~ without a slash at \
             the end, such as /healthz or /-/ready, or off",
            text::shown(text)
        )),
    })
}
