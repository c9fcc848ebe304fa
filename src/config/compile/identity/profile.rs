//! Names that upstreams of other gateways know, as defaults. What those gateways send under them is told in
//! docs/identity-headers.md.

use crate::config::value::word::Profile;
use crate::gate::headers::Join;

/// Default names of each key; a key may have several, or none.
pub(super) struct Defaults {
    pub(super) subject: &'static [&'static str],
    /// Whether only tokens have a subject: for a key, the upstream would take its client for a user.
    pub(super) subject_of_token: bool,
    pub(super) client: &'static [&'static str],
    pub(super) credential: &'static [&'static str],
    pub(super) scopes: &'static [&'static str],
    pub(super) roles: &'static [&'static str],
    /// Attributes and claims.
    pub(super) extra: &'static [(&'static str, &'static [&'static str])],
    pub(super) anonymous: Option<&'static str>,
    /// What upstreams would believe as well, though it is never sent here.
    pub(super) owned: &'static [&'static str],
    pub(super) join: Join,
}

const KONG: Defaults = Defaults {
    subject: &["x-authenticated-userid"],
    subject_of_token: true,
    client: &["x-consumer-username"],
    credential: &["x-credential-identifier"],
    scopes: &["x-authenticated-scope"],
    roles: &["x-consumer-groups"],
    extra: &[("consumer_id", &["x-consumer-id"]), ("custom_id", &["x-consumer-custom-id"])],
    anonymous: Some("x-anonymous-consumer"),
    owned: &["x-authenticated-groups", "x-credential-username"],
    join: Join::CommaBlank,
};

const OAUTH2_PROXY: Defaults = Defaults {
    subject: &["x-forwarded-user", "x-auth-request-user"],
    subject_of_token: false,
    client: &[],
    credential: &[],
    scopes: &[],
    roles: &["x-forwarded-groups", "x-auth-request-groups"],
    extra: &[
        ("email", &["x-forwarded-email", "x-auth-request-email"]),
        ("preferred_username", &["x-forwarded-preferred-username", "x-auth-request-preferred-username"]),
    ],
    anonymous: None,
    owned: &["x-forwarded-access-token", "x-auth-request-access-token"],
    join: Join::Comma,
};

/// Names that begin like those of forwarding and tell who asks, not how: they may be identity headers.
pub(super) const WHO: [&str; 4] =
    ["x_forwarded_user", "x_forwarded_email", "x_forwarded_groups", "x_forwarded_preferred_username"];

impl Defaults {
    pub(super) fn of(profile: Profile) -> &'static Self {
        match profile {
            Profile::Kong => &KONG,
            Profile::OAuth2Proxy => &OAUTH2_PROXY,
        }
    }

    /// Every name of the profile, used or not: its upstreams listen to all of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &'static str> {
        let extra = self.extra.iter().flat_map(|(_, names)| names.iter());
        let keys = [self.subject, self.client, self.credential, self.scopes, self.roles, self.owned];
        keys.into_iter().flatten().chain(extra).copied().chain(self.anonymous)
    }
}
