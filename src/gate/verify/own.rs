//! Tokens that the realm has issued itself: what stands in them is only which token of which session it is; all else is
//! asked of the session, at every request.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Verified;
use super::jwt::{Issuer, Token};
use super::stored::Compiled;
use crate::clock::UnixMillis;
use crate::gate::outcome::Why;
use crate::gate::policy::Realm;
use crate::identity::{CredentialKind, Principal, ScopeSet, renewals};
use crate::secret::CredentialDigest;

/// What the gate knows of the tokens that the realm issues itself.
#[derive(Debug)]
pub struct OwnTokens {
    /// Index of the issuer `self`.
    pub issuer: usize,
    /// `token_use` of the tokens that routes take.
    pub token_use: Box<str>,
    /// Whether they end with their session. Else their claims alone decide.
    pub revocable: bool,
    /// Kinds of opaque tokens that routes may take.
    pub opaque: Vec<OpaqueForm>,
}

/// What opaque tokens of one kind look like: what does not is not looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueForm {
    /// Name of the kind.
    pub kind: Arc<str>,
    /// Characters.
    pub length: usize,
    /// Whether they are lower-case hexadecimal digits; else digits and letters.
    pub hex: bool,
}

impl OpaqueForm {
    /// Whether `text` can be one.
    pub fn fits(&self, text: &str) -> bool {
        let digit = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        text.len() == self.length && text.bytes().all(|b| if self.hex { digit(b) } else { b.is_ascii_alphanumeric() })
    }
}

/// A token whose signature and claims are good, or whose text is in the store: what remains is whether its session lives.
#[derive(Debug)]
pub(super) struct OwnToken {
    id: Arc<str>,
    /// Whom it says it is about; none for opaque tokens, which say nothing.
    subject: Option<Arc<str>>,
    session: Arc<str>,
    /// By which the session is looked for.
    session_digest: CredentialDigest,
    /// What the token was narrowed to.
    scopes: Option<ScopeSet>,
    expires: UnixMillis,
    /// None for opaque tokens.
    issuer: Option<Arc<Issuer>>,
    made: ArcSwapOption<Made>,
}

#[derive(Debug)]
struct Made {
    /// Kept, so that no other one has the same address meanwhile.
    of: Arc<Compiled>,
    verified: Arc<Verified>,
}

impl OwnToken {
    /// From a token that was verified; `token_use`: what it must be for.
    ///
    /// # Errors
    /// It is for another use, or names no session.
    pub(super) fn new(token: &Token, token_use: &str) -> Result<Self, Why> {
        let Token { principal: Principal { attributes: claims, credential_id, subject, .. }, expires, issuer } = token;
        let text = |name: &str| claims.get(name).and_then(serde_json::Value::as_str);
        if text("token_use") != Some(token_use) {
            return Err(Why::TokenUse);
        }
        let session: Arc<str> = text("sid").filter(|sid| !sid.is_empty()).ok_or(Why::Claims)?.into();
        let scopes = claims.contains_key("scope").then(|| token.principal.scopes.clone());
        Ok(Self {
            id: credential_id.clone().ok_or(Why::Claims)?,
            subject: Some(Arc::clone(subject)),
            session_digest: CredentialDigest::of(session.as_bytes()),
            session,
            scopes,
            expires: *expires,
            issuer: Some(Arc::clone(issuer)),
            made: ArcSwapOption::empty(),
        })
    }

    /// An opaque token of a session.
    pub(super) fn opaque(id: Arc<str>, session: &str, expires: UnixMillis) -> Self {
        Self {
            id,
            subject: None,
            session_digest: CredentialDigest::of(session.as_bytes()),
            session: session.into(),
            scopes: None,
            expires,
            issuer: None,
            made: ArcSwapOption::empty(),
        }
    }

    /// `jti`.
    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Whether it is about `subject`.
    pub(super) fn is_about(&self, subject: &str) -> bool {
        self.subject.as_ref().is_none_or(|own| **own == *subject)
    }

    /// Whether it was made after the token with the id `other`, of the same session.
    pub(super) fn is_after(&self, other: &str) -> bool {
        renewals(&self.id) > renewals(other)
    }

    /// `sid`.
    pub(super) fn session(&self) -> &Arc<str> {
        &self.session
    }

    pub(super) fn session_digest(&self) -> CredentialDigest {
        self.session_digest
    }

    pub(super) fn expires(&self) -> UnixMillis {
        self.expires
    }

    pub(super) fn issuer(&self) -> Option<&Arc<Issuer>> {
        self.issuer.as_ref()
    }

    /// What it proves, given its session's principal.
    pub(super) fn verified(&self, session: &Arc<Compiled>, realm: &Realm) -> Arc<Verified> {
        if let Some(made) = &*self.made.load()
            && Arc::ptr_eq(&made.of, session)
        {
            return Arc::clone(&made.verified);
        }
        let mut principal = session.principal.clone();
        principal.credential_id = Some(Arc::clone(&self.id));
        if self.issuer.is_none() {
            principal.kind = CredentialKind::Opaque;
        }
        if let Some(scopes) = &self.scopes {
            principal.scopes = principal.scopes.intersection(scopes);
            if let Some(account) = &mut principal.account {
                account.narrowed = Some(scopes.iter().collect::<Vec<_>>().join(" ").into());
            }
        }
        let verified = Arc::new(Verified {
            headers: realm.identity_headers.prepare(&realm.name, &principal),
            principal,
            expires: Some(self.expires),
            allow_ips: session.allow_ips.clone(),
            issuer: self.issuer.clone(),
            uses: None,
        });
        self.made.store(Some(Arc::new(Made { of: Arc::clone(session), verified: Arc::clone(&verified) })));
        verified
    }
}
