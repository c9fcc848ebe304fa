//! `[[grants]]`

use ipnet::IpNet;

use super::OwnCors;
use crate::config::section::section;
use crate::config::value::Named;
use crate::config::value::field::FieldSpec;
use crate::config::value::issuing::{GrantMethod, GrantType, RevokesWord, UnknownWord};
use crate::config::value::measure::Size;
use crate::config::value::word::AuthKind;
use crate::config::walk::Item;

section! {
    /// `[[grants]]`
    Grant {
        /// What is done: `password` (sign-in), `refresh_token`, `renew` (an access token for the next one), `delegate` (a key for a token of somebody else), `redeem` (spends such a token), `logout`, and the standard's `client_credentials`, `revoke`, `introspect`.
        required r#type: GrantType;
        /// The path, as of a route. Routes and grants share one table and one space of names.
        required path: String;
        /// Unique in the realm; metric label. Where it is left out: the `path`.
        optional name: String;
        /// The method; `POST` where it is left out, `GET` for a `redeem` whose token does not stand in the body.
        optional method: GrantMethod;
        /// Which of the realm's `hosts` have it, as they are written there; all where it is left out. With a wildcard, hosts of `hosts_from` have it, too.
        optional hosts: Vec<Item<String>>;
        /// What is taken as proof, besides what the grant itself asks for. Where it is left out: `["jwt"]` for `renew` and `logout`, `["api_key"]` for `delegate`, else `["public"]`.
        optional auth: Vec<Item<AuthKind>>;
        /// Of whom a JWT may be: `self`, for only tokens of the realm's own can be renewed and ended.
        optional issuers: Vec<Item<String>>;
        /// Places of the credential, where they differ from the default; of a `redeem`, places of the token that is spent.
        optional from: Vec<Item<String>>;
        /// All of these scopes are needed.
        optional scopes: Vec<Item<String>>;
        /// One of these roles is needed.
        optional roles: Vec<Item<String>>;
        /// One of these plans is needed; of a `password` grant: who has another one cannot sign in.
        optional plan: Vec<Item<String>>;
        /// Only these addresses.
        optional allow_ips: Vec<Item<IpNet>>;
        /// Only these addresses: a file with a network a line, `#` begins a comment.
        optional allow_ips_file: String;
        /// Never these addresses.
        optional deny_ips: Vec<Item<IpNet>>;
        /// Never these addresses: a file as above.
        optional deny_ips_file: String;
        /// Names of `[limits.NAME]`, all of which apply.
        optional limits: Vec<Item<String>>;
        /// Which fields of the body the grant works with.
        optional request: RequestFields;
        /// What stands in the body: `"string"`, `"string<=255"`, `"email"`, `"http_url"`, `"object"`, `"integer"`, `"boolean"`; `!` at the end makes a field required; a table is an object with these fields, and required when one of them is.
        optional schema: Named<FieldSpec>;
        /// What becomes of members of the body that are no fields.
        default unknown_fields: UnknownWord = r#""ignore""#;
        /// Refuses a body that is not called JSON by its `Content-Type`, with 415.
        default strict_content_type: bool = "false";
        /// Largest body.
        default max_body: Size = r#""64KiB""#;
        /// Status of a good answer, from 200 to 299.
        default status: u32 = "200";
        /// Body of a good answer: the name of one of `[responses]`; where it is left out, the grant's own.
        optional response: String;
        /// Message of a refusal of the body's fields, instead of the dialect's.
        optional invalid: String;
        /// Kind of the token that a `delegate` makes or a `redeem` spends; of other grants the kind that `opaque` in `auth` stands for.
        optional token: String;
        /// `delegate`: for whom; the name of one of `[subjects]`.
        optional subject: String;
        /// `delegate`: further values that the token is bound to: name to template.
        default bind: Named<String> = "{}";
        /// `logout`: ends the request's token (`token` or `self`), its `session`, or every session of its `subject`.
        default revokes: RevokesWord = r#""session""#;
        /// `redeem`: where the browser is sent (303): a path, or an https URL.
        optional location: String;
        /// `redeem`: the cookie that signs the browser in.
        optional cookie: GrantCookie;
        /// `redeem`: kind of the token that is handed out for the spent one, `$token.KIND` in the response.
        optional session: String;
        /// `password`: a new session ends all others of the same user.
        default single_session: bool = "false";
        /// Which pages of other origins may ask it and read its answers: keys as of the realm's `[cors]`, in whose place it stands; `false`: none.
        optional cors: OwnCors;
    }
}

section! {
    /// Which fields of the body the grant works with.
    RequestFields {
        /// `password`: the identifier; `[directory]`'s where it is left out.
        optional identifier: String;
        /// `password`: the password; `password` where it is left out.
        optional password: String;
        /// `refresh_token` and `redeem`: the token; `refresh_token` where a `refresh_token` grant leaves it out.
        optional token: String;
    }
}

section! {
    /// A cookie.
    GrantCookie {
        /// Its name. `__Host-` before it lets no other host set it.
        required name: String;
        /// Kind of the token in it: an opaque one.
        required token: String;
    }
}
