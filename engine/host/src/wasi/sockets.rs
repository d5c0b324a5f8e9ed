//! Sockets are never granted: the first attempt to use one is logged.

use heddle_kernel::Level;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::p2::{
    Network, TcpSocket, UdpSocket,
    bindings::sockets::{
        ip_name_lookup::ResolveAddressStream,
        network::{ErrorCode, IpAddressFamily},
    },
};

use crate::sandbox::{NO_SOCKETS, Sandbox};

/// The functions that every use of wasi:sockets starts with, in wasmtime-wasi's interfaces.
const TCP: (&str, &str) = ("wasi:sockets/tcp-create-socket@0.2.12", "create-tcp-socket");
const UDP: (&str, &str) = ("wasi:sockets/udp-create-socket@0.2.12", "create-udp-socket");
const LOOKUP: (&str, &str) = ("wasi:sockets/ip-name-lookup@0.2.12", "resolve-addresses");

/// The parameters of a socket's creation.
type Family = (IpAddressFamily,);

/// The parameters of a name lookup.
type Name = (Resource<Network>, String);

pub(super) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, Sandbox>;
    linker
        .instance(TCP.0)?
        .func_wrap(TCP.1, |mut store: Store<'_>, _: Family| {
            Ok((Err::<Resource<TcpSocket>, _>(store.data_mut().no_socket()),))
        })?;
    linker
        .instance(UDP.0)?
        .func_wrap(UDP.1, |mut store: Store<'_>, _: Family| {
            Ok((Err::<Resource<UdpSocket>, _>(store.data_mut().no_socket()),))
        })?;
    linker
        .instance(LOOKUP.0)?
        .func_wrap(LOOKUP.1, |mut store: Store<'_>, _: Name| {
            Ok((Err::<Resource<ResolveAddressStream>, _>(
                store.data_mut().no_socket(),
            ),))
        })
}

impl Sandbox {
    fn no_socket(&mut self) -> ErrorCode {
        self.log_first_use(
            |used| &mut used.sockets,
            |rules| (Level::Warn, format!("plugin `{}` {NO_SOCKETS}", rules.plugin)),
        );
        ErrorCode::AccessDenied
    }
}
