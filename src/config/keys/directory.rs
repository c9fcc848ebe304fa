//! `[directory]` and `[subjects.NAME]`: what the application is asked.

use std::time::Duration;

use crate::config::section::section;
use crate::config::value::issuing::{AskMethod, DirectoryType, IpCheck};
use crate::config::value::secret::SecretRef;
use crate::config::value::{Any, Named};

section! {
    /// `[directory]`
    Directory {
        /// Who has the users: the store, or the application, which is asked.
        required r#type: DirectoryType;
        /// Field of a `password` grant that holds the identifier, where its `request` does not say; `identifier` otherwise.
        optional identifier: String;
        /// Role of whoever has none.
        optional default_role: String;
        /// Whether a client's address is looked at before its password is; if after, whoever guessed the password learns of it from anywhere.
        default ip_check: IpCheck = r#""before_password""#;
        /// `http`: URL that is asked whether an identifier and a password belong together.
        optional verify: String;
        /// `http`: URL that tells of a user, `{subject}` in it: role, plan and status while a session lasts.
        optional lookup: String;
        /// `http`: sent to the application as a Bearer token, so that it knows who asks. Required, unless `translate` makes the application's own login serve.
        optional secret: SecretRef;
        /// `http`: for one answer, at most 60s.
        default timeout: Duration = r#""2s""#;
        /// `http`: how long the answer of `lookup` is believed, at most 1h.
        default cache: Duration = r#""30s""#;
        /// `http`: the first good sign-in moves the password into the store, which knows it from then on.
        default migrate: bool = "false";
        /// `http`: where the application's own login says what; then no endpoint has to be made for the gateway.
        optional translate: Translate;
        /// `http`: body of the sign-in, a template with `$identifier`, `$password` and `$request.FIELD`.
        optional body: Any;
    }
}

section! {
    /// Where an answer of the application says what: JSON pointers (RFC 6901).
    Translate {
        /// Who it is; must be there.
        required subject: String;
        /// Status: `active`, in any letter case, is active.
        optional status: String;
        /// Role.
        optional role: String;
        /// Plan.
        optional plan: String;
        /// Tenant.
        optional tenant: String;
        /// Further attributes: name to pointer.
        default attributes: Named<String> = "{}";
    }
}

section! {
    /// `[subjects.NAME]`
    Subject {
        /// How the application is asked.
        default method: AskMethod = r#""GET""#;
        /// Where it is asked: `https`, or `http` on this machine. Names of the grant's path and `{key.owner}` stand for one segment, or one value of the query.
        required url: String;
        /// What is sent: a template, such as `"$request"`.
        optional body: Any;
        /// Where the answer names the subject: a JSON pointer. Where it is left out, the last name of the path is the subject.
        optional id: String;
        /// What templates use as `subject.NAME`: name to JSON pointer.
        default fields: Named<String> = "{}";
        /// Members of the answer that must have this value, or one of a list; else nothing is issued.
        default require: Named<Any> = "{}";
        /// Sent to the application as a Bearer token, so that it knows who asks.
        optional secret: SecretRef;
        /// For one answer, at most 60s.
        default timeout: Duration = r#""2s""#;
        /// How long an answer is believed, at most 1h.
        default cache: Duration = r#""0s""#;
    }
}
