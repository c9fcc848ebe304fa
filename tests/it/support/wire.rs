//! A wire between two parties, which a test can slow down, hold up and cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis::clock::Stopwatch;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Flows,
    Delays(Duration),
    Holds,
    Cut,
    /// Cut, and nobody is left who could mend it.
    Over,
}

#[derive(Debug)]
struct Shared {
    mode: Mutex<Mode>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
}

/// See the module. Bytes flow at first.
#[derive(Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Leads to `to`.
    pub(crate) fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Flows),
            changed: Condvar::new(),
            open: Mutex::default(),
            connections: AtomicUsize::default(),
        });
        let taking = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), mode) = (near, *taking.mode()) else { continue };
                taking.connections.fetch_add(1, Ordering::SeqCst);
                match mode {
                    Mode::Flows | Mode::Delays(_) | Mode::Holds => taking.connect(near, to),
                    Mode::Cut => {}
                    Mode::Over => return,
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Where it begins.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were made so far, also to a wire that was cut.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes flow.
    pub(crate) fn flow(&self) {
        self.shared.set(Mode::Flows);
    }

    /// Each piece that is sent arrives so much later, in both directions.
    pub(crate) fn delay(&self, by: Duration) {
        self.shared.set(Mode::Delays(by));
    }

    /// Nothing arrives any more, and no connection ends: what was sent arrives when it flows again.
    pub(crate) fn hold(&self) {
        self.shared.set(Mode::Holds);
    }

    /// Every connection breaks off, new ones at once.
    pub(crate) fn cut(&self) {
        self.shared.set(Mode::Cut);
        self.shared.break_off();
    }
}

impl Shared {
    fn mode(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().expect("no panic under the lock")
    }

    fn set(&self, mode: Mode) {
        *self.mode() = mode;
        self.changed.notify_all();
    }

    fn break_off(&self) {
        for stream in self.open.lock().expect("no panic under the lock").drain(..) {
            // It may have ended already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn connect(self: &Arc<Self>, near: TcpStream, to: SocketAddr) {
        let Ok(far) = TcpStream::connect(to) else { return };
        let twice = |stream: &TcpStream| stream.try_clone().expect("a second handle");
        for stream in [&near, &far] {
            drop(stream.set_nodelay(true));
            self.open.lock().expect("no panic under the lock").push(twice(stream));
        }
        for (mut from, mut onto) in [(twice(&near), twice(&far)), (far, near)] {
            let shared = Arc::clone(self);
            std::thread::spawn(move || {
                let mut piece = [0; 16 * 1024];
                while let Ok(count @ 1..) = from.read(&mut piece) {
                    if !shared.may_pass() || onto.write_all(&piece[..count]).is_err() {
                        break;
                    }
                }
                drop(onto.shutdown(Shutdown::Both));
                drop(from.shutdown(Shutdown::Both));
            });
        }
    }

    /// Waits as long as the mode says; false when the wire is cut.
    fn may_pass(&self) -> bool {
        let arrived = Stopwatch::start();
        let mut mode = self.mode();
        loop {
            mode = match *mode {
                Mode::Flows => return true,
                Mode::Cut | Mode::Over => return false,
                Mode::Holds => self.changed.wait(mode).expect("no panic under the lock"),
                Mode::Delays(by) => match by.checked_sub(arrived.elapsed()) {
                    Some(left) if !left.is_zero() => {
                        self.changed.wait_timeout(mode, left).expect("no panic under the lock").0
                    }
                    Some(_) | None => return true,
                },
            };
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.set(Mode::Over);
        self.shared.break_off();
        drop(TcpStream::connect(self.address)); // so that the loop sees it
        drop(self.thread.take().map(JoinHandle::join));
    }
}
