//! The realms of the five public documents, as the design sketches them.

/// All of them.
pub(super) const ALL: [&str; 4] = [AFFILYNC, CONVERTLY, AFFONSO, GIFTCARDS];

/// Affilync.
pub(super) const AFFILYNC: &str = r#"
realm    = "affilync"
hosts    = ["api.affilync.com"]
upstream = "http://127.0.0.1:9000"

[directory]
type       = "local"
identifier = "email"
default_role = "user"                      # signed-in users; keys carry their own scopes

[roles]
user = ["*"]

[tokens.access]
alg = "HS256"
typ = "JWT"
kid = false
ttl = "1h"
[tokens.refresh]
alg = "HS256"
typ = "JWT"
kid = false
ttl = "30d"

[[api_keys]]
prefix = "afk_live_"

[[grants]]
type     = "password"
path     = "/api/auth/login"
request  = { identifier = "email", password = "password" }
schema   = { email = "email!", password = "string!" }
response = "pair"

[[grants]]
type     = "refresh_token"
path     = "/api/auth/refresh"
request  = { token = "refresh_token" }
response = "pair"

[[routes]]
path   = "/api/{resource}/**"
auth   = ["api_key", "jwt"]
scopes = ["{resource}:{access}"]           # campaigns:read, links:write, …

[responses.pair]
access_token  = "$token.access"
refresh_token = "$token.refresh"
token_type    = "bearer"
expires_in    = "$token.access.expires_in"

[errors]
body = { detail = "$message", error_code = "$code" }
[errors.on]
token_expired       = { code = "TOKEN_EXPIRED", message = "Token has expired" }
refresh_expired     = { code = "TOKEN_EXPIRED", message = "Token has expired" }
token_invalid       = { code = "TOKEN_INVALID", message = "Invalid token" }
missing_credentials = { code = "TOKEN_INVALID", message = "Authentication required" }
insufficient_scope  = { code = "INSUFFICIENT_SCOPE" }
rate_limited        = { code = "RATE_LIMIT_EXCEEDED" }
validation_failed   = { status = 422, code = "VALIDATION_ERROR", body = { detail = "Validation failed", error_code = "$code", fields = "$fields" } }
"#;

/// Convertly.
pub(super) const CONVERTLY: &str = r#"
realm    = "convertly"
hosts    = ["api.convertlyhq.com"]
upstream = "http://127.0.0.1:9001"

[directory]
type       = "http"
identifier = "email"
verify     = "http://127.0.0.1:9001/internal/auth/verify"
lookup     = "http://127.0.0.1:9001/internal/users/{subject}"   # live role and plan
secret     = { env = "HEX_SECRET" }
cache      = "30s"

[tokens.access]
alg = "HS256"
typ = "JWT"
kid = false
ttl = "24h"

[[grants]]
type     = "password"
path     = "/v1/auth/brand/login"
request  = { identifier = "email", password = "password" }
response = "session"

[[grants]]
type     = "renew"                         # bearer access token in, new one out, old one dead
path     = "/v1/auth/refresh"
response = "session"

[[routes]]
path   = "/v1/{resource}/**"
auth   = ["jwt"]
plan   = ["Growth", "Scale"]
scopes = ["{resource}:{access}"]

[roles]
"Brand Admin"  = ["*"]
"Brand Member" = ["*:read", "campaigns:write", "creators:write", "affiliates:write"]

[responses.session.data]
accessToken = "$token.access"
user        = { id = "$principal.subject", email = "$principal.email", brandId = "$principal.tenant" }

[errors]
body = { statusCode = "$status", message = "$message", error = "$reason_phrase" }
[errors.on]
token_expired = { message = "Token expired" }
"#;

/// Affonso.
pub(super) const AFFONSO: &str = r#"
realm      = "affonso"
hosts      = ["api.affonso.io", "*.affonso.io"]
hosts_from = "owner.verified_domain"       # set only when the custom domain is verified
upstream   = "http://127.0.0.1:9002"
timestamps = "rfc3339_ms"                  # …T12:05:00.000Z

[[api_keys]]
prefix = "sk_live_"

[tokens.portal]
alg = "HS256"
typ = "JWT"
kid = false
ttl = "5m"
uses = 1
[tokens.embed]
format = "opaque"
encoding = "hex"
ttl = "30m"
one_per = ["subject", "program"]
[tokens.session]                           # what redemption signs the affiliate in with
format = "opaque"
ttl = "8h"

[subjects.affiliate]                       # asked at grant and again at redemption
url     = "http://127.0.0.1:9002/internal/teams/{key.owner}/affiliates/{id}"
require = { status = "ACTIVE" }
[subjects.partner]                         # creates if needed
method = "POST"
url    = "http://127.0.0.1:9002/internal/teams/{key.owner}/embed-partners"
body   = "$request"
id     = "/affiliateId"
fields = { link = "/link", partnershipStatus = "/partnershipStatus" }

