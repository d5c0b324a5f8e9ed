//! A plugin's functions as the engine sees them: described, called from JSON, and failing in words.

use std::collections::BTreeMap;

use heddle_plugin::{Kind, prelude::*, testing};

#[derive(Deserialize, JsonSchema)]
struct Order {
    items: Vec<Item>,
    #[serde(default)]
    rounds: u32,
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code)]
struct Item {
    name: String,
    price: f64,
}

#[derive(Serialize, JsonSchema)]
struct Total {
    total: f64,
}

#[derive(Deserialize, Default, JsonSchema)]
struct Rules {
    #[serde(default)]
    limit: u32,
}

/// Adds up the prices
/// of `items`.
///
/// This paragraph is not the summary.
#[node(routes("again-please", "end"), idempotent)]
fn price(state: Order, call: Call<Rules>) -> Result<Outcome<Total>> {
    let total = state.items.iter().map(|item| item.price).sum();
    let outcome = Outcome::of(Total { total });
    Ok(match state.rounds {
        rounds if rounds < call.config.limit => outcome.again(),
        7 => outcome.goto_all(["again-please", "end"]),
        8 => outcome.end(),
        _ => outcome,
    })
}

#[node]
fn list() -> Vec<u8> {
    vec![1, 2]
}

#[node]
fn nothing(_: Json, call: Call) {
    assert_eq!(call.attempt, 1);
}

#[node]
fn unwritable() -> BTreeMap<(u8, u8), u8> {
    BTreeMap::from([((1, 2), 3)])
}

#[derive(Debug)]
struct Busy;

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("busy")
    }
}

impl std::error::Error for Busy {}

#[tool(name = "half-of", read_only)]
fn half(input: u32) -> Result<u32, Busy> {
    if input % 2 == 0 { Ok(input / 2) } else { Err(Busy) }
}

#[tool]
fn quarter(input: u32) -> Result<u32> {
    let half: u32 = call_tool("heddle-plugin/half-of", &input)?;
    call_tool("half-of", &half).context("the second half").retryable()
}

#[tool]
fn misled() -> Result<String> {
    call_tool("half-of", &4)
}

#[tool]
fn lost() -> Result<String> {
    call_tool("nowhere/half-of", &4)
}

fn failure(result: Result<impl std::fmt::Debug>) -> (Kind, String) {
    let error = result.expect_err("the call fails");
    (error.kind, error.message)
}

#[test]
fn an_update_follows_the_edges_and_an_outcome_goes_where_it_says() {
    let run = |rounds: u32, limit: u32| {
        let state = json!({ "items": [{ "name": "a", "price": 1.5 }, { "name": "b", "price": 2 }], "rounds": rounds, "x": 0 });
        testing::run("price", state, json!({ "limit": limit })).unwrap()
    };
    let update = json!({ "total": 3.5 });
    assert_eq!(run(2, 1), Outcome::of(update.clone()));
    assert_eq!(run(0, 1), Outcome::of(update.clone()).again());
    assert_eq!(
        run(7, 1),
        Outcome::of(update.clone()).goto_all(["again-please", "end"])
    );
    assert_eq!(run(8, 1), Outcome::of(update).end());
}

#[test]
fn a_state_that_does_not_fit_is_refused_with_its_path() {
    let state = json!({ "items": [{ "name": "a", "price": 1.5 }, { "name": "b", "price": "2" }] });
    let error = testing::run("price", state, Value::Null).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert_eq!(
        error.message,
        "`price` does not take this state: at `items[1].price`: invalid type: string \"2\", expected f64"
    );
    assert_eq!(error.data, Some(json!({ "path": "items[1].price" })));

    let error = failure(testing::run("price", json!({}), Value::Null));
    assert_eq!(
        error,
        (
            Kind::InvalidInput,
            "`price` does not take this state: missing field `items`".to_owned()
        )
    );
}

#[test]
fn a_config_is_read_and_its_absence_means_the_defaults() {
    let state = json!({ "items": [] });
    assert_eq!(
        testing::run("price", state.clone(), Value::Null).unwrap(),
        Outcome::of(json!({ "total": 0.0 }))
    );
    assert_eq!(
        failure(testing::run("price", state, json!({ "limit": -1 }))),
        (
            Kind::InvalidInput,
            "`price` does not take this config: at `limit`: invalid value: integer `-1`, expected u32"
                .to_owned()
        )
    );
}

#[test]
fn an_update_that_is_not_an_object_is_an_error_and_unit_changes_nothing() {
    assert_eq!(
        failure(testing::run("list", json!({}), Value::Null)),
        (
            Kind::Permanent,
            "`list` must return a JSON object with the keys of the state that change, and returned [1,2]"
                .to_owned()
        )
    );
    assert_eq!(
        testing::run("nothing", json!({}), json!("ignored")).unwrap(),
        Outcome::of(json!({}))
    );
    assert_eq!(
        failure(testing::run("unwritable", json!({}), Value::Null)),
        (
            Kind::Permanent,
            "the update of `unwritable` cannot be JSON: key must be a string".to_owned()
        )
    );
}

#[test]
fn tools_call_tools_and_errors_keep_their_kind() {
    assert_eq!(testing::call("quarter", json!(12)).unwrap(), json!(3));
    assert_eq!(
        failure(testing::call("quarter", json!(5))),
        (Kind::Permanent, "busy".to_owned())
    );
    assert_eq!(
        failure(testing::call("quarter", json!(6))),
        (Kind::Retryable, "the second half: busy".to_owned())
    );
    assert_eq!(
        failure(testing::call("misled", Value::Null)).1,
        "the result of `half-of` is not what was expected: invalid type: integer `2`, expected a string"
    );
    assert!(
        failure(testing::call("lost", Value::Null))
            .1
            .starts_with("there is no tool `nowhere/half-of` here")
    );
}

#[test]
fn an_unknown_function_is_an_error_that_lists_the_known() {
    assert_eq!(
        failure(testing::run("prize", json!({}), Value::Null)).1,
        "this plugin has no node function `prize`; it has `list`, `nothing`, `price`, `unwritable`"
    );
    assert!(
        failure(testing::call("price", json!({})))
            .1
            .contains("no tool `price`; it has `half-of`")
    );
}

#[test]
fn a_description_comes_from_the_source() {
    let functions = testing::describe();
    let of = |name: &str| {
        functions
            .iter()
            .find(|function| function["name"] == name)
            .unwrap()
    };

    let price = of("price");
    assert_eq!(price["kind"], "node");
    assert_eq!(price["summary"], "Adds up the prices of `items`.");
    assert_eq!(price["routes"], json!(["again-please", "end"]));
    assert_eq!(price["hints"], json!({ "read_only": false, "idempotent": true }));
    assert_eq!(price["input"]["required"], json!(["items"]));
    assert_eq!(price["output"]["properties"]["total"]["type"], "number");
    assert_eq!(price["config"]["properties"]["limit"]["type"], "integer");

    let half = of("half-of");
    assert_eq!((&half["kind"], &half["config"]), (&json!("tool"), &Value::Null));
    assert_eq!(half["hints"], json!({ "read_only": true, "idempotent": false }));
    assert_eq!(half["input"]["minimum"], 0);

    let nothing = of("nothing");
    assert_eq!(
        (&nothing["input"], &nothing["output"]),
        (&json!({}), &json!({ "type": "object" }))
    );
}
