//! Listeners and the end of a gateway, with a real engine and real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::bind;
use super::*;
use crate::config::LogSettings;

/// Answers each byte with the same byte until the client has no more.
struct Echo;

#[async_trait]
impl ServerApp for Echo {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, _shutdown: &ShutdownWatch) -> Option<Stream> {
        while let Ok(byte) = stream.read_u8().await {
            stream.write_u8(byte).await.ok()?;
            stream.flush().await.ok()?;
        }
        None
    }
}

/// An engine with one service on two free ports.
fn start(grace: Duration) -> (Vec<SocketAddr>, watch::Sender<Order>, JoinHandle<()>) {
    let settings = Settings {
        listen: Vec::new(),
        threads: 1,
        max_connections: Some(1000),
        max_connections_per_address: 0,
        header_timeout: Duration::ZERO,
        handshake_timeout: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        shutdown_delay: Duration::ZERO,
        shutdown_grace: grace,
        upgrade_socket: std::path::PathBuf::new(),
        admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        log: LogSettings { json: true, level: "info".into(), access: false },
        cache_tokens: 0,
        cache_keys: 0,
        store: None,
    };
    let mut engine = Engine::new_with_opt_and_conf(None, engine_conf(&settings, true));
    engine.bootstrap();
    let (orders, order) = watch::channel(Order::Run);
    let shutdown = Shutdown::new(&settings, false, order, Arc::default());
    let address = SocketAddr::from(([127, 0, 0, 1], 0)).into();
    let sockets: Vec<_> = (0..2).map(|_| bind("test", &address, false, &mut Inherited::default()).unwrap()).collect();
    let addresses = sockets.iter().filter_map(|socket| socket.address.inet()).collect();
    let arrivals = Telemetry::new(crate::clock::UnixMillis(0), None).unwrap().arrivals("test");
    let serve = |socket| {
        let echo = Counted::new(Echo, shutdown.proxy.connections(), 1000, Some(arrivals.clone()));
        (Service::new("echo".into(), echo), socket)
    };
    let services = sockets.into_iter().map(serve).collect();
    engine.add_service(Prebound::new(services).until(shutdown.proxy.listening(), shutdown.proxy.stage()));
    let run = move || engine.run(RunArgs { shutdown_signal: Box::new(shutdown) });
    (addresses, orders, std::thread::spawn(run))
}

fn echoed(client: &mut TcpStream) -> bool {
    let mut byte = [0];
    client.write_all(b"x").is_ok() && client.read_exact(&mut byte).is_ok() && byte == *b"x"
}

#[test]
fn a_client_may_connect_before_the_gateway_runs_and_gateways_follow_one_another() {
    for _ in 0..3 {
        let (addresses, orders, thread) = start(Duration::ZERO);
        for address in addresses {
            assert!(echoed(&mut TcpStream::connect(address).unwrap()));
        }
        orders.send_replace(Order::Stop);
        thread.join().unwrap();
    }
}

#[test]
fn an_open_connection_is_served_to_its_end_while_no_new_one_is_taken() {
    let (addresses, orders, thread) = start(Duration::from_secs(3600));
    let mut client = TcpStream::connect(addresses[0]).unwrap();
    assert!(echoed(&mut client));
    orders.send_replace(Order::Finish);
    while TcpStream::connect(addresses[0]).is_ok_and(|mut late| echoed(&mut late)) {}
    assert!(echoed(&mut client), "it was open before");
    assert!(!thread.is_finished());
    drop(client);
    thread.join().unwrap();
}

#[test]
fn an_order_to_stop_breaks_off_what_runs() {
    let (addresses, orders, thread) = start(Duration::from_secs(3600));
    let mut client = TcpStream::connect(addresses[1]).unwrap();
    assert!(echoed(&mut client));
    orders.send_replace(Order::Stop);
    thread.join().unwrap();
    // The runtime lets go of its tasks a moment later, or the process ends.
    while echoed(&mut client) {}
}
