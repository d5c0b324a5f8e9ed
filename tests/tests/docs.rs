//! Runs every page of the repository as its reader would. `heddle_tests::docs` has the rules.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::docs;

/// The templates of `heddle plugin new`. `tests/tests/projects.rs` runs them in projects.
const TEMPLATES: &str = "engine/cli/templates/";

macro_rules! pages {
    ($($test:ident: $path:literal,)*) => {
        /// The pages with code blocks.
        const PAGES: &[&str] = &[$($path),*];

        $(
            #[test]
            fn $test() {
                docs::run($path);
            }
        )*
    };
}

pages! {
    contributing_runs: "CONTRIBUTING.md",
    the_readme_runs: "README.md",
    architecture_runs: "docs/architecture.md",
    durability_runs: "docs/durability.md",
    graphs_runs: "docs/graphs.md",
    joins_runs: "docs/joins.md",
    limits_runs: "docs/limits.md",
    operations_runs: "docs/operations.md",
    permissions_runs: "docs/permissions.md",
    plain_components_runs: "docs/plain-components.md",
    plugins_runs: "docs/plugins.md",
    runs_runs: "docs/runs.md",
    schedules_runs: "docs/schedules.md",
    security_runs: "docs/security.md",
    the_golden_files_page_runs: "engine/store/tests/golden/README.md",
    the_page_of_the_plugins_runs: "plugins/README.md",
    basics_runs: "plugins/basics/README.md",
    code_review_runs: "plugins/code-review/README.md",
    csv_runs: "plugins/csv/README.md",
    data_quality_runs: "plugins/data-quality/README.md",
    histogram_runs: "plugins/histogram/README.md",
    http_runs: "plugins/http/README.md",
    json_runs: "plugins/json/README.md",
    llm_runs: "plugins/llm/README.md",
    measure_runs: "plugins/measure/README.md",
    report_runs: "plugins/report/README.md",
    the_c_sdk_runs: "plugins/sdk-c/README.md",
    the_javascript_sdk_runs: "plugins/sdk-js/README.md",
    the_python_sdk_runs: "plugins/sdk-python/README.md",
    summarize_runs: "plugins/summarize/README.md",
    text_runs: "plugins/text/README.md",
    time_runs: "plugins/time/README.md",
}

#[test]
fn every_page_that_has_code_is_run() {
    let root = heddle_tests::repository();
    let has_code = |path: &String| {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        !docs::markdown::Markdown::read(&text).blocks.is_empty()
    };
    let pages: Vec<String> = docs::pages()
        .into_iter()
        .filter(|path| !path.starts_with(TEMPLATES) && has_code(path))
        .collect();
    assert_eq!(
        pages, PAGES,
        "the pages that have code, and those that `pages!` names"
    );
}

#[test]
fn every_command_and_route_that_a_text_names_exists() {
    let openapi = heddle_tests::Server::start().get("/openapi.json").ok();
    let known = docs::Known::find(&openapi);
    let pages = docs::pages();
    let mut wrong: Vec<String> = pages.iter().flat_map(|path| known.check_page(path)).collect();
    wrong.extend(known.check_help());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_test_that_a_page_names_exists() {
    let tests = docs::Tests::find();
    let pages = docs::pages();
    let wrong: Vec<String> = pages.iter().flat_map(|path| tests.check_page(path)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_link_to_a_file_or_a_heading_has_a_target() {
    let pages = docs::pages();
    let wrong: Vec<String> = pages.iter().flat_map(|path| docs::check_links(path)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The first consecutive lines of a file that start with a mark, without the mark.
fn marked(path: &str, mark: &str) -> String {
    let text = std::fs::read_to_string(heddle_tests::repository().join(path)).unwrap();
    let is_code = |line: &&str| line.starts_with(mark) || line.trim_end() == mark.trim_end();
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with(mark))
        .take_while(is_code);
    let code: Vec<&str> = lines
        .map(|line| line.strip_prefix(mark).unwrap_or_default())
        .collect();
    assert!(!code.is_empty(), "{path} has no example");
    code.join("\n")
        .replace("\\\"", if mark.trim().is_empty() { "\"" } else { "\\\"" })
}

#[test]
fn the_examples_in_the_python_sdk_run() {
    let plugin = marked("plugins/sdk-python/heddle/__init__.py", "    ");
    let test = marked("plugins/sdk-python/heddle/testing.py", "    ");
    let page = format!(
        "```python file=app.py\n{plugin}\n```\n```python file=test.py\n{test}\n```\n```bash\npython3 test.py\n```\n"
    );
    docs::Page::open("plugins/sdk-python/heddle/__init__.py", &page).run();
}

#[test]
fn the_example_in_the_javascript_sdk_runs() {
    let plugin = marked("plugins/sdk-js/index.js", "//     ");
    let page = format!(
        "```js file=extract.js\n{plugin}\n```\n```js file=test.js\nimport \"./extract.js\";\n\
         import {{ run }} from \"heddle-plugin/testing\";\n\
         console.log(JSON.stringify(run(\"extract\", {{ input: \"warp and weft\" }}).update));\n```\n\
         ```bash\nnode test.js\n```\n```json output\n{{\"words\": [\"warp\", \"and\", \"weft\"]}}\n```\n"
    );
    docs::Page::open("plugins/sdk-js/index.js", &page).run();
}

#[test]
fn the_example_in_the_header_of_the_c_sdk_runs() {
    let plugin = marked("plugins/sdk-c/heddle.h", "//     ");
    let page = format!(
        "```bash\nheddle plugin new --lang c shout\n```\n```c file=shout/plugin.c\n{plugin}\n```\n\
         ```bash\ncd shout\npython3 sdk/c/build.py\nheddle plugin add build/shout.wasm\n```\n\
         ```http\nPOST /v1/tools/shout/shout/call\n\n{{\"text\": \"warp\"}}\n```\n\
         ```json output\n{{\"output\": \"WARP\", \"…\": \"…\"}}\n```\n"
    );
    docs::Page::open("plugins/sdk-c/heddle.h", &page).run();
}
