//! A TCP proxy between a store and PostgreSQL, which can cut connections.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

const FORWARD: u8 = 0;
/// The next response is dropped with its connection; the request was forwarded.
const DROP_RESPONSE: u8 = 1;
/// Every connection is cut.
const CUT: u8 = 2;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    /// Forwards connections to this port of this machine.
    pub(crate) fn new(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(FORWARD));
        let shared = mode.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", to))) else {
                    continue;
                };
                if shared.load(Ordering::SeqCst) == CUT {
                    continue;
                }
                pass(&client, &server, &shared, false);
                pass(&server, &client, &shared, true);
            }
        });
        Self { port, mode }
    }

    /// Drops the next response that is larger than a renewal's, and cuts its connection.
    pub(crate) fn drop_next_response(&self) {
        self.mode.store(DROP_RESPONSE, Ordering::SeqCst);
    }

    /// Whether the response was dropped.
    pub(crate) fn has_dropped(&self) -> bool {
        self.mode.load(Ordering::SeqCst) == FORWARD
    }

    /// Cuts every connection, and refuses new ones until [`Self::forward`].
    pub(crate) fn cut(&self) {
        self.mode.store(CUT, Ordering::SeqCst);
    }

    pub(crate) fn forward(&self) {
        self.mode.store(FORWARD, Ordering::SeqCst);
    }
}

/// Passes bytes on, on a thread of its own.
fn pass(from: &TcpStream, to: &TcpStream, mode: &Arc<AtomicU8>, is_response: bool) {
    let (mut from, mut to, mode) = (from.try_clone().unwrap(), to.try_clone().unwrap(), mode.clone());
    from.set_read_timeout(Some(std::time::Duration::from_millis(20)))
        .unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer);
            let is_cut = mode.load(Ordering::SeqCst) == CUT;
            let count = match read {
                Ok(count) if count > 0 && !is_cut => count,
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) && !is_cut =>
                {
                    continue;
                }
                _ => break,
            };
            // The answer to an append contains the ids of runs.
            let is_answer = is_response && buffer[..count].windows(4).any(|part| part == [0x01, 0x89, 0, 0]);
            let dropped = is_answer
                && mode
                    .compare_exchange(DROP_RESPONSE, FORWARD, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok();
            if dropped || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
