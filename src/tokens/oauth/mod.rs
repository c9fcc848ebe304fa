//! The standards' own endpoints: client credentials (RFC 6749 section 4.4), revocation (RFC 7009), introspection (RFC 7662),
//! public keys (RFC 7517) and metadata (RFC 8414). Their requests are forms, and so are their errors the standards'.

mod client;
mod introspect;
mod publish;
mod revoke;

use super::body::{Form, read_form};
use super::facts::Person;
use super::refusal::Refusal;
use super::session::Beginner;
use super::{Reply, Service};
use crate::identity::{ScopeSet, is_scope};

/// Longest scope parameter.
const MAX_SCOPE: usize = 4096;

impl Service<'_> {
    /// The form of the request.
    fn form(self) -> Result<Form, Refusal> {
        let form = read_form(self.ask.content_type.as_deref(), &self.ask.body);
        form.map_err(|_| standard("invalid_request", "The request must be one form, each parameter once."))
    }

    pub(super) async fn client_credentials(self, access: usize) -> Result<Reply, Refusal> {
        let form = self.form()?;
        match form.get("grant_type") {
            Some("client_credentials") => {}
            Some(_) => return Err(standard("unsupported_grant_type", "Only client_credentials is supported here.")),
            None => return Err(standard("invalid_request", "grant_type is missing.")),
        }
        let client = self.client(&form).await?;
        let proven = &client.proven;
        let granted = self.realm.scopes_of(&proven.client);
        let scope = form.get("scope").map(|scope| narrow(&granted, scope)).transpose()?;
        let who = Beginner { client: &proven.client, password_phc: proven.password_phc.clone(), scope };
        let beginning = self.prepare(&who, access, None)?;
        let mut write = self.inner.store.begin().await?;
        self.begin(&mut write, &beginning).await.map_err(|refusal| match refusal {
            Refusal::InvalidCredentials(_) => Refusal::InvalidClient,
            refusal => refusal,
        })?;
        write.commit().await?;
        self.welcome_client(&client).await?;
        let scope = who.scope.or_else(|| Some(joined(&granted)).filter(|scope| !scope.is_empty()));
        let person = Person::of(&proven.client, &granted);
        Ok(self.welcome(person, beginning.minted, scope))
    }
}

/// The requested scopes, each of which must be granted; never more than asked for.
fn narrow(granted: &ScopeSet, requested: &str) -> Result<String, Refusal> {
    let bad = || standard("invalid_scope", "A requested scope is malformed, unknown, or not granted to the client.");
    if requested.len() > MAX_SCOPE {
        return Err(bad());
    }
    let scopes: Vec<&str> = requested.split(' ').filter(|scope| !scope.is_empty()).collect();
    // A `*` that is asked for would be taken for a pattern nowhere, and mislead everywhere.
    if scopes.is_empty() || !scopes.iter().all(|scope| is_scope(scope) && !scope.contains('*') && granted.allows(scope))
    {
        return Err(bad());
    }
    Ok(scopes.join(" "))
}

fn joined(scopes: &ScopeSet) -> String {
    scopes.iter().collect::<Vec<_>>().join(" ")
}

fn standard(error: &'static str, text: &'static str) -> Refusal {
    Refusal::Standard { error, text }
}
