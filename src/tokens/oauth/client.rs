//! Who a client is: by `Basic` or by the form (RFC 6749 section 2.3.1), never both.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::standard;
use crate::password::{Attempted, Phc};
use crate::store::{Client, ClientKind};
use crate::tokens::Service;
use crate::tokens::body::{Form, canonical_identifier};
use crate::tokens::password::busy;
use crate::tokens::refusal::{Cause, Refusal};
use crate::tokens::throttle::Turn;

/// A client that proved who it is.
pub(super) struct Proven<'a> {
    pub(super) client: Client,
    pub(super) password_phc: Option<String>,
    pub(super) turn: Turn<'a>,
}

impl<'a> Service<'a> {
    /// The client of the request. Guessing is as slow as at a sign-in.
    ///
    /// # Errors
    /// [`Refusal::InvalidClient`]: unknown, wrong, disabled, or not there at all.
    pub(super) async fn client(self, form: &Form) -> Result<Proven<'a>, Refusal> {
        let (id, secret) = self.credentials(form)?;
        let canonical = canonical_identifier(&id);
        let turn = self.turn(canonical.as_deref().unwrap_or("\u{0}")).await?;
        let found = match &canonical {
            Some(name) => self.inner.store.login_record(&self.realm.realm, name).await?,
            None => None,
        };
        let found = found.filter(|record| record.client.kind == ClientKind::Client);
        if self.realm.addresses_first
            && let Some(record) = &found
        {
            self.check_addresses(&record.addresses)?;
        }
        let phc = found.as_ref().and_then(|record| record.password_phc.as_ref());
        let phc = phc.map(|stored| Phc::stored(stored.expose()));
        let fits = match Attempted::new(secret.to_string()) {
            Ok(secret) => self.inner.hasher.verify(&secret, phc.as_ref()).await.map_err(busy)?,
            Err(_) => false,
        };
        match found {
            Some(record) if fits && record.client.status.may_act() => {
                self.check_addresses(&record.addresses)?;
                Ok(Proven { client: record.client, password_phc: phc.map(Phc::into_text), turn })
            }
            found => {
                let principal = found.as_ref().map(|record| record.client.id.as_str());
                let cause = match (&found, fits) {
                    (None, _) => Cause::Unknown,
                    (Some(_), true) => Cause::Disabled,
                    (Some(_), false) => Cause::Password,
                };
                Err(match self.failed(&turn, principal, cause).await {
                    Refusal::InvalidCredentials(_) => Refusal::InvalidClient,
                    refusal => refusal,
                })
            }
        }
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
    Some((decode(id)?, Zeroizing::new(decode(secret)?)))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
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
