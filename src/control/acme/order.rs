//! One order: account, challenge, certificate. Each request that the CA refuses only for its nonce is repeated.

use super::account::{self, NONCE_TRIES, failed, with_fresh_nonce};
use super::renewal::{self, Renewal};
use super::setup::Setup;
use super::trouble::{Kind, Trouble, describe, is_bad_nonce, is_replacement_refused, may_be_account};
use crate::control::start::certs::{Digest, Loaded};
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use std::time::Duration;

/// How long the CA may take to check a name, and then to issue. Public CAs look from several places and take seconds.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));

/// How long other processes that share the folder have to see a challenge, and this one too: two looks of theirs.
const SPREAD: Duration = Duration::from_millis(1000);

/// How long this process may take to give the answer itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Orders a certificate for `name` and stores it. `former` is the one that it replaces.
pub(super) async fn issue(
    setup: &Setup,
    name: &str,
    former: Option<&Loaded>,
) -> Result<(Loaded, Renewal), Trouble> {
    let http = &setup.http;
    let account = account::open(setup).await?;
    let (account, mut order) = match new_order(&account, name, former).await {
        Ok(order) => (account, order),
        Err(error) if may_be_account(&error) => match account::replace_if_lost(setup).await? {
            Some(account) => {
                let order = new_order(&account, name, None).await;
                let order = order.map_err(|error| failed("the order", &error, http))?;
                (account, order)
            }
            None => return Err(failed("the order", &error, http)),
        },
        Err(error) => return Err(failed("the order", &error, http)),
    };
    prove(setup, &mut order, name).await?;
    let key = with_fresh_nonce!(order.finalize()).map_err(|error| failed("the request", &error, http))?;
    let chain = with_fresh_nonce!(order.poll_certificate(&POLLING));
    let chain = chain.map_err(|error| failed("the certificate", &error, http))?;
    let name = name.to_owned();
    let stored = setup.storage(move |storage, lock| {
        account::note_used(storage, lock)?;
        storage.write_certificate(&name, &key, &chain, lock)
    });
    let loaded = stored.await?;
    let renewal = Renewal::ask(None, &account, &loaded).await;
    Ok((loaded, renewal))
}

/// Asks the CA when the stored certificate should be renewed.
pub(super) async fn ask_renewal(
    setup: &Setup,
    loaded: &Loaded,
    before: Option<&Renewal>,
) -> Result<Renewal, Trouble> {
    let account = account::open(setup).await?;
    Ok(Renewal::ask(before, &account, loaded).await)
}

/// A new order; as the renewal of `former`, if the CA knows such a thing (RFC 9773, 5): limits do not count it then.
async fn new_order(account: &Account, name: &str, former: Option<&Loaded>) -> Result<Order, Error> {
    let names = [Identifier::Dns(name.to_owned())];
    let replaced = former.and_then(|former| CertificateIdentifier::try_from(renewal::leaf(former)).ok());
    if let Some(replaced) = replaced {
        let order = NewOrder::new(&names).replaces(replaced);
        match with_fresh_nonce!(account.new_order(&order)) {
            Err(error) if is_replacement_refused(&error) => {}
            done => return done,
        }
    }
    with_fresh_nonce!(account.new_order(&NewOrder::new(&names)))
}

/// Fetches what the CA wants to have proved. The order keeps it: each is fetched once, also if this is repeated.
async fn fetch_authorizations(order: &mut Order) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}

/// Proves that this gateway answers for `name`, and waits until the CA is convinced.
async fn prove(setup: &Setup, order: &mut Order, name: &str) -> Result<(), Trouble> {
    let http = &setup.http;
    with_fresh_nonce!(fetch_authorizations(order)).map_err(|error| failed("the challenges", &error, http))?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| failed("the challenges", &error, http))?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => {
                let text = format!("the CA says that its check of the name is {status:?} already");
                return Err(Trouble::new(Kind::Refused, text));
            }
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
            return Err(Trouble::new(
                Kind::Refused,
                "the CA offers no tls-alpn-01, the only proof that tidegate gives",
            ));
        };
        let digest = challenge.key_authorization().digest();
        let digest = Digest::try_from(digest.as_ref())
            .map_err(|_| Trouble::new(Kind::Refused, "a digest that is not of 32 bytes"))?;
        answer(setup, name, digest).await?;
        with_fresh_nonce!(challenge.set_ready()).map_err(|error| failed("the challenge", &error, http))?;
    }
    if order.state().status == OrderStatus::Ready {
        return Ok(());
    }
    match with_fresh_nonce!(order.poll_ready(&POLLING)) {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
        Ok(_) => Err(refusal(order, name).await),
        // the problem of an order may say less than that of its challenge
        Err(Error::Api(problem)) if problem.status.is_none_or(|status| status < 429) => {
            let said = Trouble::of("the order", &Error::Api(problem), http.retry_after());
            let challenge = refusal(order, name).await;
            Err(if said.kind == Kind::Refused { challenge } else { said })
        }
        Err(error) => Err(failed("the check of the name", &error, http)),
    }
}

/// Puts the answer to a challenge in its place, and waits until the workers of this process give it and other processes had time
/// to see it.
async fn answer(setup: &Setup, name: &str, digest: Digest) -> Result<(), Trouble> {
    let file = name.to_owned();
    setup.storage(move |storage, lock| storage.put_challenge(&file, &digest, lock)).await?;
    let given = async {
        while !setup.challenges.holds(name, &digest) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let given = tokio::time::timeout(ANSWER_TIMEOUT, given).await;
    given.map_err(|_| Trouble::new(Kind::Storage, "the challenge was stored, but can't be read back"))?;
    tokio::time::sleep(SPREAD).await;
    Ok(())
}

/// Why the CA refused the proof, as its challenge says.
async fn refusal(order: &mut Order, name: &str) -> Trouble {
    let mut said = "no reason given".to_owned();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // without a second try the reason is only less clear
        let _ = with_fresh_nonce!(async { authorization.refresh().await.map(drop) });
        if let Some(problem) = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            said = describe(problem);
        }
    }
    let text = format!("the CA checked {name} on port 443 and was not convinced: {said}");
    Trouble::new(Kind::Refused, text)
}
