//! The account at the CA: made once, stored, and made anew if the CA knows it no more.

use super::http::Http;
use super::setup::Setup;
use super::storage::{Lock, Storage};
use super::time::now;
use super::trouble::{self, Kind, Trouble, is_bad_nonce};
use crate::config::Acme;
use instant_acme::{Account, AccountCredentials, Error, Key, NewAccount};
use rustls::pki_types::PrivateKeyDer;
use serde::{Deserialize, Serialize};

/// How long an account that never worked is kept, in seconds. Let's Encrypt allows ten new ones from one address in 3 hours.
const UNUSED_MIN: i64 = 20 * 60;

/// How often a request is sent again that the CA refused for its nonce. The library has sent it three times by then.
pub(super) const NONCE_TRIES: usize = 5;

/// Repeats an expression that yields a future, while the CA refuses its nonce.
macro_rules! with_fresh_nonce {
    ($attempt:expr) => {{
        let mut tries = 1;
        loop {
            match $attempt.await {
                Err(error) if is_bad_nonce(&error) && tries < NONCE_TRIES => tries += 1,
                done => break done,
            }
        }
    }};
}
pub(super) use with_fresh_nonce;

/// An account as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredAccount {
    created: i64,
    /// Whether a certificate was issued for it.
    used: bool,
    contact: Option<String>,
    credentials: AccountCredentials,
}

/// The account to order with: the stored one, or a new one.
pub(super) async fn open(setup: &Setup) -> Result<Account, Trouble> {
    let Setup { acme, http, .. } = setup;
    let Some(stored) = setup.storage(Storage::account::<StoredAccount>).await else {
        return create(setup).await;
    };
    let opened =
        Account::builder_with_http(Box::new(http.clone())).from_credentials(copy(&stored.credentials)?).await;
    let account = match opened {
        Ok(account) => account,
        Err(Error::KeyRejected) => return replace(setup).await,
        Err(error) => return Err(failed("the directory", &error, http)),
    };
    if stored.contact != acme.contact {
        let address = mailto(acme);
        let list: Vec<_> = address.iter().map(String::as_str).collect();
        match with_fresh_nonce!(account.update_contacts(&list)) {
            Ok(()) => {
                let stored = StoredAccount { contact: acme.contact.clone(), ..stored };
                setup.storage(move |storage, lock| storage.write_account(&stored, lock)).await?;
            }
            // an order does not depend on it, and whether the account is good shows there
            Err(error) => tracing::warn!("the CA does not take tls.acme.contact ({error})"),
        }
    }
    Ok(account)
}

/// Makes an account, and stores it before it is used.
async fn create(setup: &Setup) -> Result<Account, Trouble> {
    let Setup { acme, http, .. } = setup;
    let address = mailto(acme);
    let contact: Vec<_> = address.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let directory = || acme.directory.clone();
    let created =
        with_fresh_nonce!(Account::builder_with_http(Box::new(http.clone())).create(&new, directory(), None));
    let (account, credentials) = created.map_err(|error| failed("a new account", &error, http))?;
    let contact = acme.contact.clone();
    let stored = StoredAccount { created: now(), used: false, contact, credentials };
    setup.storage(move |storage, lock| storage.write_account(&stored, lock)).await?;
    tracing::info!(directory = acme.directory, "ACME account made");
    Ok(account)
}

/// Makes another account in place of the stored one, if that may have been the fault: the CA does not know it, has deactivated
/// it, or does not take its key. `None` if the stored account is good.
pub(super) async fn replace_if_lost(setup: &Setup) -> Result<Option<Account>, Trouble> {
    let Setup { acme, http, .. } = setup;
    let Some(stored) = setup.storage(Storage::account::<StoredAccount>).await else {
        return create(setup).await.map(Some);
    };
    let ask = || async {
        let key = stored.credentials.private_key().clone_key();
        let pair = (Key::from_pkcs8_der(key.clone_key())?, PrivateKeyDer::Pkcs8(key));
        Account::builder_with_http(Box::new(http.clone())).from_key(pair, acme.directory.clone()).await
    };
    match with_fresh_nonce!(ask()) {
        Ok(_) => Ok(None),
        Err(error) if trouble::may_be_account(&error) => replace(setup).await.map(Some),
        Err(error) => Err(failed("the account", &error, http)),
    }
}

/// Makes another account in place of a stored one that is of no use, but not again and again.
async fn replace(setup: &Setup) -> Result<Account, Trouble> {
    if let Some(stored) = setup.storage(Storage::account::<StoredAccount>).await {
        let age = now() - stored.created;
        if !stored.used && (0..UNUSED_MIN).contains(&age) {
            let text = format!("the CA does not take the account that was made {age} s ago");
            return Err(Trouble::new(Kind::Refused, text));
        }
    }
    tracing::warn!(
        directory = setup.acme.directory,
        "the CA does not take the stored ACME account, another one is made"
    );
    create(setup).await
}

/// Notes that the account works, so that it may be replaced at once when it does not any more.
pub(super) fn note_used(storage: &Storage, lock: &Lock) -> Result<(), Trouble> {
    match storage.account::<StoredAccount>(lock) {
        Some(stored) if !stored.used => storage.write_account(&StoredAccount { used: true, ..stored }, lock),
        _ => Ok(()),
    }
}

fn mailto(acme: &Acme) -> Option<String> {
    acme.contact.as_ref().map(|address| format!("mailto:{address}"))
}

/// The library takes credentials by value and can't copy them, except by way of their text.
fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, Trouble> {
    serde_json::to_value(credentials)
        .and_then(serde_json::from_value)
        .map_err(|_| Trouble::new(Kind::Storage, "the stored account can't be copied"))
}

pub(super) fn failed(step: &str, error: &Error, http: &Http) -> Trouble {
    Trouble::of(step, error, http.retry_after())
}
