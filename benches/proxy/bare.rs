//! The floor: a pingora that passes everything on and sets one field, as small as its own example.

use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

/// First argument of the process that is this.
pub(crate) const WORD: &str = "bare";

struct Bare {
    upstream: String,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.upstream, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream: &mut RequestHeader,
        (): &mut (),
    ) -> pingora::Result<()> {
        upstream.insert_header("X-Auth-Subject", "alice")
    }
}

/// Serves at `address` until the process is ended.
pub(crate) fn serve(address: &str, upstream: &str) -> ! {
    let conf =
        ServerConf { threads: 1, work_stealing: false, upstream_keepalive_pool_size: 1024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { upstream: upstream.to_owned() });
    service.add_tcp(address);
    server.add_service(service);
    server.run_forever();
}
