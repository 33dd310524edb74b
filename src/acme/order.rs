//! One order: the host is proven to be ours, and a certificate comes back.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeHandle, ChallengeType, Error, Identifier,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use log::debug;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::account::Open;
use super::answers::{self, Answers};
use super::context::Context;
use super::failure::{Failure, Scope, one_line, shown};
use super::options::Challenge;
use crate::tls::{Certificates, provider};

/// The time for a whole order.
const LIMIT: Duration = Duration::from_mins(5);

/// The time for the authority to look at a challenge, or to sign.
const RETRIES: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_mins(2));

/// The most letters that are shown of the challenges that an authority offers.
const LONGEST_OFFER: usize = 200;

/// The result of an order.
pub(super) struct Issued {
    /// The chain, PEM.
    pub(super) certificate: String,
    /// The key, PEM.
    pub(super) key: String,
}

/// An order to be placed.
pub(super) struct Wish {
    pub(super) host: Arc<str>,
    /// The challenges that can be met, the preferred one first.
    pub(super) challenges: Vec<Challenge>,
    /// The certificate that the new one is for, where the authority wants to know (RFC 9773, 5).
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
}

/// The challenges to try after some failures: each time another one first.
pub(super) fn turned(challenges: &[Challenge], failures: u32) -> Vec<Challenge> {
    let mut turned = challenges.to_vec();
    let turns = usize::try_from(failures).unwrap_or(0);
    turned.rotate_left(turns % challenges.len().max(1));
    turned
}

/// Orders a certificate.
pub(super) async fn issue(context: &Context, open: &Open, wish: Wish) -> Result<Issued, Failure> {
    match tokio::time::timeout(LIMIT, try_issue(context, open, wish)).await {
        Ok(issued) => issued,
        Err(_elapsed) => Err(Failure::host(format!("the order took over {LIMIT:?}"))),
    }
}

async fn try_issue(context: &Context, open: &Open, wish: Wish) -> Result<Issued, Failure> {
    let failed = |error: Error| Failure::of_library(&error, &open.retry_after);
    let mut order = begin(open, &wish).await?;
    let proofs = prove(context, &mut order, &wish, &failed).await?;
    if order.state().status == OrderStatus::Pending {
        let decided = order.poll_ready(&RETRIES).await;
        drop(proofs);
        match decided {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
            Ok(_invalid) => return Err(refused(&mut order, None).await),
            Err(Error::Api(problem)) => {
                return Err(refused(&mut order, Some(shown(&problem))).await);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let (request, key) = request(&wish.host).map_err(|error| own_fault(&error))?;
    order.finalize_csr(&request).await.map_err(failed)?;
    let certificate = order.poll_certificate(&RETRIES).await.map_err(failed)?;
    Ok(Issued { certificate, key })
}

/// Makes the order. An authority that does not like what it is to replace is asked without it.
async fn begin(open: &Open, wish: &Wish) -> Result<Order, Failure> {
    let identifiers = [Identifier::Dns(wish.host.to_string())];
    let plain = NewOrder::new(&identifiers);
    if let Some(replaces) = wish.replaces.clone() {
        let replacing = NewOrder::new(&identifiers).replaces(replaces);
        match open.account.new_order(&replacing).await {
            Ok(order) => return Ok(order),
            Err(error) => {
                let failure = Failure::of_new_order(&error, &open.retry_after);
                if failure.scope == Scope::Limit {
                    return Err(failure);
                }
                debug!("ACME: {}: not as a replacement: {failure}", wish.host);
            }
        }
    }
    let ordered = open.account.new_order(&plain).await;
    ordered.map_err(|error| Failure::of_new_order(&error, &open.retry_after))
}

/// Prepares the answers to the order's challenges, and says that they are ready.
async fn prove(
    context: &Context,
    order: &mut Order,
    wish: &Wish,
    failed: &impl Fn(Error) -> Failure,
) -> Result<Vec<Proof>, Failure> {
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed)?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            other => return Err(Failure::host(format!("the authorization is {other:?}"))),
        }
        let offered: Vec<ChallengeType> = authorization
            .challenges
            .iter()
            .map(|challenge| challenge.r#type.clone())
            .collect();
        let mut able = wish.challenges.iter().copied();
        let chosen = able.find(|challenge| offered.contains(&type_of(*challenge)));
        let none = || {
            let offered = one_line(&format!("{offered:?}"), LONGEST_OFFER);
            Failure::host(format!(
                "the authority offers {offered}, and none of it can be met; see `acme.challenge`"
            ))
        };
        let kind = chosen.ok_or_else(none)?;
        let mut challenge = authorization.challenge(type_of(kind)).ok_or_else(none)?;
        proofs.push(Proof::prepare(context, kind, &wish.host, &challenge)?);
        debug!("ACME: {}: {kind:?} is ready", wish.host);
        challenge.set_ready().await.map_err(failed)?;
    }
    Ok(proofs)
}

/// Why the authority has refused: its challenges know best.
async fn refused(order: &mut Order, problem: Option<String>) -> Failure {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else {
            break;
        };
        let Ok(state) = authorization.refresh().await else {
            break;
        };
        for challenge in &state.challenges {
            if let Some(error) = &challenge.error {
                let kind = &challenge.r#type;
                return Failure::host(format!("{kind:?} failed: {}", shown(error)));
            }
        }
    }
    let problem = problem.unwrap_or_else(|| "the authority has refused the order".to_owned());
    Failure::host(problem)
}

