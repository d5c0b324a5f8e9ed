//! The connections that are open: how many in all and from each address, and which one is closed for a new one.
//!
//! A connection that waits for a request can be closed at any time: its client sends the request again on another one.
//! So where there is no room for a new connection, the one that has waited longest makes room, and a new connection is
//! refused only where all others are busy. Whoever opens connections and sends nothing keeps nobody out.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// How long a connection may take to send a body before it can make room for a new connection.
const RECEIVING_AT_LEAST: Duration = Duration::from_secs(2);

/// The connections of a server.
pub(crate) struct OpenConnections {
    most: usize,
    most_per_address: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    by_address: HashMap<IpAddr, OfAddress>,
    /// The number of the latest entry below.
    latest: u64,
    /// The connections that wait for a request, the one that has waited longest first.
    waiting: BTreeMap<u64, Entry>,
    /// The connections whose request is being received.
    receiving: BTreeMap<u64, Entry>,
}

#[derive(Default)]
struct OfAddress {
    open: usize,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

struct Entry {
    since: Instant,
    address: IpAddr,
    end: Arc<Notify>,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It waits for the head of a request.
    Waiting,
    /// It receives the body of a request.
    Receiving,
    /// A request is being answered, or it is a WebSocket.
    Busy,
}

/// The place of one open connection.
pub(crate) struct Place {
    connections: Arc<OpenConnections>,
    address: IpAddr,
    /// Told when the connection is to be closed.
    end: Arc<Notify>,
    phase: AtomicU8,
    /// The number of its entry, where it has one.
    entry: Mutex<Option<u64>>,
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    FullForAddress,
}

impl OpenConnections {
    pub(crate) fn new(most: usize, most_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_per_address,
            state: Mutex::default(),
        })
    }

    /// A place for a new connection, which waits for a request.
    pub(crate) fn admit(self: &Arc<Self>, from: IpAddr) -> Result<Arc<Place>, Refused> {
        let address = network(from);
        let end = Arc::new(Notify::new());
        let mut state = self.state();
        let of_address = state.by_address.get(&address);
        let open = of_address.map_or(0, |of_address| of_address.open);
        if open >= self.most_per_address && !state.close_one_of(address) {
            return Err(Refused::FullForAddress);
        }
        if state.open >= self.most && !state.close_one() {
            return Err(Refused::Full);
        }
        state.open += 1;
        state.by_address.entry(address).or_default().open += 1;
        let entry = state.enter(Phase::Waiting, address, &end);
        drop(state);
        Ok(Arc::new(Place {
            connections: self.clone(),
            address,
            end,
            phase: AtomicU8::new(Phase::Waiting as u8),
            entry: Mutex::new(entry),
        }))
    }

    /// Closes the connection that has waited longest. Answers whether there is one.
    pub(crate) fn close_one(&self) -> bool {
        self.state().close_one()
    }

    // Nothing panics while it is held, so what it holds is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, phase: Phase, address: IpAddr, end: &Arc<Notify>) -> Option<u64> {
        let entries = match phase {
            Phase::Waiting => &mut self.waiting,
            Phase::Receiving => &mut self.receiving,
            Phase::Busy => return None,
        };
        self.latest += 1;
        let entry = Entry {
            since: Instant::now(),
            address,
            end: end.clone(),
        };
        entries.insert(self.latest, entry);
        if phase == Phase::Waiting {
            let of_address = self.by_address.entry(address).or_default();
            of_address.waiting.insert(self.latest, end.clone());
        }
        Some(self.latest)
    }

    fn leave(&mut self, entry: u64) {
        if let Some(Entry { address, .. }) = self.waiting.remove(&entry) {
            if let Some(of_address) = self.by_address.get_mut(&address) {
                of_address.waiting.remove(&entry);
            }
        } else {
            self.receiving.remove(&entry);
        }
    }

    /// Has a connection closed that can be, and counts it as closed.
    fn close_one(&mut self) -> bool {
        let waits = self.waiting.keys().next().copied();
        let receives = || {
            let (number, entry) = self.receiving.first_key_value()?;
            (entry.since.elapsed() >= RECEIVING_AT_LEAST).then_some(*number)
        };
        self.close(waits.or_else(receives))
    }

    fn close_one_of(&mut self, address: IpAddr) -> bool {
        let of_address = self.by_address.get(&address);
        let waits = of_address.and_then(|of_address| of_address.waiting.keys().next().copied());
        self.close(waits)
    }

    fn close(&mut self, entry: Option<u64>) -> bool {
        let Some(number) = entry else { return false };
        let found = self.waiting.get(&number).or_else(|| self.receiving.get(&number));
        let Some(end) = found.map(|entry| entry.end.clone()) else {
            return false;
        };
        self.leave(number);
        end.notify_one();
        true
    }
}

impl Place {
    /// Ends once the connection is to be closed.
    pub(crate) async fn closed(&self) {
        self.end.notified().await;
    }

    /// What tells the connection to close.
    pub(crate) fn end(&self) -> Arc<Notify> {
        self.end.clone()
    }

    pub(crate) fn waits(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Waiting as u8
    }

    /// Says what the connection does from now on.
    pub(crate) fn enter(&self, phase: Phase) {
        let mut state = self.connections.state();
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = entry.take() {
            state.leave(number);
        }
        *entry = state.enter(phase, self.address, &self.end);
        self.phase.store(phase as u8, Ordering::Release);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        let entry = self.entry.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = entry.take() {
            state.leave(number);
        }
        state.open -= 1;
        if let Some(of_address) = state.by_address.get_mut(&self.address) {
            of_address.open -= 1;
            if of_address.open == 0 {
                state.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 address, which one machine may have as a whole.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}
