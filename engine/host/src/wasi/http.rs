//! Replaces the functions of wasi:http that make the host hold memory for a guest: they count the memory, and then do
//! the same.
//!
//! Header fields and the texts of a request are entries of the table of resources. A body and an active request have
//! buffers: they are charged their largest size until they are dropped, wherever they are by then.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use wasmtime::{
    StoreContextMut,
    component::{Linker, LinkerInstance, Resource},
};
use wasmtime_wasi_http::{
    Error, FieldMap, RequestOptions, WasiHttpView,
    p2::{
        HeaderError,
        bindings::http::{
            outgoing_handler::Host as _,
            types::{self, ErrorCode, HostFields, HostOutgoingRequest as _, Method, Scheme},
        },
        body::{HostOutgoingBody, HyperOutgoingBody},
        types::{
            HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
        },
    },
};

use crate::{
    memory::{Charge, FIELD_BYTES, HANDLE_BYTES, fields_bytes},
    outgoing::{BODY_BYTES, REQUEST_BYTES},
    sandbox::Sandbox,
};

/// The interfaces of wasmtime-wasi-http.
const TYPES: &str = "wasi:http/types@0.2.12";
const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

type Store<'a> = StoreContextMut<'a, Sandbox>;
type Fields = Resource<FieldMap>;
type Request = Resource<HostOutgoingRequest>;
type Entries = Vec<(String, Vec<u8>)>;

/// The result of `future-incoming-response.get`: whether there is a response, whether it is returned for the first
/// time, and how the request ended.
type Got = Option<Result<Result<Resource<HostIncomingResponse>, ErrorCode>, ()>>;

pub(super) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    fields(&mut types)?;
    requests(&mut types)?;
    bodies(&mut types)?;
    linker.instance(HANDLER)?.func_wrap_async(
        "handle",
        |mut store: Store<'_>, (request, options): (Request, Option<Resource<RequestOptions>>)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                let charge = sandbox.charge(REQUEST_BYTES).await?;
                sandbox.outgoing().0.charge_next(charge);
                let handled = sandbox.http().handle(request, options);
                Ok((match handled {
                    Ok(response) => Ok(response),
                    Err(error) => Err(error.downcast()?),
                },))
            })
        },
    )
}

/// Converts an error about header fields for the guest.
fn of_fields<T>(done: Result<T, HeaderError>) -> wasmtime::Result<(Result<T, types::HeaderError>,)> {
    Ok((match done {
        Ok(done) => Ok(done),
        Err(error) => Err(error.downcast()?),
    },))
}

fn fields(types: &mut LinkerInstance<'_, Sandbox>) -> wasmtime::Result<()> {
    types.func_wrap_async("[constructor]fields", |mut store: Store<'_>, (): ()| {
        Box::new(async move {
            let sandbox = store.data_mut();
            sandbox.hold(HANDLE_BYTES).await?;
            Ok((HostFields::new(&mut sandbox.http())?,))
        })
    })?;
    types.func_wrap_async(
        "[static]fields.from-list",
        |mut store: Store<'_>, (entries,): (Entries,)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                let bytes = entries
                    .iter()
                    .map(|(name, value)| name.len() + value.len() + FIELD_BYTES);
                sandbox.hold(HANDLE_BYTES + bytes.sum::<usize>()).await?;
                of_fields(sandbox.http().from_list(entries))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]fields.set",
        |mut store: Store<'_>, (fields, name, values): (Fields, String, Vec<Vec<u8>>)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                let bytes = values.iter().map(|value| value.len() + FIELD_BYTES);
                sandbox
                    .hold(name.len() + FIELD_BYTES + bytes.sum::<usize>())
                    .await?;
                of_fields(HostFields::set(&mut sandbox.http(), fields, name, values))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]fields.append",
        |mut store: Store<'_>, (fields, name, value): (Fields, String, Vec<u8>)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                sandbox.hold(name.len() + value.len() + FIELD_BYTES).await?;
                of_fields(sandbox.http().append(fields, name, value))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]fields.clone",
        |mut store: Store<'_>, (fields,): (Fields,)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                // Clones share their data until one of them changes.
                let bytes = fields_bytes(sandbox.table.get(&fields)?);
                sandbox.hold(HANDLE_BYTES + bytes).await?;
                Ok((HostFields::clone(&mut sandbox.http(), fields)?,))
            })
        },
    )
}

