//! `/v1/certificates`: the certificates of TLS with clients. A private key comes in and never goes out.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::not_allowed;
use super::input;
use super::openapi::refusals::{BadBody, NotKept, NotThere, Refused};
use super::openapi::requests::CertificatePath;
use super::openapi::texts;
use super::problem::{Problem, internal};
use super::state::Control;
use crate::registry::{Action, Actor};
use crate::route::{HostPattern, PathPrefix, RouteKey};
use crate::tls::{
    Certificates, Given, Part, RemoveError, Source, StoreError, Stored, TakeError, Taken,
};

type Result<T> = std::result::Result<T, Problem>;
type Asked = std::result::Result<Path<String>, PathRejection>;

/// A certificate as it is given.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "certificate": "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n",
    "key": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n"
}))]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateInput {
    /// The certificate and its chain, PEM.
    #[schema(value_type = texts::CertificatePem)]
    certificate: String,
    /// Its private key, PEM, not encrypted: PKCS#8, PKCS#1 or SEC1.
    #[schema(value_type = texts::KeyPem)]
    key: String,
    /// Whether it serves clients that no other certificate is for; another that did does so no
    /// more.
    #[serde(default)]
    default: bool,
}

/// A certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CertificateView {
    /// Its name.
    #[schema(value_type = texts::CertificateName)]
    name: String,
    /// Where it is from.
    source: SourceName,
    /// Whether it serves clients that no other certificate is for.
    default: bool,
    /// The details of the certificate; null if it could not be read or got, and is not in use.
    #[schema(required)]
    details: Option<DetailsView>,
    /// Why its files, as they are now, are of no use, or why an authority has given no new one, and
    /// when it is asked again; what was there before is in use.
    #[schema(required)]
    last_error: Option<String>,
    /// How many changes of its files were of no use, or how often there was no new one.
    failures: u64,
}

/// The content of a certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DetailsView {
    /// The DNS names that it is for: `example.com`, `*.example.com`.
    names: Vec<String>,
    /// Whom it is for.
    subject: String,
    /// Who issued it.
    issuer: String,
    /// The issuer's number for it, hexadecimal.
    serial: String,
    /// From when it is valid.
    #[schema(value_type = texts::Time)]
    not_before: String,
    /// Until when it is valid.
    #[schema(value_type = texts::Time)]
    not_after: String,
    /// The SHA-256 of the certificate, hexadecimal.
    #[schema(min_length = 64, max_length = 64)]
    sha256: String,
}

/// Where a certificate is from.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SourceName {
    /// Files that the configuration names.
    File,
    /// This API.
    Api,
    /// A certificate authority that was asked for it (RFC 8555).
    Acme,
}

/// All certificates.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CertificateList {
    /// The certificates, by name.
    certificates: Vec<CertificateView>,
    /// How many changes of files were of no use, and how often an authority has given no new one.
    failures: u64,
    /// How many handshakes asked for a name that no certificate is for.
    unmatched: u64,
}

/// The result of a change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CertificateChanged {
    result: CertificateResult,
    /// The certificate as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateView>,
}

/// The outcome of a certificate.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum CertificateResult {
    /// It is new.
    Created,
    /// It is in the place of another.
    Replaced,
    /// It was there already.
    Unchanged,
    /// It is gone.
    Removed,
}

/// Lists certificates: those that the token's scopes allow.
#[utoipa::path(get, path = "/v1/certificates", tag = "certificates",
    operation_id = "listCertificates", responses(
        (status = 200, description = "The certificates", body = CertificateList),
        Refused,
    ))]
pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<CertificateList>> {
    check(&actor)?;
    let certificates = &control.certificates;
    let allowed = certificates.list().into_iter();
    Ok(Json(CertificateList {
        certificates: allowed
            .filter(|stored| may(&actor, stored))
            .map(|stored| view(&stored))
            .collect(),
        failures: certificates.failures(),
        unmatched: certificates.unmatched(),
    }))
}

