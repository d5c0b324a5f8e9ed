//! How much memory the entries of an instance's table of resources take.

use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{
    FieldMap,
    p2::{
        bindings::http::types::{Method, Scheme},
        types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse},
    },
};

/// The size of a handle: its entry in the table and the box with its value.
pub(crate) const HANDLE_BYTES: usize = 256;

/// The size of a header field on top of its name and value.
pub(crate) const FIELD_BYTES: usize = 128;

/// The size of a table of resources. An entry with a [`Charge`](super::Charge) counts as a handle only.
pub(super) fn table_bytes(table: &mut ResourceTable) -> usize {
    let bytes = |entry: &(dyn std::any::Any + Send)| {
        if let Some(fields) = entry.downcast_ref::<FieldMap>() {
            return fields_bytes(fields);
        }
        if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
            return request_bytes(request);
        }
        if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
            return fields_bytes(&response.headers);
        }
        if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
            return fields_bytes(&response.headers);
        }
        0
    };
    table.iter_mut().map(|entry| HANDLE_BYTES + bytes(entry)).sum()
}

/// The size of header fields.
pub(crate) fn fields_bytes(fields: &http::HeaderMap) -> usize {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + FIELD_BYTES
    };
    fields.iter().map(field).sum()
}

fn request_bytes(request: &HostOutgoingRequest) -> usize {
    let method = match &request.method {
        Method::Other(name) => name.len(),
        _ => 0,
    };
    let scheme = match &request.scheme {
        Some(Scheme::Other(name)) => name.len(),
        _ => 0,
    };
    let texts = [&request.authority, &request.path_with_query];
    let texts = texts.map(|text| text.as_ref().map_or(0, String::len));
    method + scheme + texts.iter().sum::<usize>() + fields_bytes(&request.headers)
}
