//! What answers hold about sessions, tokens, and the keys that they are signed with.

use super::Holds::{Boolean, Integer, Object, One, Text, Texts, Time, Word};
use super::table::{EFFECTIVE, WARNINGS};
use super::{Member, Schema};

/// In alphabetical order.
pub(super) static SCHEMAS: &[Schema] = &[
    Schema {
        name: "session",
        about: "A session: what a login began, and all its tokens end with.",
        members: &[
            Member::new("id", Text, "`ses_…`; the claim `sid` of its tokens."),
            Member::new("realm", Text, "Its realm."),
            Member::new("client_id", Text, "Id of its principal."),
            Member::or_null("client", Text, "Identifier of its principal; null where that is gone."),
            Member::new("grant", Text, "What it began with: `password`, `client_credentials`, …"),
            Member::new("state", Word(&["live", "expired", "revoked"]), "Whether its tokens work."),
            Member::or_null("client_ip", Text, "Where it began from."),
            Member::or_null("user_agent", Text, "What it began with, as that says of itself."),
            Member::new("created_at", Time, "When it began."),
            Member::new("last_seen_at", Time, "When new tokens were last issued in it."),
            Member::new("expires_at", Time, "Over from then on."),
            Member::or_null("revoked_at", Time, "When it was ended."),
            Member::or_null("revoke_reason", Text, "Why."),
            Member::at_times("ended", Boolean, "Whether this very request ended it; false where that was done before."),
            EFFECTIVE,
        ],
    },
    Schema {
        name: "sessions_revoked",
        about: "Sessions that were ended together.",
        members: &[
            Member::new("client_id", Text, "Id of their principal."),
            Member::new("client", Text, "Its identifier."),
            Member::new("sessions_ended", Integer, "How many of them were live."),
            EFFECTIVE,
        ],
    },
    Schema {
        name: "signing_key",
        about: "A key that a realm signs its tokens with, without its secret half.",
        members: &[
            Member::new("kid", Text, "Names it; for key pairs the thumbprint (RFC 7638)."),
            Member::new("realm", Text, "Its realm."),
            Member::new("alg", Text, "Signature algorithm."),
            Member::new(
                "state",
                Word(&["next", "active", "passive", "retired", "disabled"]),
                "At the moment: verifies and signs later, signs, verifies only, has had its time, was switched off.",
            ),
            Member::new("activate_at", Time, "Signs from then on."),
            Member::or_null("retire_at", Time, "Verifies no more from then on."),
            Member::or_null("public_jwk", Object, "Its public half as a JSON Web Key; null for secrets."),
            Member::new("created_by", Text, "Who made it."),
            Member::new("created_at", Time, "When."),
            Member { nullable: true, ..Member::at_times("replaces", Text, "The key that signed before it.") },
            Member { nullable: true, ..Member::at_times("old_retire_at", Time, "That one verifies until then.") },
            Member::at_times("live_sessions", Integer, "Live sessions of the realm: how many may be affected."),
            Member {
                nullable: true,
                ..Member::at_times("replaced_by", Text, "The key that was made to take its place; null = none was.")
            },
            WARNINGS,
            EFFECTIVE,
        ],
    },
    Schema {
        name: "token_revoked",
        about: "A token that was ended.",
        members: &[
            Member::new("what", Word(&["access_token", "refresh_token", "issued_token"]), "What it is."),
            Member::new("id", Text, "Its id, the claim `jti`."),
            Member::or_null("session_id", Text, "Its session."),
            Member::new("ended", Boolean, "Whether this very request ended it; false where that was done before."),
            Member::new("session_ended", Boolean, "Whether its session ended with it."),
            EFFECTIVE,
        ],
    },
    Schema {
        name: "token_state",
        about: "What a text is that was presented, and how it stands.",
        members: &[
            Member::new("active", Boolean, "Whether it would be taken, its place and addresses aside."),
            Member::new(
                "what",
                Word(&["access_token", "refresh_token", "issued_token", "api_key", "unknown"]),
                "What it is; `issued_token`: one that is in the store by itself.",
            ),
            Member::new(
                "code",
                Word(&[
                    "VALID",
                    "NOT_FOUND",
                    "MALFORMED",
                    "EXPIRED",
                    "REVOKED",
                    "REPLACED",
                    "SPENT",
                    "DISABLED",
                    "GONE",
                    "IP_DENIED",
                ]),
                "How it stands.",
            ),
            Member::or_null("kind", Text, "Name of its kind in the configuration."),
            Member::or_null("id", Text, "Its id, the claim `jti`; of a key its id."),
            Member::or_null("subject", Text, "Whom it is about."),
            Member::or_null("client_id", Text, "Id of the principal that it belongs to."),
            Member::or_null("client", Text, "Identifier of that principal."),
            Member::or_null("scopes", Texts, "What it may do in effect, while it is good; null where it carries none."),
            Member::or_null("issued_at", Time, "When it was issued."),
            Member::or_null("expires_at", Time, "Refused from then on."),
            Member::or_null("claims", Object, "What it says, where its signature fits."),
            Member::or_null("session", One("session"), "Its session."),
            WARNINGS,
        ],
    },
];
