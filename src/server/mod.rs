//! The assembly: builds a gateway from a configuration, opens its listeners, runs until it is told to stop.
//!
//! Three services of pingora, each with a runtime of its own: `control` (key sets, names, health checks, reload), `proxy`
//! (requests), `admin` (metrics, health, administration); and a runtime for all work on the store. Nothing is global, so
//! that tests run several gateways in one process.

mod authorities;
mod control;
mod course;
mod descriptors;
mod feed;
mod handle;
mod handover;
mod issuing;
mod listen;
mod options;
mod orders;
mod secured;
mod shutdown;
mod socket;
mod start_error;
mod store;
mod supervisor;
mod surroundings;
mod teller;
#[cfg(test)]
mod tests;
mod upkeep;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server as Engine};
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use tokio::sync::{Notify, watch};

use crate::admin::api::Admin;
use crate::admin::http::Api;
use crate::admin::{self, AdminApp};
use crate::config::{Config, ListenerSettings, Settings};
use crate::gate::Gate;
use crate::gate::verify::stored::StoredKeys;
use crate::password::Hasher;
use crate::proxy::front_door::{Crowd, FrontDoors, Listener, Patience};
use crate::proxy::upstream::{Checks, Resolver};
use crate::proxy::{Gateway, Live};
use crate::reload::{self, Reloader};
use crate::telemetry::Telemetry;
use crate::tls::Listeners;
use control::Control;
use descriptors::Room;
pub use handle::Handle;
pub use handover::HandoverError;
use handover::Inherited;
use listen::{Counted, Prebound};
pub use options::Options;
use orders::Order;
use secured::Secured;
use shutdown::Shutdown;
pub use socket::LocalAddress;
use socket::{SocketFile, Sockets};
pub use start_error::StartError;
use store::OpenStore;
use supervisor::Supervisor;
use surroundings::Here;
use teller::Teller;

/// What is waited for the access log at the end.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// A gateway whose listeners are open: clients that connect now wait until it runs.
pub struct Server {
    engine: Engine,
    shutdown: Shutdown,
    handle: Handle,
    store: Option<OpenStore>,
    local_addrs: Vec<LocalAddress>,
    admin_addr: LocalAddress,
    files: Vec<SocketFile>,
    health: Arc<Health>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local_addrs", &self.local_addrs).finish_non_exhaustive()
    }
}

/// What is true of the whole process, for `/readyz`.
#[derive(Debug, Default)]
struct Health {
    serving: AtomicBool,
    /// An order to end is heard from now on: a signal before that would end the process in its own way.
    attentive: AtomicBool,
    stopping: AtomicBool,
    /// A successor has the listening sockets: their files are not to be removed.
    handed_over: AtomicBool,
}

impl Health {
    /// Whether another configuration is of no use any more.
    fn ends(&self) -> bool {
        self.stopping.load(Ordering::Acquire) || self.handed_over.load(Ordering::Acquire)
    }
}

impl Server {
    /// Opens the listeners of `config` and builds everything; port 0 takes a free one.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn bind(config: Config, options: Options) -> Result<Self, StartError> {
        let Config { settings, mut snapshot, issuing, tls, files, warnings, .. } = config;
        let Room { connections, requests } = Room::of(settings.max_connections, threads(&settings));
        // Who succeeds another process is ready for everything else before it asks for the sockets.
        let sockets = match options.upgrade {
            None => Some(Sockets::open(&settings, &mut Inherited::default())?),
            Some(_) => None,
        };
        reload::log_warnings(&warnings);

