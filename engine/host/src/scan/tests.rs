use std::path::Path;

use super::*;

/// The message for a component in text form.
fn refusal(text: &str) -> String {
    let component = wat::parse_str(text).unwrap();
    check(&component).expect_err("it is refused").to_string()
}

/// The message for a module with these parts.
fn refusal_of_module(parts: &str) -> String {
    refusal(&format!("(component (core module {parts}))"))
}

/// The message for a function with these parts.
fn refusal_of_function(parts: &str) -> String {
    refusal_of_module(&format!("(memory 1) (func $bomb (param i32) {parts})"))
}

fn is_of(refusal: &str, limit: &Limit) {
    let expected = format!("more than the limit of {} ({})", limit.most, limit.name);
    assert!(
        refusal.contains(&expected),
        "`{refusal}` does not say: {expected}"
    );
}

#[test]
fn the_limits_are_in_the_documentation() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/limits.md");
    let page = std::fs::read_to_string(page).unwrap();
    for Limit { name, most, .. } in limits::ALL {
        let row = format!("| `{name}` | {most} |");
        assert!(
            page.contains(&row),
            "docs/limits.md has no row that begins with {row}"
        );
    }
}

#[test]
fn the_nested_loops_around_many_locals_are_refused_at_once() {
    let locals = "i32 ".repeat(20_000);
    let uses: String = (1..=20_000)
        .map(|local| format!("(local.set {local} (local.get 0))"))
        .collect();
    let loops = format!("{}{uses}{}", "(loop ".repeat(50), ")".repeat(50));
    let refused = refusal_of_function(&format!("(local {locals}) {loops}"));
    is_of(&refused, &limits::FUNCTION_LOCALS);
    assert!(
        refused.starts_with("function 0 (\"bomb\") of core module 0 has 20001 locals"),
        "{refused}"
    );
    // As many as allowed, and too many loops for them.
    let locals = "i32 ".repeat(9_000);
    let loops = format!("{}{}", "(loop ".repeat(20), ")".repeat(20));
    is_of(
        &refusal_of_function(&format!("(local {locals}) {loops}")),
        &limits::FUNCTION_LOOPS,
    );
}

#[test]
fn a_function_has_limits() {
    let nested = |what: &str, times| format!("{}{}", what.repeat(times), ")".repeat(times));
    is_of(
        &refusal_of_function(&nested("(loop ", 101)),
        &limits::LOOP_NESTING,
    );
    is_of(
        &refusal_of_function(&nested("(block ", 5_000)),
        &limits::FUNCTION_NESTING,
    );
    is_of(
        &refusal_of_function(&"nop ".repeat(1 << 20)),
        &limits::FUNCTION_BYTES,
    );
    let branches = "(block (br_table 0 0 0 0 0 0 0 0 0 0 0 (local.get 0)))".repeat(8_400);
    is_of(&refusal_of_function(&branches), &limits::FUNCTION_BRANCHES);
    let stack = format!("{}{}", "(local.get 0) ".repeat(10_001), "drop ".repeat(10_001));
    is_of(&refusal_of_function(&stack), &limits::FUNCTION_STACK);
    let ifs = "(if (local.get 0) (then) (else))".repeat(6_000);
    let live = format!("(local {}) {ifs}", "i32 ".repeat(1_000));
    is_of(&refusal_of_function(&live), &limits::FUNCTION_LIVE);
}

#[test]
fn values_on_the_stack_are_live_in_every_block_as_locals_are() {
    let push = "(i32.load (i32.const 0)) ".repeat(2_000);
    let ifs = "(if (local.get 0) (then) (else))".repeat(2_600);
    let stack = format!("{push}{ifs}{}", "drop ".repeat(2_000));
    is_of(&refusal_of_function(&stack), &limits::FUNCTION_LIVE);
}

#[test]
fn instructions_count_by_the_values_that_they_take_and_give() {
    let many = "i32 ".repeat(200);
    let called = format!("(func $called (result {many}) unreachable)");
    // Also in unreachable code, which a validator reads.
    for before in ["", "unreachable "] {
        let calls = format!("{before}{}", "call $called ".repeat(50));
        let block = format!("(block {calls} unreachable)").repeat(160);
        let refused = refusal_of_module(&format!("{called} (func {block})"));
        is_of(&refused, &limits::FUNCTION_VALUES);
    }
    let targets = "0 ".repeat(10_000);
    let table = format!("(block (result {many}) unreachable (br_table {targets} (i32.const 0)))");
    let refused = refusal_of_module(&format!("(func {} unreachable)", table));
    is_of(&refused, &limits::FUNCTION_VALUES);
    let wide = "i32 ".repeat(251);
    is_of(
        &refusal_of_module(&format!("(func (param {wide}) unreachable)")),
        &limits::FUNCTION_ARITY,
    );
}

