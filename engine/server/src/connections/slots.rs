//! Connection slots: a limited number in total and for each client address.
//!
//! If no slot is free, the connection that has waited longest for a request is closed and its slot is reused. That is
//! safe because HTTP clients resend a request whose idle connection was closed. A new connection is refused only if
//! all others are busy. So a client that opens many connections and sends nothing cannot block other clients.

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

/// A connection that is receiving a body can be closed for a new connection only after this time.
const MIN_RECEIVE_TIME: Duration = Duration::from_secs(2);

/// All connection slots of a server.
pub(crate) struct ConnectionSlots {
    max: usize,
    max_per_address: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    by_address: HashMap<IpAddr, AddressState>,
    /// The key of the newest entry below. Keys increase, so the maps are in order of waiting time.
    latest: u64,
    /// The connections that wait for a request.
    waiting: BTreeMap<u64, Entry>,
    /// The connections that are receiving a request's body.
    receiving: BTreeMap<u64, Entry>,
}

#[derive(Default)]
struct AddressState {
    open: usize,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

struct Entry {
    since: Instant,
    address: IpAddr,
    close: Arc<Notify>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Waiting for the head of a request.
    Waiting,
    /// Receiving the body of a request.
    Receiving,
    /// Answering a request, or upgraded to a WebSocket.
    Busy,
}

/// The slot of one open connection. Dropping it frees the slot.
pub(crate) struct ConnectionSlot {
    connections: Arc<ConnectionSlots>,
    address: IpAddr,
    /// Notified when the connection must be closed.
    close: Arc<Notify>,
    phase: AtomicU8,
    /// The key of its entry in [`State`]; none while the connection is busy.
    entry: Mutex<Option<u64>>,
}

/// Why a connection got no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotError {
    Full,
    FullForAddress,
}

impl ConnectionSlots {
    pub(crate) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            state: Mutex::default(),
        })
    }

    /// Takes a slot for a new connection, closing a waiting one if none is free.
    pub(crate) fn acquire(self: &Arc<Self>, from: IpAddr) -> Result<Arc<ConnectionSlot>, SlotError> {
        let address = network(from);
        let close = Arc::new(Notify::new());
        let mut state = self.state();
        let address_state = state.by_address.get(&address);
        let open = address_state.map_or(0, |address_state| address_state.open);
        if open >= self.max_per_address && !state.close_one_of(address) {
            return Err(SlotError::FullForAddress);
        }
        if state.open >= self.max && !state.close_one() {
            return Err(SlotError::Full);
        }
        state.open += 1;
        state.by_address.entry(address).or_default().open += 1;
        let entry = state.enter(Phase::Waiting, address, &close);
        drop(state);
        Ok(Arc::new(ConnectionSlot {
            connections: self.clone(),
            address,
            close,
            phase: AtomicU8::new(Phase::Waiting as u8),
            entry: Mutex::new(entry),
        }))
    }

    /// Closes the connection that has waited longest. Returns false if no connection can be closed.
    pub(crate) fn close_one(&self) -> bool {
        self.state().close_one()
    }

    // A std mutex: nothing awaits or panics while it is held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, phase: Phase, address: IpAddr, close: &Arc<Notify>) -> Option<u64> {
        let entries = match phase {
            Phase::Waiting => &mut self.waiting,
            Phase::Receiving => &mut self.receiving,
            Phase::Busy => return None,
        };
        self.latest += 1;
        let entry = Entry {
            since: Instant::now(),
            address,
            close: close.clone(),
        };
        entries.insert(self.latest, entry);
        if phase == Phase::Waiting {
            let address_state = self.by_address.entry(address).or_default();
            address_state.waiting.insert(self.latest, close.clone());
        }
        Some(self.latest)
    }

    fn leave(&mut self, entry: u64) {
        if let Some(Entry { address, .. }) = self.waiting.remove(&entry) {
            if let Some(address_state) = self.by_address.get_mut(&address) {
                address_state.waiting.remove(&entry);
            }
        } else {
            self.receiving.remove(&entry);
        }
    }

    /// Closes the connection that has waited longest, else the one that has been receiving longest.
    fn close_one(&mut self) -> bool {
        let waits = self.waiting.keys().next().copied();
        let receives = || {
            let (number, entry) = self.receiving.first_key_value()?;
            (entry.since.elapsed() >= MIN_RECEIVE_TIME).then_some(*number)
        };
        self.close(waits.or_else(receives))
    }

    fn close_one_of(&mut self, address: IpAddr) -> bool {
        let address_state = self.by_address.get(&address);
        let waits = address_state.and_then(|address_state| address_state.waiting.keys().next().copied());
        self.close(waits)
    }

    fn close(&mut self, entry: Option<u64>) -> bool {
        let Some(number) = entry else { return false };
        let found = self.waiting.get(&number).or_else(|| self.receiving.get(&number));
        let Some(close) = found.map(|entry| entry.close.clone()) else {
            return false;
        };
        self.leave(number);
        close.notify_one();
        true
    }
}

impl ConnectionSlot {
    /// Waits until the connection must be closed.
    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Returns the notification that closes the connection.
    pub(crate) fn close_signal(&self) -> Arc<Notify> {
        self.close.clone()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Waiting as u8
    }

    /// Sets the phase of the connection.
    pub(crate) fn enter(&self, phase: Phase) {
        let mut state = self.connections.state();
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = entry.take() {
            state.leave(number);
        }
        *entry = state.enter(phase, self.address, &self.close);
        self.phase.store(phase as u8, Ordering::Release);
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        let entry = self.entry.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = entry.take() {
            state.leave(number);
        }
        state.open -= 1;
        if let Some(address_state) = state.by_address.get_mut(&self.address) {
            address_state.open -= 1;
            if address_state.open == 0 {
                state.by_address.remove(&self.address);
            }
        }
    }
}

/// Returns what counts as one client address: an IPv4 address, or the /64 network of an IPv6 address, because one
/// machine usually has a whole /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}
