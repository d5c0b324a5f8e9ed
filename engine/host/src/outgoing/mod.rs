//! The HTTP requests of a guest. Each is checked against the plugin's grants, carries the call's idempotency key, and
//! is logged with its outcome.
//!
//! A request that is not granted fails with an error that says what to add to the policy. Redirects are responses: a
//! guest that follows one makes a new request, which is checked again.

mod body;
mod error;
mod forms;
mod log;
mod mask;
mod overrides;
mod send;
pub(crate) mod tls;

use std::sync::Arc;

use heddle_json::object::clip;
use heddle_kernel::Level;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{ACCEPT_ENCODING, CONNECTION, HOST},
};
use tokio::sync::Semaphore;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};

use self::{error::internal, log::RequestLog};
use crate::{
    memory::Charge,
    output::Output,
    policy::{
        CallLimits, NotGranted, RequestTarget, Rules, Secret, insert_secrets, refers_to_secret,
        secret_policy_entry,
    },
    resources::Resources,
};

/// Lets a server recognize a repeated request.
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest request in a log line, in bytes.
const SHOWN_LEN: usize = 400;

/// How many chunks of a body are queued besides the one that is being written, and the size of a chunk in bytes.
const CHUNKS: usize = 1;
const CHUNK_LEN: usize = 64 << 10;

/// The memory of a body until it is sent: its chunks and their queue.
pub(crate) const BODY_BYTES: usize = (CHUNKS + 1) * CHUNK_LEN + (4 << 10);

/// The memory of an active request: its read and write buffers, and its connection.
pub(crate) const REQUEST_BYTES: usize = 2 * send::HEAD_BYTES;

/// The future that wasi:http needs for sending a request.
type Sending = Box<dyn Future<Output = Result<(Response<WasiBody>, IoDone), Error>> + Send>;
type IoDone = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// A guest's HTTP state.
pub(crate) struct Outgoing {
    ctx: WasiHttpCtx,
    requests: Requests,
    /// Charges that are held until the call ends.
    kept: Vec<Charge>,
}

/// The call that the requests belong to.
pub(crate) struct Call {
    pub(crate) resources: Arc<Resources>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) limits: Arc<CallLimits>,
    pub(crate) output: Arc<Output>,
    /// The call's idempotency key; none outside of a run.
    pub(crate) key: Option<Arc<str>>,
}

/// The requests of one instance.
struct Requests {
    call: Call,
    /// How many requests the guest has made so far.
    made: u64,
    /// Limits how many requests are active at once.
    permits: Arc<Semaphore>,
    /// The charge of the next request.
    charge: Option<Charge>,
    log: Arc<RequestLog>,
}

impl Outgoing {
    pub(crate) fn new(call: Call) -> Self {
        let requests = Requests {
            made: 0,
            permits: Arc::new(Semaphore::new(call.resources.http_at_once)),
            charge: None,
            log: Arc::new(RequestLog::new(call.output.clone())),
            call,
        };
        Self {
            ctx: WasiHttpCtx::new(),
            requests,
            kept: Vec::new(),
        }
    }

    /// The view that wasmtime-wasi-http needs, with the guest's table of resources.
    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView {
            ctx: &mut self.ctx,
            hooks: &mut self.requests,
            table,
        }
    }

    /// The next request holds this charge until it ends.
    pub(crate) fn charge_next(&mut self, charge: Charge) {
        self.requests.charge = Some(charge);
    }

    /// Holds this charge until the call ends.
    pub(crate) fn keep(&mut self, charge: Charge) {
        self.kept.push(charge);
    }
}

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: IoDone,
    ) -> Sending {
        self.made += 1;
        let charge = self.charge.take();
        let prepared = self.prepare(request, options.unwrap_or_default());
        Box::new(async move {
            let (exchange, request) = prepared?;
            let response = exchange.send(request, charge).await?;
            // The rest of the connection belongs to the response's body.
            Ok((response, Box::new(std::future::ready(Ok(()))) as IoDone))
        })
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_LEN
    }
}