fn requests(types: &mut LinkerInstance<'_, Sandbox>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[constructor]outgoing-request",
        |mut store: Store<'_>, (headers,): (Fields,)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                sandbox
                    .hold(HANDLE_BYTES + size_of::<HostOutgoingRequest>())
                    .await?;
                let request = types::HostOutgoingRequest::new(&mut sandbox.http(), headers)?;
                Ok((request,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]outgoing-request.set-method",
        |mut store: Store<'_>, (request, method): (Request, Method)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                if let Method::Other(name) = &method {
                    sandbox.hold(name.len()).await?;
                }
                Ok((sandbox.http().set_method(request, method)?,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]outgoing-request.set-scheme",
        |mut store: Store<'_>, (request, scheme): (Request, Option<Scheme>)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                if let Some(Scheme::Other(name)) = &scheme {
                    sandbox.hold(name.len()).await?;
                }
                Ok((sandbox.http().set_scheme(request, scheme)?,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]outgoing-request.set-authority",
        |mut store: Store<'_>, (request, text): (Request, Option<String>)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                sandbox.hold(text.as_ref().map_or(0, String::len)).await?;
                Ok((sandbox.http().set_authority(request, text)?,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]outgoing-request.set-path-with-query",
        |mut store: Store<'_>, (request, text): (Request, Option<String>)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                sandbox.hold(text.as_ref().map_or(0, String::len)).await?;
                Ok((sandbox.http().set_path_with_query(request, text)?,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]future-incoming-response.get",
        |mut store: Store<'_>, (future,): (Resource<HostFutureIncomingResponse>,)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                let got: Got = types::HostFutureIncomingResponse::get(&mut sandbox.http(), future)?;
                if let Some(Ok(Ok(response))) = &got {
                    let bytes = fields_bytes(&sandbox.table.get(response)?.headers);
                    sandbox.hold(HANDLE_BYTES + bytes).await?;
                }
                Ok((got,))
            })
        },
    )
}

fn bodies(types: &mut LinkerInstance<'_, Sandbox>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]outgoing-request.body",
        |mut store: Store<'_>, (request,): (Request,)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                let charge = sandbox.charge(BODY_BYTES).await?;
                let same = Resource::new_borrow(request.rep());
                let body: Result<Resource<HostOutgoingBody>, ()> =
                    types::HostOutgoingRequest::body(&mut sandbox.http(), request)?;
                if body.is_ok() {
                    let request: &mut HostOutgoingRequest = sandbox.table.get_mut(&same)?;
                    request.body = request.body.take().map(|body| charged(body, charge));
                }
                Ok((body,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]outgoing-response.body",
        |mut store: Store<'_>, (response,): (Resource<HostOutgoingResponse>,)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                let charge = sandbox.charge(BODY_BYTES).await?;
                let same = Resource::new_borrow(response.rep());
                let body: Result<Resource<HostOutgoingBody>, ()> =
                    types::HostOutgoingResponse::body(&mut sandbox.http(), response)?;
                if body.is_ok() {
                    let response: &mut HostOutgoingResponse = sandbox.table.get_mut(&same)?;
                    response.body = response.body.take().map(|body| charged(body, charge));
                }
                Ok((body,))
            })
        },
    )?;
    types.func_wrap_async(
        "[static]outgoing-body.finish",
        |mut store: Store<'_>, (body, trailers): (Resource<HostOutgoingBody>, Option<Fields>)| {
            Box::new(async move {
                let sandbox = store.data_mut();
                if let Some(trailers) = &trailers {
                    // The trailers leave the table with the body. They count until the call ends.
                    let bytes = fields_bytes(sandbox.table.get(trailers)?);
                    let charge = sandbox.charge(bytes).await?;
                    sandbox.outgoing().0.keep(charge);
                }
                let finished = types::HostOutgoingBody::finish(&mut sandbox.http(), body, trailers);
                Ok((match finished {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.downcast()?),
                },))
            })
        },
    )
}

/// The body together with its charge.
fn charged(body: HyperOutgoingBody, charge: Charge) -> HyperOutgoingBody {
    Charged {
        body,
        _charge: charge,
    }
    .boxed_unsync()
}

struct Charged {
    body: HyperOutgoingBody,
    _charge: Charge,
}

impl Body for Charged {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
