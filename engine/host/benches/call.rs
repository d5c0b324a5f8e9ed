//! The cost of one call: a fresh instance, about 1 kB of state in, one key out. The functions of `typed`, a plain
//! component, get their parameters among other keys of the state.
//!
//! Run `cargo xtask plugins` first, then `cargo bench -p heddle-host`.

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use heddle_host::{CacheKey, CacheSettings, Host, HostSettings};
use heddle_json::{Json, Object, object};
use heddle_kernel::{Level, RunId, Timestamp};
use heddle_runtime::ports::{AlreadyDurable, Call, Functions, NewPlugin, Sink};
use tokio::runtime::Runtime;
use uuid::Uuid;

struct DiscardSink;

impl Sink for DiscardSink {
    fn log(&self, _: Level, _: &str) {}
    fn emit(&self, _: Json) {}
}

fn call(host: &Host, uses: &str, state: &Object, config: &str) -> Call {
    Call {
        function: host.resolve(uses).expect("the plugin has it").function,
        input: state.clone(),
        mapped: false,
        config: object::json(config).expect("it is JSON"),
        run: RunId(Uuid::from_u128(7)),
        node: "touch".into(),
        step: 3,
        attempt: 1,
        timeout: None,
        bounds: None,
        started_at: Timestamp(1_700_000_000_000),
        durable: Arc::new(AlreadyDurable),
        sink: Arc::new(DiscardSink),
    }
}

/// A state of about 1 kB.
fn state() -> Object {
    let mut state = Object::default();
    for key in 0..10 {
        state.insert(format!("key{key}"), object::to_json(&"x".repeat(90)));
    }
    state.insert("name", object::to_json(&"you"));
    // Ten records of eight integers: about 1 kB out.
    state.insert("len", object::to_json(&10));
    state
}

fn calls(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let host = runtime.block_on(started());
    let state = state();
    let mut group = criterion.benchmark_group("call");
    for (uses, config) in [
        ("bench/touch", r#"{"key":"k"}"#),
        ("bench/count", r#"{"until":9}"#),
        ("typed/greet", "null"),
        ("typed/shapes.records", "null"),
    ] {
        group.bench_function(uses, |bencher| {
            bencher.iter_custom(|times| {
                let calls: Vec<_> = (0..times).map(|_| call(&host, uses, &state, config)).collect();
                let host = host.clone();
                // On a worker thread, as the engine makes its calls.
                let timed = runtime.spawn(async move {
                    let began = Instant::now();
                    for call in calls {
                        black_box(host.call(call).await.expect("it answers"));
                    }
                    began.elapsed()
                });
                runtime.block_on(timed).expect("it does not panic")
            });
        });
    }
    group.finish();
    languages(criterion, &runtime, &host);
    registrations(criterion, &runtime);
    beside_endless_loops(criterion, &runtime, &host, &state);
}

/// A call that does almost nothing in each language: it reads one key of the state, sets one, and names a node.
fn languages(criterion: &mut Criterion, runtime: &Runtime, host: &Host) {
    let mut state = state();
    state.insert("to".to_owned(), object::to_json(&"left"));
    let mut group = criterion.benchmark_group("language");
    for uses in [
        "probe-c/route_c",
        "probe-js/route_js",
        "probe-python/route_python",
    ] {
        group.bench_function(uses, |bencher| {
            bencher.iter(|| {
                let (host, call) = (host.clone(), call(host, uses, &state, "null"));
                runtime
                    .block_on(runtime.spawn(async move { host.call(call).await }))
                    .expect("it does not panic")
                    .expect("it answers")
            });
        });
    }
    group.finish();
}

/// The registration of a component that was compiled before, by a host that does not know it yet.
fn registrations(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("registration from the cache");
    group.sample_size(20);
    for name in [
        "starter",
        "languages/histogram",
        "languages/report",
        "languages/measure",
    ] {
        let component: Arc<[u8]> = component(name).into();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let mut taken = Duration::ZERO;
                for _ in 0..times {
                    let host = new_host();
                    let plugin = NewPlugin::of(component.clone());
                    let began = Instant::now();
                    black_box(runtime.block_on(host.register(plugin)).expect("it is a plugin"));
                    taken += began.elapsed();
                }
                taken
            });
        });
    }
    group.finish();
}

/// The same call while four others compute in endless loops: each of them yields at every epoch.
fn beside_endless_loops(criterion: &mut Criterion, runtime: &Runtime, host: &Host, state: &Object) {
    let spinning: Vec<_> = (0..4)
        .map(|_| {
            let (host, call) = (host.clone(), call(host, "hostile/spin", state, "null"));
            runtime.spawn(async move { host.call(call).await })
        })
        .collect();
    let mut group = criterion.benchmark_group("beside four endless loops");
    group.sample_size(10);
    group.bench_function("bench/touch", |bencher| {
        bencher.iter(|| {
            let (host, call) = (host.clone(), call(host, "bench/touch", state, r#"{"key":"k"}"#));
            runtime
                .block_on(runtime.spawn(async move { host.call(call).await }))
                .expect("it does not panic")
        });
    });
    group.finish();
    for spinning in spinning {
        assert!(!spinning.is_finished(), "it has no end");
        spinning.abort();
    }
}

async fn started() -> Host {
    let host = new_host();
    for name in [
        "bench",
        "fixtures/hostile",
        "fixtures/typed",
        "languages/probe-c",
        "languages/probe-js",
        "languages/probe-python",
    ] {
        let plugin = NewPlugin {
            fallback_name: name.rsplit('/').next().map(str::to_owned),
            ..NewPlugin::of(component(name).into())
        };
        host.register(plugin).await.expect("it is a plugin");
    }
    host
}

fn new_host() -> Host {
    Host::new(HostSettings {
        cache: Some(CacheSettings::new(
            target().join("tmp/compiled"),
            CacheKey::from_text(&"5a".repeat(32)).expect("a key"),
        )),
        call_timeout: Duration::from_secs(600),
        ..HostSettings::default()
    })
    .expect("the host starts")
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

fn component(name: &str) -> Vec<u8> {
    let path = target().join(format!("plugins/{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask plugins`", path.display()))
}

criterion_group!(benches, calls);
criterion_main!(benches);
