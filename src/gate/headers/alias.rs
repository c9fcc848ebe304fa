//! Names that are the same to somebody: CGI and WSGI hand header fields on as variables in which every character that
//! is not alphanumeric has become `_`, so `X.Auth_Subject` reaches an application as `X-Auth-Subject`.

/// A byte of a name as such an application sees it.
fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' }
}

/// Whether `name` is an alias of `other` (or equal to it).
pub(super) fn is_alias(name: &str, other: &str) -> bool {
    name.len() == other.len() && name.bytes().map(fold).eq(other.bytes().map(fold))
}

fn starts_like(name: &str, folded_prefix: &str) -> bool {
    name.len() >= folded_prefix.len() && name.bytes().map(fold).zip(folded_prefix.bytes()).all(|(a, b)| a == b)
}

/// A set of names in which aliases are found without allocating.
#[derive(Debug)]
pub(super) struct AliasSet {
    /// One bit per length, the last for all longer ones: most names of a request are told apart by it alone.
    lengths: u64,
    folded: Vec<Box<[u8]>>,
}

impl AliasSet {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.lengths & length_bit(name.len()) != 0
            && self.folded.iter().any(|own| own.len() == name.len() && own.iter().copied().eq(name.bytes().map(fold)))
    }
}

impl<'a> FromIterator<&'a str> for AliasSet {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut folded: Vec<Box<[u8]>> = names.into_iter().map(|name| name.bytes().map(fold).collect()).collect();
        folded.sort_unstable();
        folded.dedup();
        Self { lengths: folded.iter().fold(0, |bits, name| bits | length_bit(name.len())), folded }
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Fields that make an upstream see another method, path or host than the one that was judged, or that have no honest
/// use from outside. A trusted proxy hands them on as the client sent them: they are removed whoever the peer is.
const NEVER: &[&str] = &[
    "proxy",
    "x_http_host_override",
    "x_http_method",
    "x_http_method_override",
    "x_http_path_override",
    "x_method_override",
    "x_middleware_subrequest",
    "x_original_uri",
    "x_original_url",
    "x_rewrite_url",
];

/// Fields that only a proxy in front has to say something with.
const FROM_PROXIES: &[&str] = &[
    "cf_connecting_ip",
    "cf_connecting_ipv6",
    "cf_pseudo_ipv4",
    "client_ip",
    "early_data",
    "fastly_client_ip",
    "fly_client_ip",
    "forwarded",
    "forwarded_for",
    "true_client_ip",
    "x_client_dn",
    "x_client_ip",
    "x_client_verify",
    "x_cluster_client_ip",
    "x_host",
    "x_originating_ip",
    "x_real_ip",
    "x_remote_addr",
    "x_remote_ip",
    "x_request_id",
];

/// Families of such fields. Those with certificates in them are of RFC 9440, of nginx, Ingress and Traefik, of the load
/// balancers of Amazon and Azure, and of Cloudflare.
const FROM_PROXIES_PREFIXES: &[&str] = &[
    "cf_client_cert",
    "client_cert",
    "ssl_client_",
    "x_amzn_mtls_",
    "x_arr_clientcert",
    "x_client_cert",
    "x_envoy_",
    "x_forwarded_",
    "x_original_",
    "x_ssl_",
    "x_tls_client_",
];

/// Whether nobody may send this field on.
pub(super) fn is_never_forwarded(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'x' | b'X' | b'p' | b'P'))
        && NEVER.iter().any(|other| is_alias(name, other))
}

/// Whether this field is only believed from a trusted proxy.
pub(super) fn is_from_proxies(name: &str) -> bool {
    matches!(name.as_bytes().first().map(u8::to_ascii_lowercase), Some(b'x' | b'f' | b'c' | b't' | b'e' | b's'))
        && (FROM_PROXIES.iter().any(|other| is_alias(name, other))
            || FROM_PROXIES_PREFIXES.iter().any(|prefix| starts_like(name, prefix)))
}
