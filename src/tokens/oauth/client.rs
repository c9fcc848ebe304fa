//! Who a client is: by `Basic` or by the form (RFC 6749 section 2.3.1), never both.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::standard;
use crate::password::Attempted;
use crate::store::ClientKind;
use crate::tokens::Service;
use crate::tokens::body::{Form, canonical_identifier, decode};
use crate::tokens::password::{NOBODY, Proven, Typed};
use crate::tokens::refusal::{Cause, Refusal};
use crate::tokens::throttle::Turn;

/// A client that proved who it is.
pub(super) struct Client<'a> {
    pub(super) proven: Proven,
    pub(super) turn: Turn<'a>,
}

impl<'a> Service<'a> {
    /// The client of the request. Guessing is as slow as at a sign-in, and ends alike.
    ///
    /// # Errors
    /// [`Refusal::InvalidClient`]: unknown, wrong, disabled, or not there at all.
    pub(super) async fn client(self, form: &Form) -> Result<Client<'a>, Refusal> {
        let (identifier, secret) = self.credentials(form)?;
        let canonical = canonical_identifier(&identifier);
        let turn = self.turn(canonical.as_deref().unwrap_or(NOBODY)).await?;
        let found = match &canonical {
            Some(name) => self.inner.store.login_record(&self.realm.realm, name).await?,
            None => None,
        };
        let found = found.filter(|record| record.client.kind == ClientKind::Client);
        let judged = match Attempted::new(secret.to_string()) {
            Ok(password) => self.judge(&Typed { identifier, canonical, password }, found, &turn).await,
            Err(_) => Err(self.failed(&turn, None, Cause::Password).await),
        };
        match judged {
            Ok(proven) => Ok(Client { proven, turn }),
            Err(Refusal::InvalidCredentials(_)) => Err(Refusal::InvalidClient),
            Err(refusal) => Err(refusal),
        }
    }

    /// Forgives the client its failures.
    pub(super) async fn welcome_client(self, client: &Client<'_>) -> Result<(), Refusal> {
        if client.turn.is_clean() {
            return Ok(());
        }
        let mut write = self.inner.store.begin().await?;
        client.turn.succeeded(&mut write, &self.realm.realm, self.ask.now).await?;
        write.commit().await?;
        self.show_lock(client.proven.client.id.clone(), None, 0);
        Ok(())
    }

    fn credentials(self, form: &Form) -> Result<(String, Zeroizing<String>), Refusal> {
        let in_form = form.get("client_secret");
        let Some(header) = self.ask.authorization.as_deref() else {
            let (Some(id), Some(secret)) = (form.get("client_id"), in_form) else {
                return Err(Refusal::InvalidClient);
            };
            return Ok((id.to_owned(), Zeroizing::new(secret.to_owned())));
        };
        if in_form.is_some() {
            return Err(standard("invalid_request", "The client must prove who it is in one way only."));
        }
        let (id, secret) = basic(header).ok_or(Refusal::InvalidClient)?;
        if form.get("client_id").is_some_and(|other| *other != *id) {
            return Err(standard("invalid_request", "client_id is not who the client proves to be."));
        }
        Ok((id, secret))
    }
}

/// RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
fn basic(header: &str) -> Option<(String, Zeroizing<String>)> {
    let (scheme, rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(rest.trim_matches(' ').as_bytes()).ok()?);
    let text = std::str::from_utf8(&decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decode(id.as_bytes())?, Zeroizing::new(decode(secret.as_bytes())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_of_basic_are_form_encoded() {
        let header = |text: &str| format!("basic {}", BASE64.encode(text.as_bytes()));
        let (id, secret) = basic(&header("a%3Ab+c:p%25w:d")).unwrap();
        assert_eq!((id.as_str(), secret.as_str()), ("a:b c", "p%w:d"));
        for bad in ["Basic", "Bearer abc", "Basic ???", &header("nocolon"), &header("a:%zz"), &header("a:%e9")] {
            assert!(basic(bad).is_none(), "{bad}");
        }
    }
}