#[test]
fn all_functions_together_have_a_limit() {
    let ifs = "(if (local.get 0) (then) (else))".repeat(2_000);
    let function = format!("(func (param i32) (local {}) {ifs})", "i32 ".repeat(2_000));
    is_of(&refusal_of_module(&function.repeat(26)), &limits::CODE_LIVE);
}

#[test]
fn the_parts_of_a_component_have_limits() {
    let of = |text: &str, times: usize| format!("(component {})", text.repeat(times));
    let in_module = |text: &str, times: usize| format!("(component (core module {}))", text.repeat(times));
    let nested = format!("{}{}", "(component ".repeat(17), ")".repeat(17));
    for (text, limit) in [
        (of("(core module)", 501), &limits::CORE_MODULES),
        (of("(component)", 501), &limits::COMPONENTS),
        (nested, &limits::COMPONENT_NESTING),
        (of("(type u8)", 50_001), &limits::TYPES),
        (in_module("(type (func)) ", 50_001), &limits::TYPES),
        (
            format!(
                "(component (core module (rec {})))",
                "(type (func)) ".repeat(50_001)
            ),
            &limits::TYPES,
        ),
        (in_module("(import \"\" \"\" (func))", 50_001), &limits::IMPORTS),
        (in_module("(global i32 (i32.const 0))", 50_001), &limits::GLOBALS),
        (in_module("(elem func)", 20_001), &limits::ELEMENT_SEGMENTS),
        (in_module("(data \"\")", 50_001), &limits::DATA_SEGMENTS),
        (
            format!(
                "(component (core module (type $t (func)) {}))",
                "(func (type $t))".repeat(200_001)
            ),
            &limits::FUNCTIONS,
        ),
    ] {
        is_of(&refusal(&text), limit);
    }
    let exports: String = (0..50_001)
        .map(|n| format!("(export \"{n}\" (func 0))"))
        .collect();
    is_of(&refusal_of_module(&format!("(func) {exports}")), &limits::EXPORTS);
    let lowered = "(core func (canon lower (func $f)))".repeat(20_001);
    let refused = refusal(&format!("(component (import \"f\" (func $f)) {lowered})"));
    is_of(&refused, &limits::CANONICAL_FUNCTIONS);
}

#[test]
fn instances_memories_and_tables_are_counted_as_often_as_they_are_instantiated() {
    let many = |module: &str, times: usize| {
        let instances = "(core instance (instantiate $m))".repeat(times);
        format!("(component (core module $m {module}) {instances})")
    };
    for (text, limit) in [
        (many("", 129), &limits::CORE_INSTANCES),
        (many("(memory 0)", 9), &limits::MEMORIES),
        (many("(memory 65536)", 2), &limits::MEMORY_BYTES),
        (many("(table 0 funcref)", 33), &limits::TABLES),
        (many("(table 60000 funcref)", 5), &limits::TABLE_ELEMENTS),
    ] {
        is_of(&refusal(&text), limit);
    }
    check(&wat::parse_str(many("(memory 1) (table 1 funcref)", 8)).unwrap()).unwrap();
}