fn type_of(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// An answer to a challenge, for as long as it lives.
enum Proof {
    Http {
        _open: answers::Open,
    },
    Tls {
        certificates: Arc<Certificates>,
        host: Arc<str>,
    },
}

impl Proof {
    fn prepare(
        context: &Context,
        kind: Challenge,
        host: &Arc<str>,
        challenge: &ChallengeHandle<'_>,
    ) -> Result<Self, Failure> {
        let authorization = challenge.key_authorization();
        match kind {
            Challenge::Http01 => {
                let answers: &Answers = &context.answers;
                let open = answers.open(&challenge.token, authorization.as_str());
                Ok(Self::Http { _open: open })
            }
            Challenge::TlsAlpn01 => {
                let digest = authorization.digest();
                let answer = challenge_certificate(host, digest.as_ref());
                let answer = answer.map_err(|error| own_fault(&error))?;
                context.certificates.set_challenge(host, &Arc::new(answer));
                Ok(Self::Tls {
                    certificates: Arc::clone(&context.certificates),
                    host: Arc::clone(host),
                })
            }
        }
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        match self {
            Self::Http { .. } => {}
            Self::Tls { certificates, host } => certificates.clear_challenge(host),
        }
    }
}

/// Something that can be wrong on our side alone.
type Own = Box<dyn std::error::Error + Send + Sync>;

fn own_fault(error: &Own) -> Failure {
    Failure::host(format!("the proxy's own fault: {error}"))
}

/// A request for a certificate, DER, and its new key, PEM.
fn request(host: &str) -> Result<(Vec<u8>, String), Own> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok((request.der().to_vec(), key.serialize_pem()))
}

/// The certificate that answers a challenge of TLS-ALPN-01 (RFC 8737, 3).
fn challenge_certificate(host: &str, digest: &[u8]) -> Result<CertifiedKey, Own> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    if digest.len() != 32 {
        return Err("a digest that is not SHA-256's".into());
    }
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Not `from_der`, which refuses the very extension.
    let key = provider().key_provider.load_private_key(der)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    use super::*;

    #[test]
    fn after_a_failure_it_is_the_other_challenge() {
        use Challenge::{Http01, TlsAlpn01};
        let both = [Http01, TlsAlpn01];
        assert_eq!(turned(&both, 0), both);
        assert_eq!(turned(&both, 1), [TlsAlpn01, Http01]);
        assert_eq!(turned(&both, 2), both);
        assert_eq!(turned(&[TlsAlpn01], u32::MAX), [TlsAlpn01]);
        assert_eq!(turned(&[], 3), []);
    }

    /// RFC 8737, 3: the name alone, and the digest in a critical extension.
    #[test]
    fn a_challenge_certificate_is_as_in_the_rfc() {
        let certified = challenge_certificate("a.example", &[7; 32]).unwrap();
        let (_, certificate) = X509Certificate::from_der(&certified.cert[0]).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        let identifier = certificate
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(identifier.critical);
        assert_eq!(identifier.value, [&[4, 32][..], &[7; 32]].concat());
        assert!(challenge_certificate("a.example", &[7; 31]).is_err());
    }
}
