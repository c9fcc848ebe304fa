//! Why exactly a request is refused: for those who look after the gateway, never for an answer.

use std::fmt;

macro_rules! whys {
    ($($variant:ident = $name:literal, $text:literal;)*) => {
        /// The finer cause of a refusal: for the log and `explain`, never for an answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Why { $(#[doc = $text] $variant,)* }

        impl Why {
            /// Every cause.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

whys! {
    Alg = "alg", "The algorithm is unknown, not allowed for the issuer, or does not fit the key.";
    Kid = "kid", "No usable key has this key id.";
    Crit = "crit", "The header demands an extension that is not understood.";
    Header = "header", "The token's header is not acceptable.";
    Format = "format", "The credential is not of a known form.";
    Size = "size", "The credential is longer than allowed.";
    Signature = "signature", "The signature does not fit.";
    Claims = "claims", "The claims are malformed, duplicated or missing.";
    Expired = "expired", "The token has expired.";
    NotYet = "not_yet", "The token is not valid yet.";
    IssuedAt = "issued_at", "The token was issued in the future.";
    Lifetime = "lifetime", "The token lives longer than the issuer's max_ttl allows.";
    Issuer = "issuer", "The issuer is missing, unknown or not believed here.";
    Audience = "audience", "The token is for somebody else.";
    Typ = "typ", "The token is of another type.";
    TokenUse = "token_use", "The token is for another use.";
    Prefix = "prefix", "The key does not start with a known prefix.";
    Checksum = "checksum", "The checksum of the key does not fit.";
    Unknown = "unknown", "There is no such key.";
    Disabled = "disabled", "The key or its client is disabled.";
    Certificate = "certificate", "The client certificate is nobody's: no client has one of its names.";
    SharedCertificate = "shared_certificate", "The client certificate has names of several clients.";
    Revoked = "revoked", "The credential was revoked.";
    Replaced = "replaced", "The token was replaced by a newer one.";
    Spent = "spent", "The token could be used once, and was.";
    DirectoryFailing = "directory_failing", "The directory does not answer.";
    Password = "password", "The password does not fit.";
    Subject = "subject", "Nobody and nothing is known by this.";
    Rotated = "rotated", "The key has a new text, and the time for the old one is over.";
    StoreFailing = "store_failing", "The key is not in memory, or has changed, and the store is out of reach.";
    StoreSlow = "store_slow", "The key is not in memory, or has changed, and the store is too slow.";
    StoreStale = "store_stale", "The store is out of reach for longer than keys in memory may be believed.";
    StoreBusy = "store_busy", "Too many keys are being looked up in the store.";
    TwoPlaces = "two_places", "Two declared places hold a credential.";
    Repeated = "repeated", "One declared place is filled more than once.";
    KeySetNeverLoaded = "key_set_never_loaded", "The issuer's key set was never loaded.";
    KeySetStale = "key_set_stale", "The issuer's key set is older than max_stale.";
    KeySetFailing = "key_set_failing", "The key id is unknown and the key set could not be fetched.";
    Scheme = "scheme", "The authorization scheme is not Bearer.";
    NoAddress = "no_address", "The client's address is not known, and a list of addresses applies.";
    NotListed = "not_listed", "The address is not in the list.";
    Denied = "denied", "The address is in the list of denied addresses.";
    ClientList = "client_list", "The address is not in the list of the client or key.";
    FailureLimit = "failure_limit", "Too many failed verifications came from this address.";
    DotSegment = "dot_segment", "The path has a dot segment.";
    EmptySegment = "empty_segment", "The path has an empty segment.";
    EncodedSlash = "encoded_slash", "The path has an encoded slash.";
    Parameters = "parameters", "The path has parameters.";
    Escape = "escape", "The path has an escape that is broken or not valid UTF-8.";
    Character = "character", "The path has a character that does not belong there.";
    Host = "host", "The host is missing or malformed.";
    Method = "method", "The method is never served.";
    Framing = "framing", "The message can be read in more than one way.";
    Flood = "flood", "The connection carried far more control frames or cancelled requests than work.";
    Upgrade = "upgrade", "The upgrade request is not well formed.";
    UntrustedPeer = "untrusted_peer", "Only trusted proxies may ask about requests.";
    Original = "original", "The question lacks the method, host, path or address of the request, or tells one in two ways.";
    Override = "override", "The request has a field that could make it another one after the decision.";
    Forged = "forged", "The request has a field that an application may take for one of those that tell who asks.";
    Grant = "grant", "The gateway itself answers this path: requests for it have to be sent there.";
    Connection = "connection", "The connection failed.";
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