#[test]
fn components_that_instantiate_one_another_are_multiplied() {
    // Each of ten levels instantiates the next one twice: more than a thousand instances in 500 bytes.
    let mut text = "(core module $m) (core instance (instantiate $m))".to_owned();
    for _ in 0..10 {
        text = format!("(component $c {text}) (instance (instantiate $c)) (instance (instantiate $c))");
    }
    let refused = refusal(&format!("(component {text})"));
    is_of(&refused, &limits::CORE_INSTANCES);
    // By an alias from an outer component, and by the index of an export.
    let outer = "(component (component $a (core module $m) (core instance (instantiate $m)) (core instance (instantiate $m)))
        (component $b (alias outer 1 $a (component $c)) (export $d \"d\" (component $c)) TIMES) (instance (instantiate $b)))";
    let times = "(instance (instantiate $d))".repeat(65);
    is_of(&refusal(&outer.replace("TIMES", &times)), &limits::CORE_INSTANCES);
    let empty = "(instance (instantiate $c))".repeat(501);
    is_of(
        &refusal(&format!("(component (component $c) {empty})")),
        &limits::COMPONENT_INSTANCES,
    );
}

#[test]
fn invalid_wasm_is_refused() {
    let mut component =
        wat::parse_str("(component (core module (func (result i32) (i32.const 1))))").unwrap();
    let at = component
        .windows(2)
        .rposition(|bytes| bytes == [0x41, 1])
        .unwrap();
    component[at] = 0x42;
    let refused = check(&component).unwrap_err().to_string();
    assert!(refused.contains("type mismatch"), "{refused}");
}

/// Every component in this repository uses at most half of each limit.
#[test]
fn the_repositorys_components_pass_with_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = [
        "engine/host/tests/guests/0.1.0",
        "engine/host/tests/guests/elsewhere",
        "target/plugins",
        "target/plugins/fixtures",
        "target/plugins/languages",
    ];
    let mut checked = 0;
    for folder in folders {
        // The folder is absent if nothing was built.
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
            continue;
        };
        for file in entries.map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "wasm") {
                has_room(&file);
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
}

fn has_room(file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    let scan = Scan::of(&bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let Scan { largest, totals, .. } = &scan;
    let size = &totals.size;
    for (value, limit) in [
        (largest.bytes, &limits::FUNCTION_BYTES),
        (largest.locals, &limits::FUNCTION_LOCALS),
        (largest.nesting, &limits::FUNCTION_NESTING),
        (largest.loop_nesting, &limits::LOOP_NESTING),
        (scan.largest_in_loops, &limits::FUNCTION_LOOPS),
        (largest.branches, &limits::FUNCTION_BRANCHES),
        (largest.stack, &limits::FUNCTION_STACK),
        (largest.values, &limits::FUNCTION_VALUES),
        (scan.largest_live, &limits::FUNCTION_LIVE),
        (totals.arity, &limits::FUNCTION_ARITY),
        (totals.live, &limits::CODE_LIVE),
        (totals.functions, &limits::FUNCTIONS),
        (totals.nesting, &limits::COMPONENT_NESTING),
        (totals.modules, &limits::CORE_MODULES),
        (totals.components, &limits::COMPONENTS),
        (totals.types, &limits::TYPES),
        (totals.instantiated_types, &limits::INSTANTIATED_TYPES),
        (size.lowered_types, &limits::LOWERED_TYPES),
        (totals.canonical, &limits::CANONICAL_FUNCTIONS),
        (totals.imports, &limits::IMPORTS),
        (totals.exports, &limits::EXPORTS),
        (totals.globals, &limits::GLOBALS),
        (totals.elements, &limits::ELEMENT_SEGMENTS),
        (totals.data, &limits::DATA_SEGMENTS),
        (size.core_instances, &limits::CORE_INSTANCES),
        (size.component_instances, &limits::COMPONENT_INSTANCES),
        (size.memories, &limits::MEMORIES),
        (size.memory_bytes, &limits::MEMORY_BYTES),
        (size.tables, &limits::TABLES),
        (size.table_elements, &limits::TABLE_ELEMENTS),
    ] {
        let (name, most) = (limit.name, limit.most);
        assert!(
            value <= most / 2,
            "{} has {value} of {most} ({name}): the limit has too little room",
            file.display()
        );
    }
}

/// Types of which each one has two of the one before it: the last one has a size of about 2 to the power of `count`.
fn doubling(count: usize) -> String {
    let types = (1..=count).map(|n| format!("(type $t{n} (tuple $t{} $t{}))", n - 1, n - 1));
    format!("(type $t0 string) {}", types.collect::<String>())
}

/// The definitions of a memory and an allocator, for functions that pass values.
const ALLOCATES: &str = r#"(core module $M (memory (export "memory") 1) (func (export "f") (param i32))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)) (core instance $m (instantiate $M))
    (alias core export $m "memory" (core memory $memory)) (alias core export $m "realloc" (core func $realloc))
    (alias core export $m "f" (core func $f))"#;

#[test]
fn the_types_of_functions_that_components_call_have_a_limit() {
    let caller = |count| {
        format!(
            r#"(component {} (import "f" (func $callee (param "x" $t{count}))) {ALLOCATES}
            (core func (canon lower (func $callee) (memory $memory) (realloc $realloc))))"#,
            doubling(count)
        )
    };
    is_of(&refusal(&caller(17)), &limits::LOWERED_TYPES);
    check(&wat::parse_str(caller(12)).unwrap()).unwrap();
    // An inner component counts as often as it is instantiated.
    let repeated = |count| {
        let instance = r#"(instance (instantiate $C (with "f" (func $callee))))"#.repeat(7);
        let inner = caller(count).replacen("(component", "(component $C", 1);
        format!(
            r#"(component {} (import "f" (func $callee (param "x" $t{count}))) {inner} {instance})"#,
            doubling(count)
        )
    };
    is_of(&refusal(&repeated(13)), &limits::LOWERED_TYPES);
    check(&wat::parse_str(repeated(12)).unwrap()).unwrap();
}

#[test]
fn the_types_of_instantiated_components_have_a_limit() {
    let many = |times| {
        let instance = r#"(instance (instantiate $C (with "f" (func $callee))))"#.repeat(times);
        let types = doubling(13);
        format!(
            r#"(component {types} (import "f" (func $callee (param "x" $t13)))
            (component $C {types} (import "f" (func (param "x" $t13)))) {instance})"#
        )
    };
    is_of(&refusal(&many(490)), &limits::INSTANTIATED_TYPES);
    check(&wat::parse_str(many(10)).unwrap()).unwrap();
}
