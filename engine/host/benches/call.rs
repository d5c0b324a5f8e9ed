//! What one call costs: a fresh instance, about 1 kB of state in, one key out.
//!
//! `cargo xtask plugins` first, then `cargo bench -p heddle-host`.

use std::{hint::black_box, path::Path, sync::Arc, time::Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use heddle_host::{Host, HostSettings};
use heddle_kernel::{Json, Level, Object, RunId, Timestamp, object};
use heddle_runtime::ports::{Call, Functions, NewPlugin, Sink};
use tokio::runtime::Runtime;
use uuid::Uuid;

struct Nobody;

impl Sink for Nobody {
    fn log(&self, _: Level, _: &str) {}
    fn emit(&self, _: Json) {}
}

fn call(host: &Host, uses: &str, state: &Object, config: &str) -> Call {
    Call {
        function: host.resolve(uses).expect("the plugin has it").function,
        state: state.clone(),
        config: object::json(config).expect("it is JSON"),
        run: RunId(Uuid::from_u128(7)),
        node: "touch".into(),
        step: 3,
        attempt: 1,
        started_at: Timestamp(1_700_000_000_000),
        sink: Arc::new(Nobody),
    }
}

/// A state of about 1 kB.
fn state() -> Object {
    let mut state = Object::default();
    for key in 0..10 {
        state.insert(format!("key{key}"), object::to_json(&"x".repeat(90)));
    }
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
    ] {
        group.bench_function(uses, |bencher| {
            bencher.iter_custom(|times| {
                let calls: Vec<_> = (0..times).map(|_| call(&host, uses, &state, config)).collect();
                let host = host.clone();
                // On a worker, as the engine makes its calls.
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
}

async fn started() -> Host {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let cache_dir = Some(target.join("tmp/compiled"));
    let host = Host::new(HostSettings {
        cache_dir,
        ..HostSettings::default()
    })
    .expect("the host starts");
    let path = target.join("plugins/bench.wasm");
    let component = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask plugins`", path.display()));
    let plugin = NewPlugin {
        component: component.into(),
        name: None,
        fallback_name: None,
        hidden: false,
    };
    host.register(plugin).await.expect("bench is a plugin");
    host
}

criterion_group!(benches, calls);
criterion_main!(benches);