/// Reads a certificate.
#[utoipa::path(get, path = "/v1/certificates/{name}", tag = "certificates",
    operation_id = "getCertificate", params(CertificatePath), responses(
        (status = 200, description = "The certificate", body = CertificateView),
        Refused, NotThere,
    ))]
pub(super) async fn read(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked,
) -> Result<Json<CertificateView>> {
    check(&actor)?;
    let name = name(asked)?;
    let Some(stored) = control.certificates.get(&name) else {
        return Err(no_such_certificate(&name));
    };
    if !may(&actor, &stored) {
        return Err(not_allowed(Action::Certificates));
    }
    Ok(Json(view(&stored)))
}

/// Puts a certificate, in the place of the one that has the name. Every later handshake sees it; no
/// connection notices.
#[utoipa::path(put, path = "/v1/certificates/{name}", tag = "certificates",
    operation_id = "putCertificate", params(CertificatePath), request_body = CertificateInput,
    responses(
        (status = 200, description = "Replaced, or unchanged", body = CertificateChanged),
        (status = 201, description = "Created", body = CertificateChanged, headers(
            ("Location" = String, description = "The certificate's path"),
        )),
        Refused, BadBody, NotKept,
    ))]
pub(super) async fn put(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked,
    fields: HeaderMap,
    body: Body,
) -> Result<Response> {
    check(&actor)?;
    let name = name(asked)?;
    let input: CertificateInput = input::json(&control, &fields, body).await?;
    let certificates = Arc::clone(&control.certificates);
    let path = format!("/v1/certificates/{name}");
    let (taken, stored) = writing(move || {
        let given = Given {
            certificate: &input.certificate,
            key: &input.key,
            default: input.default,
            source: Source::Api,
        };
        let taken = certificates.take_if(&name, &given, |stored| may(&actor, stored))?;
        Ok::<_, TakeError>((taken, certificates.get(&name)))
    })
    .await?
    .map_err(|error| not_taken(&error))?;
    let result = match taken {
        Taken::Created => CertificateResult::Created,
        Taken::Replaced => CertificateResult::Replaced,
        Taken::Unchanged => CertificateResult::Unchanged,
    };
    let mut response = changed(result, stored.as_ref());
    if taken == Taken::Created {
        *response.status_mut() = StatusCode::CREATED;
        if let Ok(path) = HeaderValue::from_str(&path) {
            response.headers_mut().insert(LOCATION, path);
        }
    }
    Ok(response)
}

/// Removes a certificate that is not the configuration's. Connections that use it are not disturbed.
#[utoipa::path(delete, path = "/v1/certificates/{name}", tag = "certificates",
    operation_id = "removeCertificate", params(CertificatePath), responses(
        (status = 200, description = "Removed", body = CertificateChanged),
        Refused, NotThere, NotKept,
    ))]
pub(super) async fn remove(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    asked: Asked,
) -> Result<Response> {
    check(&actor)?;
    let name = name(asked)?;
    let certificates: Arc<Certificates> = Arc::clone(&control.certificates);
    writing(move || certificates.remove_if(&name, |stored| may(&actor, stored)))
        .await?
        .map_err(|error| not_removed(&error))?;
    Ok(changed(CertificateResult::Removed, None))
}

/// The name in the path, or what is wrong with it.
fn name(asked: Asked) -> Result<String> {
    match asked {
        Ok(Path(name)) => Ok(name),
        // Its escapes are no text.
        Err(_) => Err(not_taken(&TakeError::Name)),
    }
}

/// Runs what writes to the disk where it holds nobody up.
async fn writing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        log::error!("certificates cannot be changed: {error}");
        internal()
    })
}

fn changed(result: CertificateResult, stored: Option<&Stored>) -> Response {
    let certificate = stored.map(view);
    Json(CertificateChanged {
        result,
        certificate,
    })
    .into_response()
}

fn check(actor: &Actor) -> Result<()> {
    if actor.rights.may(Action::Certificates) {
        return Ok(());
    }
    Err(not_allowed(Action::Certificates))
}