        let access_log = settings.log.access.then_some(options.access_log);
        let telemetry = Arc::new(Telemetry::new(options.clock.now(), access_log)?);
        snapshot.generation = 1;
        let store = settings.store.as_ref().map(|store| {
            OpenStore::open(store, settings.cache_keys, options.write_uses_every, &options.clock, &telemetry)
        });
        let store = store.transpose()?;
        if let Some(store) = &store {
            store.warn_of_orphans(&snapshot);
        }
        let keys = store.as_ref().map_or_else(|| Arc::new(StoredKeys::none()), |store| Arc::clone(&store.keys));
        let resolver = Arc::new(Resolver::bounded(requests));
        let in_force = Arc::new(Notify::new());
        let issuing_in_force = Arc::new(Notify::new());
        let checks_in_force = Arc::new(Notify::new());
        // One for the process: its bounds are the machine's.
        let hasher = Hasher::new();
        let tokens =
            store.as_ref().map(|store| issuing::tokens(&store.store, &store.handle(), &store.feed, hasher.clone()));
        if let Some(store) = &store {
            store.issue(&issuing, &snapshot, Arc::clone(&issuing_in_force))?;
        }
        let live = Live::prepare(snapshot, Arc::new(issuing), &telemetry, &resolver);
        let gateway = Arc::new(Gateway {
            gate: Gate::new(settings.cache_tokens, Arc::clone(&keys)),
            live: ArcSwap::from_pointee(live),
            telemetry,
            clock: options.clock,
            tokens,
        });
        if let Some(store) = &store {
            store.around.is(&gateway);
        }

        let mut conf = engine_conf(&settings, options.work_stealing);
        conf.ca_file = authorities::ca_file(&gateway.live.load().snapshot);
        let checks = Checks { ca_file: conf.ca_file.clone(), in_force: Arc::clone(&checks_in_force) };
        let mut engine = Engine::new_with_opt_and_conf(None, conf);
        engine.bootstrap();
        let health = Arc::new(Health::default());
        let (orders, order) = watch::channel(Order::Run);
        let shutdown = Shutdown::new(&settings, options.signals, order, Arc::clone(&health));
        let lender = store.as_ref().map(|store| (store.store.clone(), store.handle()));
        let tls = Arc::new(Listeners::begin(tls));
        let securing = secured::securing(&tls, &gateway, settings.handshake_timeout);
        let prepare = control::prepare(Arc::clone(&resolver), lender, Arc::clone(&gateway.clock));
        let reloader = Arc::new(Reloader::new(
            Arc::clone(&gateway),
            settings.clone(),
            tls,
            &files,
            options.source,
            prepare,
            vec![Arc::clone(&in_force), issuing_in_force, checks_in_force],
        ));

        let control = engine.add_service(background_service(
            "control",
            Control {
                gateway: Arc::clone(&gateway),
                fetch: options.fetch,
                in_force,
                resolver,
                checks: Arc::new(checks),
                reloader: Arc::clone(&reloader),
                watch_every: options.watch_every,
                signals: options.signals,
                health: Arc::clone(&health),
            },
        ));

        let (sockets, predecessor) = match sockets {
            Some(sockets) => (sockets, None),
            None => {
                if options.signals {
                    orders::outlive_quit();
                }
                let patience = options.upgrade.unwrap_or_default();
                let (mut inherited, predecessor) = handover::wait(&settings.upgrade_socket, patience)?;
                (Sockets::open(&settings, &mut inherited)?, Some(predecessor))
            }
        };
        sockets.enter(&settings, &shutdown.estate)?;
        let succeeds = predecessor.is_some();
        // The place is ready all the time: who takes it over must not say otherwise while it begins.
        health.attentive.store(succeeds, Ordering::Release);
        let shutdown = shutdown.telling(Supervisor::new(options.notify), predecessor);
        let Sockets { listen: sockets, admin: admin_socket } = sockets;
        let local_addrs: Vec<_> = sockets.iter().map(|socket| socket.address.clone()).collect();
        let patience = Patience {
            header: settings.header_timeout,
            idle: settings.idle_timeout,
            handshake: settings.handshake_timeout,
        };
        let crowd = Crowd::new(settings.max_connections_per_address);
        let fronts = FrontDoors::new(&engine.configuration, Arc::clone(&gateway), patience, crowd);
        let doors = settings.listen.iter().zip(sockets).zip(securing.server).map(|((listener, socket), tls)| {
            let arrivals = gateway.telemetry.arrivals(&socket.address.to_string());
            let unix = socket.address.inet().is_none();
            let ListenerSettings { proxy_protocol, http2, decides_only, .. } = *listener;
            let at = Listener { unix, proxy_protocol, http2, decides_only, tls, arrivals: arrivals.clone() };
            let door = Counted::new(fronts.of(at), shutdown.proxy.connections(), connections, Some(arrivals));
            (Service::new("proxy".into(), door), socket)
        });
        let mut proxy = Prebound::new(doors.collect()).until(shutdown.proxy.listening(), shutdown.proxy.stage());
        let mut files = proxy.take_files();
        engine.add_service(proxy).add_dependency(&control);

