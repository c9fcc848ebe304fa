//! Credentials that the gateway has issued itself: opaque tokens, and tokens that live as long as their session.

use std::sync::Arc;

use serde_json::Value;

use super::cache::{CacheKey, Found};
use super::own::{OpaqueForm, OwnToken};
use super::stored::{Known, Proof, TokenEntry};
use super::{Authenticator, Case, Look, Sight, Verification, Verified, jwt, unavailable};
use crate::gate::outcome::{Reason, Why};
use crate::gate::trail::Trail;
use crate::secret::CredentialDigest;

impl Authenticator {
    /// What cannot be an opaque token costs not even a digest.
    pub(super) fn look_up_opaque(&self, case: &Case<'_>, form: &OpaqueForm, text: &str, trail: &mut Trail) -> Look {
        if !form.fits(text) {
            return Look::Done(Verification::Rejected(Reason::TokenInvalid, Why::Format));
        }
        let digest = CredentialDigest::of(text.as_bytes());
        let stale = match self.keys.look_at_token(case.realm, digest, case.begun) {
            Known::NoStore | Known::Nothing => return Look::Done(unknown_token()),
            Known::There(entry) => return self.look_at_opaque(case, &entry, trail),
            Known::Outdated { stale } => stale,
            Known::Unseen => {
                if let Some(quota) = case.blocked() {
                    return Look::Done(Verification::Withheld(quota));
                }
                false
            }
        };
        Look::Unseen(Sight::Opaque { digest, stale })
    }

    pub(super) fn look_at_opaque(&self, case: &Case<'_>, entry: &TokenEntry, trail: &mut Trail) -> Look {
        match case.judge_opaque(entry, trail) {
            Proof::Done(verification) => Look::Done(verification),
            Proof::Session(token) => self.look_up_session(case, &token, trail),
        }
    }

    pub(super) fn look_up_session(&self, case: &Case<'_>, token: &Arc<OwnToken>, trail: &mut Trail) -> Look {
        let stale = match self.keys.look_at_session(case.realm, token, case.now, case.begun) {
            Known::NoStore | Known::Nothing => return Look::Done(no_session()),
            Known::There(entry) => return Look::Done(case.judge_session(&entry, token, trail)),
            Known::Outdated { stale } => stale,
            Known::Unseen => false,
        };
        Look::Unseen(Sight::Session { token: Arc::clone(token), stale })
    }

    /// A token of the realm's own, whose signature and claims are good.
    pub(super) async fn verify_own(
        &self,
        case: &Case<'_>,
        verified: &jwt::Token,
        key: CacheKey,
        token_bytes: usize,
        trail: &mut Trail,
    ) -> Verification {
        let Some(own) = &case.realm.own else { return no_session() };
        if !own.revocable {
            return self.accept_stateless(case, verified, &own.token_use, key, token_bytes);
        }
        match OwnToken::new(verified, &own.token_use) {
            Ok(token) => {
                let token = Arc::new(token);
                self.cache.insert(key, Found::Own(Arc::clone(&token)), token_bytes);
                match self.look_up_session(case, &token, trail) {
                    Look::Done(verification) => verification,
                    Look::Unseen(_) => self.verify_session(case, &token, false, trail).await,
                }
            }
            Err(why) => Verification::Rejected(Reason::TokenInvalid, why),
        }
    }

    /// A token that no session stands behind: its claims alone decide until it expires.
    pub(super) fn accept_stateless(
        &self,
        case: &Case<'_>,
        token: &jwt::Token,
        token_use: &str,
        key: CacheKey,
        token_bytes: usize,
    ) -> Verification {
        if token.principal.attributes.get("token_use").and_then(Value::as_str) != Some(token_use) {
            return Verification::Rejected(Reason::TokenInvalid, Why::TokenUse);
        }
        let verified = Arc::new(Verified {
            headers: case.realm.identity_headers.prepare(&case.realm.name, &token.principal),
            principal: token.principal.clone(),
            expires: Some(token.expires),
            allow_ips: Vec::new(),
            issuer: Some(Arc::clone(&token.issuer)),
            uses: None,
        });
        self.cache.insert(key, Found::Foreign(Arc::clone(&verified)), token_bytes);
        Verification::Verified(verified)
    }

    pub(super) async fn verify_opaque(
        &self,
        case: &Case<'_>,
        digest: CredentialDigest,
        stale: bool,
        trail: &mut Trail,
    ) -> Verification {
        let entry = match self.keys.read_token(case.realm, digest).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return unknown_token(),
            Err(trouble) => return unavailable(trouble, stale),
        };
        match case.judge_opaque(&entry, trail) {
            Proof::Done(verification) => verification,
            Proof::Session(token) => match self.look_up_session(case, &token, trail) {
                Look::Done(verification) => verification,
                Look::Unseen(_) => self.verify_session(case, &token, stale, trail).await,
            },
        }
    }

    pub(super) async fn verify_session(
        &self,
        case: &Case<'_>,
        token: &OwnToken,
        stale: bool,
        trail: &mut Trail,
    ) -> Verification {
        let mut read = self.keys.read_session(case.realm, token).await;
        if matches!(&read, Ok(Some(entry)) if entry.is_behind(token)) {
            // That read had begun for somebody else, before the token was made.
            read = self.keys.read_session(case.realm, token).await;
        }
        match read {
            Ok(Some(entry)) => case.judge_session(&entry, token, trail),
            Ok(None) => no_session(),
            Err(trouble) => unavailable(trouble, stale),
        }
    }
}

fn unknown_token() -> Verification {
    Verification::Rejected(Reason::TokenInvalid, Why::Unknown)
}

/// The token is good, but its session is not there (any more).
fn no_session() -> Verification {
    Verification::Rejected(Reason::TokenRevoked, Why::Revoked)
}