/// Whether a certificate is within a scope: with its default, or without names, it may be for any
/// host.
fn may(actor: &Actor, stored: &Stored) -> bool {
    let allows = |host: HostPattern| {
        let prefix = PathPrefix::root();
        let key = RouteKey { host, prefix };
        actor.rights.allows(Action::Certificates, &key, None)
    };
    let names = stored.details.iter().flat_map(|details| &details.names);
    let mut hosts = names.map(|name| HostPattern::parse(&name.to_string()));
    let is_any = stored.default || hosts.clone().next().is_none();
    if is_any && !allows(HostPattern::Any) {
        return false;
    }
    hosts.all(|host| allows(host.unwrap_or(HostPattern::Any)))
}

fn view(stored: &Stored) -> CertificateView {
    let time = |time| humantime::format_rfc3339_seconds(time).to_string();
    CertificateView {
        name: stored.name.to_string(),
        source: match stored.source {
            Source::File => SourceName::File,
            Source::Api => SourceName::Api,
            Source::Acme => SourceName::Acme,
        },
        default: stored.default,
        details: stored.details.as_ref().map(|details| DetailsView {
            names: details.names.iter().map(ToString::to_string).collect(),
            subject: details.subject.clone(),
            issuer: details.issuer.clone(),
            serial: details.serial.clone(),
            not_before: time(details.not_before),
            not_after: time(details.not_after),
            sha256: details.fingerprint.clone(),
        }),
        last_error: stored.last_error.as_ref().map(ToString::to_string),
        failures: stored.failures,
    }
}

fn not_taken(error: &TakeError) -> Problem {
    let problem = |status, code| Problem::new(status, code, sentence(&error.to_string()));
    match error {
        TakeError::Name => problem(StatusCode::BAD_REQUEST, "INVALID_NAME"),
        TakeError::Pair(pair) => {
            let field = match pair.part() {
                Part::Certificate => "certificate",
                Part::Key => "key",
            };
            let detail = format!("The field `{field}` {pair}.");
            Problem::new(StatusCode::BAD_REQUEST, pair.code(), detail).at(format!("/{field}"))
        }
        TakeError::Configured(_) => problem(StatusCode::CONFLICT, "CERTIFICATE_CONFIGURED"),
        TakeError::DefaultConfigured(_) => {
            problem(StatusCode::CONFLICT, "DEFAULT_CONFIGURED").at("/default")
        }
        TakeError::Forbidden => not_allowed(Action::Certificates),
        TakeError::Closed => problem(StatusCode::SERVICE_UNAVAILABLE, "CLOSED"),
        TakeError::Store(error) => not_kept(error),
    }
}

fn not_removed(error: &RemoveError) -> Problem {
    let problem = |status, code| Problem::new(status, code, sentence(&error.to_string()));
    match error {
        RemoveError::Unknown(name) => no_such_certificate(name),
        RemoveError::Configured(_) => problem(StatusCode::CONFLICT, "CERTIFICATE_CONFIGURED"),
        RemoveError::Closed => problem(StatusCode::SERVICE_UNAVAILABLE, "CLOSED"),
        RemoveError::Forbidden => not_allowed(Action::Certificates),
        RemoveError::Store(error) => not_kept(error),
    }
}

fn not_kept(error: &StoreError) -> Problem {
    log::error!("{error}; the certificates stay as they were");
    let (status, code, remedy) = if error.is_full() {
        let status = StatusCode::INSUFFICIENT_STORAGE;
        (status, "STORE_FULL", "make room")
    } else {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        (status, "STORE_FAILED", "look after the disk and the folder")
    };
    let detail = format!("Nothing was changed: {error}; {remedy}, then try again.");
    Problem::new(status, code, detail)
}

fn no_such_certificate(name: &str) -> Problem {
    let error = RemoveError::Unknown(name.into());
    Problem::new(
        StatusCode::NOT_FOUND,
        "NO_SUCH_CERTIFICATE",
        sentence(&error.to_string()),
    )
}

/// An error's text as a sentence.
fn sentence(text: &str) -> String {
    let mut text = format!("{text}.");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}