impl Requests {
    /// Checks a request and prepares it for sending.
    fn prepare(
        &self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<(send::Exchange, Request<WasiBody>), Error> {
        let Self { call, log, .. } = self;
        let Call { resources, rules, .. } = call;
        let plugin = &rules.plugin;
        if let Err(exceeded) = log.output.count_request() {
            return Err(internal(format!(
                "plugin `{plugin}` may make no more requests in this call: {exceeded} (http_requests)"
            )));
        }
        let target = RequestTarget::new(request.method(), request.uri()).map_err(|problem| {
            log.refuse(format!(
                "a request of plugin `{plugin}` cannot be made: {problem}"
            ))
        })?;
        rules
            .grants
            .covers(&target)
            .map_err(|missing| log.refuse(not_granted(rules, &target, &missing)))?;
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            let (shown, limit) = (shown(&target), resources.http_at_once);
            return Err(log.refuse(format!(
                "plugin `{plugin}` requested {shown} while {limit} requests of this call were active, which is the \
                 limit (http_at_once)"
            )));
        };
        let headers = request.headers_mut();
        headers.insert(HOST, target.origin.header());
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let (Some(key), false) = (&call.key, headers.contains_key(KEY_HEADER)) {
            let key = nth(key, self.made);
            let key = HeaderValue::try_from(key).map_err(|error| internal(error.to_string()))?;
            headers.insert(KEY_HEADER, key);
        }
        if rules.grants.is_limited(&target) {
            for name in overrides::remove(headers) {
                let shown = shown(&target);
                let reason = format!(
                    "the header `{name}` of {shown} was removed: with it, a server may treat the request as one \
                     that plugin `{plugin}` was not granted"
                );
                log.output.log_host_line(Level::Warn, &reason);
            }
        }
        let sent = put_secrets(rules, &target, headers).map_err(|problem| log.refuse(problem))?;
        // A server may send back a secret that it received earlier.
        let secrets = rules.grants.secrets_of(&target.origin);
        if !secrets.is_empty() {
            // Secrets cannot be found in a compressed response.
            headers.remove(ACCEPT_ENCODING);
        }
        for secret in &sent {
            let (name, origin) = (&secret.name, &target.origin);
            log.output
                .log_host_line(Level::Info, &format!("the secret `{name}` is sent to {origin}"));
        }
        let entry = log.begin(self.made, shown(&target));
        let exchange = send::Exchange {
            resources: resources.clone(),
            rules: rules.clone(),
            limits: call.limits.clone(),
            target,
            options,
            permit,
            entry,
            secrets,
        };
        Ok((exchange, request))
    }
}

/// Why a request is not granted, and how to grant it.
fn not_granted(rules: &Rules, target: &RequestTarget, missing: &NotGranted) -> String {
    let (plugin, shown) = (&rules.plugin, shown(target));
    match missing {
        NotGranted::InPolicy => {
            let to_add = target.to_add(plugin, &rules.grants.http);
            format!("plugin `{plugin}` was not granted the request {shown}. {to_add}")
        }
        NotGranted::InNode => format!(
            "the node's `grants` leave out the request {shown}, which plugin `{plugin}` is granted. To allow it, add \
             to the node: grants: {{http: [{}]}}",
            target.narrowest()
        ),
    }
}

/// Replaces references to secrets in the headers, and returns the secrets.
///
/// # Errors
/// Why a secret was not inserted.
fn put_secrets(
    rules: &Rules,
    target: &RequestTarget,
    headers: &mut HeaderMap,
) -> Result<Vec<Secret>, String> {
    let mut used: Vec<Secret> = Vec::new();
    for (name, value) in headers.iter_mut() {
        if !refers_to_secret(value.as_bytes()) {
            continue;
        }
        let failed = |problem: String| {
            format!(
                "the request {} cannot be made: its header `{name}`: {problem}",
                shown(target)
            )
        };
        let text = value.to_str().map_err(|error| failed(error.to_string()))?;
        let put = insert_secrets(text, |name| {
            let secret = secret(rules, target, name)?;
            if !used.iter().any(|known| known.name == secret.name) {
                used.push(secret.clone());
            }
            Ok(secret)
        });
        *value = put.map_err(failed)?;
    }
    Ok(used)
}

/// The secret with this name, if the request may carry it.
fn secret<'r>(rules: &'r Rules, target: &RequestTarget, name: &str) -> Result<&'r Secret, String> {
    let (plugin, origin) = (&rules.plugin, &target.origin);
    let secret = rules.grants.secret(name).map_err(|missing| match missing {
        NotGranted::InPolicy => format!(
            "plugin `{plugin}` was not granted the secret `{name}`. To allow it, add to the policy: {}",
            secret_policy_entry(plugin, name, origin)
        ),
        NotGranted::InNode => format!(
            "the node's `grants` leave out the secret `{name}`, which plugin `{plugin}` is granted. To allow it, add \
             to the node: grants: {{secrets: [\"{name}\"]}}"
        ),
    })?;
    match secret.may_go_to(origin) {
        true => Ok(secret),
        false => Err(format!(
            "the secret `{name}` of plugin `{plugin}` may not go to {origin}. To allow it, add \"{origin}\" to \
             the `hosts` of the secret `{name}` of plugin `{plugin}` in the policy"
        )),
    }
}

/// The idempotency key of a call's n-th request. Keys of nested calls contain `/` and a number, so the two never
/// collide.
fn nth(key: &str, n: u64) -> String {
    match n {
        1 => key.to_owned(),
        n => format!("{key}:{n}"),
    }
}

/// A request as log lines show it: without its query and headers, which may have secrets.
fn shown(target: &RequestTarget) -> String {
    let text = target.to_string();
    match clip(&text, SHOWN_LEN) {
        cut if cut.len() < text.len() => format!("{cut}…"),
        _ => text,
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.log.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_of_one_call_have_keys_of_their_own() {
        let keys: Vec<_> = (1..=3).map(|n| nth("run-7", n)).collect();
        assert_eq!(keys, ["run-7", "run-7:2", "run-7:3"]);
    }
}
