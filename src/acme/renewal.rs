//! When a certificate is to be renewed: in the window that the authority suggests (ARI, RFC 9773), or
//! at about two thirds of its lifetime.

use std::time::{Duration, SystemTime};

use instant_acme::CertificateIdentifier;
use rustls::pki_types::{CertificateDer, Der, pem::PemObject as _};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A certificate is not replaced sooner than this after it came, or a third of its lifetime: with a
/// clock that is wrong, or an authority that says so again and again, there would be no end.
const SOONEST: Duration = Duration::from_hours(1);

/// However short its lifetime is, no sooner than this.
const FLOOR: Duration = Duration::from_mins(1);

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    fn lifetime(self) -> Duration {
        let lifetime = self.not_after.duration_since(self.not_before);
        lifetime.unwrap_or(Duration::ZERO)
    }

    /// Two thirds of the lifetime, less up to a twentieth of it: not all certificates of one day are
    /// renewed in one moment.
    pub(super) fn two_thirds(self, random: f64) -> SystemTime {
        let lifetime = self.lifetime();
        let jitter = lifetime.mul_f64(0.05 * random.clamp(0.0, 1.0));
        self.not_before + (lifetime * 2 / 3).saturating_sub(jitter)
    }

    /// Whether it expires soon: within a sixth of its lifetime. One that has expired does not.
    pub(super) fn is_ending(self, now: SystemTime) -> bool {
        let left = self.not_after.duration_since(now);
        left.is_ok_and(|left| left < self.lifetime() / 6)
    }

    /// Before this it is not renewed, if it was issued at this moment.
    pub(super) fn soonest(self, issued: SystemTime) -> SystemTime {
        let rest = SOONEST.min(self.lifetime() / 3).max(FLOOR);
        issued.checked_add(rest).unwrap_or(issued)
    }
}

/// The window in which the authority suggests to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
}

impl Window {
    /// A moment in it (RFC 9773, 4.2), and of the certificate's lifetime; one that is no window, or that
    /// begins after the certificate has expired, is of no use.
    pub(super) fn moment(self, validity: Validity, random: f64) -> Option<SystemTime> {
        let length = self.end.duration_since(self.start).ok()?;
        let into = length.mul_f64(random.clamp(0.0, 1.0));
        let moment = self.start.checked_add(into)?;
        let moment = moment.min(validity.not_after).max(validity.not_before);
        (self.start < validity.not_after).then_some(moment)
    }
}

/// The name of a certificate in RFC 9773, 4.1; none if it has no authority key identifier.
pub(super) fn identifier(chain: &str) -> Option<CertificateIdentifier<'static>> {
    let der = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
    let (_rest, certificate) = X509Certificate::from_der(&der).ok()?;
    let extensions = certificate.iter_extensions();
    let mut parsed = extensions.map(x509_parser::extensions::X509Extension::parsed_extension);
    let key = parsed.find_map(|extension| match extension {
        ParsedExtension::AuthorityKeyIdentifier(extension) => extension.key_identifier.as_ref(),
        _ => None,
    })?;
    let serial = certificate.tbs_certificate.raw_serial();
    let identifier = CertificateIdentifier::new(Der::from_slice(key.0), Der::from_slice(serial));
    Some(identifier.into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const DAY: u64 = 86_400;

    fn day(number: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(number * DAY)
    }

    fn validity(days: u64) -> Validity {
        Validity {
            not_before: day(1000),
            not_after: day(1000 + days),
        }
    }

    #[test]
    fn without_a_window_it_is_at_two_thirds_or_a_bit_before() {
        assert_eq!(validity(90).two_thirds(0.0), day(1060));
        let early = validity(90).two_thirds(1.0);
        assert!(early < day(1056) && early > day(1055), "{early:?}");
        // Dates in the wrong order.
        let odd = Validity {
            not_before: day(9),
            not_after: day(1),
        };
        assert_eq!(odd.two_thirds(1.0), day(9));
    }

    #[test]
    fn what_has_just_come_is_not_renewed_at_once() {
        let hour = Duration::from_hours(1);
        assert_eq!(validity(90).soonest(day(1000)), day(1000) + hour);
        let short = Validity {
            not_after: day(1000) + Duration::from_mins(30),
            ..validity(1)
        };
        assert_eq!(
            short.soonest(day(1000)),
            day(1000) + Duration::from_mins(10)
        );
        // Of two seconds, and of none.
        for seconds in [0, 2] {
            let tiny = Validity {
                not_after: day(1000) + Duration::from_secs(seconds),
                ..validity(1)
            };
            assert_eq!(tiny.soonest(day(1000)), day(1000) + Duration::from_mins(1));
        }
    }

    #[test]
    fn a_moment_lies_in_the_window() {
        let window = |start: u64, end: u64| Window {
            start: day(start),
            end: day(end),
        };
        let moment = |window: Window, random| window.moment(validity(90), random);
        assert_eq!(moment(window(1050, 1052), 0.5), Some(day(1051)));
        // In the past: at once.
        assert_eq!(moment(window(900, 902), 0.0), Some(day(1000)));
        // Before 1970.
        let century = Duration::from_hours(24 * 365 * 100);
        let old = Window {
            start: UNIX_EPOCH - century,
            end: UNIX_EPOCH - century,
        };
        assert_eq!(moment(old, 0.5), Some(day(1000)));
        assert_eq!(moment(window(1089, 1200), 1.0), Some(day(1090)));
        assert_eq!(moment(window(1052, 1050), 0.5), None);
        assert_eq!(moment(window(1091, 1092), 0.5), None);
    }

    /// The certificate of RFC 9773's appendix A, and its name in 4.1.
    #[test]
    fn a_certificate_is_named_as_in_the_rfc() {
        let chain = "-----BEGIN CERTIFICATE-----\n\
            MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt\n\
            cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS\n\
            BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu\n\
            7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf\n\
            qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B\n\
            yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb\n\
            +FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK\n\
            -----END CERTIFICATE-----\n";
        let name = identifier(chain).unwrap().to_string();
        assert_eq!(name, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }
}
