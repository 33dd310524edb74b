//! The account at the authority: made once, kept, and used from then on.

use instant_acme::{Account, ExternalAccountKey, NewAccount};
use log::{info, warn};

use super::client::{Client, RetryAfter};
use super::context::Context;
use super::failure::{Failure, LONGEST, Scope, one_line};
use super::files::{Files, KeptAccount};
use super::options::Options;

/// An account that is known to the authority, as far as we know.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) account: Account,
    pub(super) retry_after: RetryAfter,
}

/// The account that is kept; none if there is none.
pub(super) async fn kept(options: &Options, files: &Files) -> Result<Option<Open>, Failure> {
    let Some(kept) = files.account(&options.directory) else {
        return Ok(None);
    };
    let client = Client::new(&options.directory, options.authorities.as_ref())?;
    let retry_after = client.retry_after();
    let failed = |error| Failure::of_library(&error, &retry_after);
    let builder = Account::builder_with_http(Box::new(client));
    let account = builder
        .from_credentials(kept.credentials)
        .await
        .map_err(failed)?;
    Ok(Some(Open {
        account,
        retry_after,
    }))
}

/// The account that is kept, or a new one. Whoever calls this has the lock.
pub(super) async fn open(context: &Context, files: &Files) -> Result<Open, Failure> {
    let options = &context.options;
    if let Some(open) = kept(options, files).await? {
        update_contact(options, files, &open).await;
        return Ok(open);
    }
    if let Some(rest) = context.rest_of_account() {
        let problem =
            "no account: the last one was made within the hour, and there is not to be another";
        return Err(Failure::authority(problem).not_before(Some(rest)));
    }
    let client = Client::new(&options.directory, options.authorities.as_ref())?;
    let retry_after = client.retry_after();
    let contact: Vec<&str> = options.contact.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contact,
        // The configuration says so, or there is no ACME.
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let binding = options
        .binding
        .as_ref()
        .map(|binding| ExternalAccountKey::new(binding.key_id.clone(), &binding.key));
    let made = Account::builder_with_http(Box::new(client))
        .create(&wanted, options.directory.clone(), binding.as_ref())
        .await;
    let (account, credentials) = made.map_err(|error| {
        let failure = Failure::of_library(&error, &retry_after);
        let remedy = remedy(options, &failure);
        let reason = one_line(&failure.reason, LONGEST - 100);
        failure.with(Scope::Authority, &format!("no account: {reason}{remedy}"))
    })?;
    context.note_account();
    let kept = KeptAccount {
        directory: options.directory.clone(),
        contact: options.contact.clone(),
        credentials,
    };
    // Without its key it would be of no use the next time, and another would be made.
    files
        .write_account(&kept)
        .map_err(|error| Failure::authority(error.to_string()))?;
    let id = one_line(account.id(), LONGEST);
    info!("ACME: a new account at {}: {id}", options.directory);
    Ok(Open {
        account,
        retry_after,
    })
}

fn remedy(options: &Options, failure: &Failure) -> &'static str {
    if failure.reason.contains("externalAccount") && options.binding.is_none() {
        "; this authority wants `acme.eab`"
    } else if options.binding.is_some() {
        "; check `acme.eab`"
    } else {
        ""
    }
}

/// Tells the authority who is to be written to, if that is not what it was.
async fn update_contact(options: &Options, files: &Files, open: &Open) {
    let Some(mut kept) = files.account(&options.directory) else {
        return;
    };
    if kept.contact == options.contact {
        return;
    }
    let contact: Vec<&str> = options.contact.iter().map(String::as_str).collect();
    if let Err(error) = open.account.update_contacts(&contact).await {
        let failure = Failure::of_library(&error, &open.retry_after);
        warn!("ACME: the account's contact stays as it was: {failure}");
        return;
    }
    kept.contact.clone_from(&options.contact);
    if let Err(error) = files.write_account(&kept) {
        warn!("ACME: {error}");
    }
}
