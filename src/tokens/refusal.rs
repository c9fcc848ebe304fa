//! Why a grant gives nothing. The edge turns these into the gate's reasons, and so into the realm's dialect.

use std::time::Duration;

use super::body::FieldProblem;
use crate::store::StoreError;

/// Why a grant gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The body is not what its type says.
    Syntax,
    /// Fields are missing or wrong.
    Fields {
        /// Each of them.
        problems: Vec<FieldProblem>,
        /// What the grant says to all of it.
        message: Option<Box<str>>,
    },
    /// The body is of a type that is not taken.
    ContentType,
    /// Wrong, unknown or disabled: nobody is told which.
    InvalidCredentials(Cause),
    /// The client did not prove who it is.
    InvalidClient,
    /// The token of the request is not good.
    TokenInvalid(Cause),
    /// It was good once.
    TokenExpired,
    /// It was withdrawn, replaced or spent.
    TokenRevoked(Cause),
    /// The refresh token is not good.
    RefreshInvalid(Cause),
    /// It was good once.
    RefreshExpired,
    /// It was used before, and its session has ended for that.
    RefreshReused,
    /// Nobody is called so.
    SubjectNotFound,
    /// Somebody is, but may not.
    SubjectInactive,
    /// The address is not in the principal's list.
    AddressDenied {
        /// Whether the address is known at all.
        known: bool,
    },
    /// The plan does not include signing in.
    PlanDenied,
    /// What proves who asks has no session that could be ended or renewed.
    NoSession,
    /// Too many failures.
    LockedOut(Duration),
    /// The application says so.
    RateLimited(Option<Duration>),
    /// More work than can be done.
    Overloaded(Duration),
    /// The store is out of reach.
    StoreUnavailable,
    /// There is no key to sign with.
    KeysUnavailable,
    /// The directory, or whoever knows the subject, is out of reach.
    DirectoryUnavailable,
    /// A standard's own error (RFC 6749 section 5.2, RFC 7009 section 2.2.1).
    Standard {
        /// Its name: `invalid_scope`.
        error: &'static str,
        /// For people.
        text: &'static str,
    },
    /// A fault of the program.
    Internal,
}

/// The finer cause, for the log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody is called so.
    Unknown,
    /// The password does not fit.
    Password,
    /// Whoever it is is switched off.
    Disabled,
    /// Not of a known form.
    Format,
    /// The signature does not fit.
    Signature,
    /// Claims are missing or malformed.
    Claims,
    /// It is for another use.
    TokenUse,
    /// It was withdrawn.
    Revoked,
    /// It was replaced by a newer one.
    Replaced,
    /// It could be used once, and was.
    Spent,
}

impl From<StoreError> for Refusal {
    /// Told to the operator here, for the answer says nothing of it.
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, fault = error.fault.as_str(), "a grant needs the store");
        Self::StoreUnavailable
    }
}

impl From<getrandom::Error> for Refusal {
    fn from(_: getrandom::Error) -> Self {
        tracing::error!("the system gives no randomness");
        Self::Internal
    }
}