[[grants]]
type     = "delegate"
path     = "/v1/affiliates/{id}/portal-token"
auth     = ["api_key"]
scopes   = ["write:affiliates"]
subject  = "affiliate"
token    = "portal"
response = "portal"

[[grants]]
type     = "redeem"                        # GET spends, HEAD does not; sets the cookie, 303
hosts    = ["*.affonso.io"]                # and hosts_from
path     = "/auth/token"
token    = "portal"
from     = ["query:token"]
location = "/"
cookie   = { name = "__Host-portal", token = "session" }

[[grants]]
type     = "delegate"
path     = "/v1/embed/token"
auth     = ["api_key"]
scopes   = ["write:affiliates"]
subject  = "partner"
token    = "embed"
bind     = { program = "$request.programId" }
response = "embed"
[grants.schema]
programId      = "string!"
partner        = { email = "email!", name = "string", image = "http_url" }
groupId        = "string"
externalUserId = "string<=255"
metadata       = "object"

[[routes]]
path  = "/v1/embed/data"
auth  = ["opaque"]
token = "embed"
from  = ["query:token"]
forward_credential = true                  # the upstream echoes it; redacted from every log

[[routes]]
path   = "/v1/{resource}/**"
auth   = ["api_key"]
scopes = ["{access}:{resource}"]

[responses.portal]
success = true
[responses.portal.data]
token     = "$token.portal"
portalUrl = { first = ["https://{owner.verified_domain}/auth/token?token={token.portal}", "https://{owner.subdomain}.affonso.io/auth/token?token={token.portal}"] }
expiresAt = "$token.portal.expires_at"

[responses.embed]
success = true
[responses.embed.data]
publicToken       = "$token.embed"
expiresAt         = "$token.embed.expires_at"
link              = "$subject.link"
partnershipStatus = "$subject.partnershipStatus"

[errors]
body = { success = false, error = { code = "$code", message = "$message" } }
[errors.on]
missing_credentials = { code = "MISSING_API_KEY" }
key_malformed       = { code = "INVALID_API_KEY_FORMAT" }
token_invalid       = { code = "INVALID_API_KEY" }
key_disabled        = { code = "API_KEY_DISABLED" }
key_expired         = { code = "API_KEY_EXPIRED" }
insufficient_scope  = { code = "INSUFFICIENT_PERMISSIONS" }
subject_inactive    = { code = "FORBIDDEN", message = "Affiliate is not active" }
not_found           = { code = "NOT_FOUND" }
syntax_error        = { code = "VALIDATION_ERROR" }
validation_failed   = { code = "VALIDATION_ERROR", body = { success = false, error = { code = "$code", message = "$message", details = "$fields" } } }
"#;

/// Giftcards.
pub(super) const GIFTCARDS: &str = r#"
realm    = "giftcards"
hosts    = ["rewards.example.com"]
upstream = "http://127.0.0.1:9003"

[directory]
type       = "local"
identifier = "username"

[tokens.access]
alg = "HS256"
typ = "JWT"
kid = false
ttl = "1h"
[tokens.refresh]
alg = "HS256"
typ = "JWT"
kid = false
ttl = "7d"

[[grants]]
type     = "password"
path     = "/auth/login"
request  = { identifier = "username", password = "password" }
response = "pair"
invalid  = "Username and password are required"

[[grants]]
type     = "refresh_token"
path     = "/auth/refresh"
request  = { token = "refresh_token" }
response = "pair"
invalid  = "Refresh token is required"

[[grants]]
type     = "logout"
path     = "/auth/logout"
auth     = ["jwt"]
revokes  = "subject"                       # every session of the client
response = "bye"

[[routes]]
path = "/api/v1/**"
auth = ["jwt"]

[responses.pair]
success = true
[responses.pair.data]
access_token       = "$token.access"
refresh_token      = "$token.refresh"
access_expires_at  = "$token.access.expires_at"
refresh_expires_at = "$token.refresh.expires_at"
client_id          = "$principal.client_id"   # an integer attribute stays a number
[responses.bye]
success = true
data    = { message = "Successfully logged out" }

[errors]
body = { error = { name = "$name", code = "$code", message = "$message" } }
[errors.status]
400 = { name = "ValidationException", code = "VALIDATION_FAILURE" }
401 = { name = "UnauthorizedError", code = "UNAUTHORIZED" }
403 = { name = "ForbiddenError", code = "FORBIDDEN" }
429 = { name = "TooManyRequestsError", code = "TOO_MANY_REQUESTS" }
[errors.on]
syntax_error        = { name = "SyntaxError", code = "SYNTAX_ERROR", message = "Invalid request body" }
invalid_credentials = { message = "Invalid credentials" }
refresh_invalid     = { message = "Invalid refresh token" }
ip_denied           = { message = "IP address not authorized" }
missing_credentials = { message = "Authentication required" }
"#;