        let admin_addr = admin_socket.address.clone();
        let report = Teller {
            gateway: Arc::clone(&gateway),
            health: Arc::clone(&health),
            keys: Arc::clone(&keys),
            feed: store.as_ref().map(|store| (Arc::clone(&store.feed), store.store.place().to_owned())),
        };
        let api = match &store {
            None => Api::without_store(Arc::clone(&gateway.clock)),
            Some(store) => {
                let feed = Arc::clone(&store.feed);
                let here = Here { gateway: Arc::clone(&gateway), reloader: Arc::clone(&reloader), keys, feed };
                let admin = Admin::new(store.store.clone(), Arc::new(here), Arc::clone(&gateway.clock), hasher);
                Api::new(Arc::new(admin), store.handle(), Arc::clone(&gateway.clock))
            }
        };
        let router = teller::measured(admin::router(Arc::new(report), api), Arc::clone(&gateway.telemetry));
        let admin = Secured::new(AdminApp::new(router), securing.admin);
        let admin = Counted::new(admin, shutdown.admin.connections(), admin::MOST_CONNECTIONS, None);
        let mut admin = Service::new("admin".into(), admin);
        admin.threads = Some(1);
        let mut admin = Prebound::new(vec![(admin, admin_socket)]);
        files.append(&mut admin.take_files());
        let admin = engine.add_service(admin.until(shutdown.admin.listening(), shutdown.admin.stage()));
        if succeeds {
            admin.add_dependency(&control);
        }

        let lent = store.as_ref().map(|store| (store.store.clone(), store.handle()));
        let handle = Handle { orders: Arc::new(orders), gateway, reloader, store: lent };
        Ok(Self { engine, shutdown, handle, store, local_addrs, admin_addr, files, health })
    }

    /// Where requests arrive, in the order of the configuration, with real ports.
    pub fn local_addrs(&self) -> &[LocalAddress] {
        &self.local_addrs
    }

    /// Where metrics and health are served, with the real port.
    pub fn admin_addr(&self) -> &LocalAddress {
        &self.admin_addr
    }

    /// To steer the gateway while it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until it is told to stop, by a signal or by a [`Handle`].
    pub fn run(self) {
        let shutdown = self.shutdown.announcing(self.local_addrs, self.admin_addr);
        self.engine.run(RunArgs { shutdown_signal: Box::new(shutdown) });
        if self.health.handed_over.load(Ordering::Acquire) {
            self.files.into_iter().for_each(SocketFile::leave);
        }
        if let Some(store) = self.store {
            store.close();
        }
        self.handle.gateway.telemetry.flush(LAST_FLUSH);
        tracing::info!("stopped");
    }
}

/// Threads of the proxy.
fn threads(settings: &Settings) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if settings.threads == 0 { cores() } else { settings.threads }
}

/// The engine's configuration. How it ends is ours (`shutdown`): what it would wait for is over when it is told.
fn engine_conf(settings: &Settings, work_stealing: bool) -> ServerConf {
    ServerConf {
        threads: threads(settings),
        work_stealing,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        // Sockets are handed over in a way of our own (`handover`); the default lies where everybody may write.
        upgrade_sock: String::new(),
        // How often a request is tried is said by its upstream, up to eleven times.
        max_retries: 11,
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    }
}
