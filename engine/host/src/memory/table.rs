//! How much memory the entries of an instance's table of resources take.

use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{
    FieldMap,
    p2::{
        bindings::http::types::{Method, Scheme},
        types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse},
    },
};

/// What a handle counts: its entry in the table and the box of what it stands for.
pub(crate) const HANDLE_BYTES: usize = 256;

/// What a header field counts on top of its name and value, for its place in the map.
pub(crate) const FIELD_BYTES: usize = 128;

/// What a table of resources takes. What has a [`Charge`] counts as a handle alone.
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

/// What header fields take.
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
