//! The table of keys: what may stand in a configuration, in the order of the reference. What a key means to the gate is
//! said in [`compile`](super::compile); whether its value makes sense together with others, too.

mod access;
mod cors;
mod directory;
mod grant;
mod identity;
mod issuer;
mod realm;
mod route;
mod server;
mod tls;
mod tokens;
mod upstream;

pub(crate) use access::{ApiKeys, Client, ClientKey, Limit};
pub(crate) use cors::{Cors, OwnCors};
pub(crate) use directory::{Directory, Subject, Translate};
pub(crate) use grant::{Grant, GrantCookie, RequestFields};
pub(crate) use identity::Assertion;
pub(crate) use issuer::{ClaimNames, Issuer, IssuerKeys};
pub(crate) use realm::{Entry, Errors, IdentityHeaders, Realm, Timeouts};
pub(crate) use route::{Route, RouteHeaders};
pub(crate) use server::{Admin, Cache, Decision, Listener, Log, Root, Server, Store};
pub(crate) use tls::{Tls, TlsCertificate};
pub(crate) use tokens::{TokenKind, Tokens};
pub(crate) use upstream::{Eject, HealthCheck, Upstream, UpstreamServer, UpstreamTimeouts, UpstreamTls};

use super::walk::{Kind, Shape};

/// Where the key `name` belongs, if the table whose keys are `known` is the gateway's and it is a realm's, or the other way
/// round.
pub(crate) fn elsewhere(name: &str, known: &[&str]) -> Option<String> {
    let has = |kind: &Kind, name: &str| match kind {
        Kind::Table(section) => section.keys.iter().any(|key| key.name == name),
        Kind::Leaf(..) | Kind::List(_) | Kind::Named(_) | Kind::OneOf(_) => false,
    };
    let (root, realm) = (Root::kind(), Realm::kind());
    let is = |kind: &Kind| known.len() > 3 && known.iter().all(|key| has(kind, key));
    if is(&root) && has(&realm, name) {
        return Some("; it belongs in a realm: `realms/NAME.toml`, or `[realms.NAME]`".to_owned());
    }
    let belongs = is(&realm) && has(&root, name);
    belongs.then(|| "; it belongs at the top of `portcullis.toml`, for all realms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_section(kind: &Kind, then: &mut dyn FnMut(&crate::config::walk::Section)) {
        match kind {
            Kind::Leaf(..) => {}
            Kind::List(inner) | Kind::Named(inner) => each_section(inner, then),
            Kind::OneOf(kinds) => kinds.iter().for_each(|kind| each_section(kind, then)),
            Kind::Table(section) => {
                then(section);
                section.keys.iter().chain(section.open.as_deref()).for_each(|key| each_section(&key.kind, then));
            }
        }
    }

    #[test]
    fn every_key_is_documented() {
        each_section(&Root::kind(), &mut |section| {
            for key in section.keys.iter().chain(section.open.as_deref()) {
                assert!(key.doc.ends_with('.'), "{}: {:?}", key.name, key.doc);
            }
        });
    }

    #[test]
    fn every_default_is_itself_acceptable() {
        // An empty file is read wholly from defaults, and what its tables default to is read likewise.
        for (what, toml) in [("root", "{}"), ("realm", "{ hosts = [] }")] {
            let read = match what {
                "root" => crate::config::value::read::<Root>(toml).map(drop),
                _ => crate::config::value::read::<Realm>(toml).map(drop),
            };
            assert_eq!(read, Ok(()), "{what}");
        }
        let names = "claims = {}, keys = {}, name = 'a', issuer = 'a', audience = [], algorithms = []";
        assert_eq!(crate::config::value::read::<Issuer>(&format!("{{ {names} }}")).map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<ApiKeys>("{ prefix = 'a' }").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<Client>("{}").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<Cors>("{ origins = [] }").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<Upstream>("{ servers = [] }").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<HealthCheck>("{ tcp = true }").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<Eject>("{}").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<Route>("{ path = '/', auth = [] }").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<Tokens>("{ access = { ttl = '1h' } }").map(drop), Ok(()));
        assert_eq!(
            crate::config::value::read::<Directory>("{ type = 'http', translate = { subject = '/id' } }").map(drop),
            Ok(())
        );
        assert_eq!(crate::config::value::read::<Subject>("{ url = '/' }").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<Grant>("{ type = 'renew', path = '/' }").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<Assertion>("{ key = { env = 'A' } }").map(drop), Ok(()));
        assert_eq!(crate::config::value::read::<Limit>("{ by = 'key', rate = '1/s' }").map(drop), Ok(()));
    }
}
