//! Both functions through JSON.

use heddle_plugin::{Kind, prelude::*, testing::call};

fn parse(input: Value) -> Result<Value> {
    call("parse", input)
}

fn error(input: Value) -> String {
    parse(input).unwrap_err().message
}

#[test]
fn rows_are_objects_with_texts_under_the_headers_names() {
    let text = "\u{feff}id, name \r\n007,\"Ada, \"\"the\"\"\nfirst\"\r\n,é\r\n";
    assert_eq!(
        parse(json!({ "text": text })).unwrap(),
        json!({"columns": ["id", "name"], "rows": [
            {"id": "007", "name": "Ada, \"the\"\nfirst"}, {"id": "", "name": "é"},
        ]})
    );
    assert_eq!(
        parse(json!({"text": ""})).unwrap(),
        json!({"columns": [], "rows": []})
    );
    assert_eq!(
        parse(json!({"text": "a,b"})).unwrap(),
        json!({"columns": ["a", "b"], "rows": []})
    );
}

#[test]
fn columns_delimiters_and_quotes_follow_the_config() {
    let input =
        json!({"text": "1;'a;b'\n2; c ", "delimiter": ";", "quote": "'", "header": false, "trim": true});
    assert_eq!(
        parse(input).unwrap()["rows"],
        json!([{"1": "1", "2": "a;b"}, {"1": "2", "2": "c"}])
    );
    let input = json!({"text": "x\ty\n1\t2", "delimiter": "\t", "columns": ["a", "b"]});
    assert_eq!(parse(input).unwrap()["rows"], json!([{"a": "1", "b": "2"}]));
    for wrong in ["", ",,", "é", "\n"] {
        let refused = parse(json!({"text": "", "delimiter": wrong})).unwrap_err();
        assert_eq!(refused.kind, Kind::InvalidInput, "{wrong:?}");
    }
}

#[test]
fn a_column_with_a_type_has_its_values() {
    let types = json!({"n": "integer", "x": "number", "b": "boolean"});
    let text = "n,x,b,t\n-3,1.50,yes,1\n18446744073709551615,1e3,0,\n, ,,x\n";
    assert_eq!(
        parse(json!({"text": text, "types": types})).unwrap()["rows"],
        json!([
            {"n": -3, "x": 1.5, "b": true, "t": "1"},
            {"n": 18_446_744_073_709_551_615_u64, "x": 1000.0, "b": false, "t": ""},
            {"n": null, "x": null, "b": null, "t": "x"},
        ])
    );
    assert_eq!(
        error(json!({"text": "a", "types": {"b": "number"}})),
        "`types` has `b`, and the columns are `a`"
    );
}

#[test]
fn errors_name_their_line_and_column() {
    let text = "id,size\n\n1,\"2\n3\"\n\n\n2,nan\n";
    let wrong = parse(json!({"text": text, "types": {"size": "number"}})).unwrap_err();
    assert_eq!(wrong.message, "line 3, column 2 (`size`): `2\n3` is not a number");
    assert_eq!(wrong.data, Some(json!({"line": 3, "column": "size"})));
    let text = text.replace("\"2\n3\"", "4");
    assert_eq!(
        error(json!({"text": text, "types": {"size": "number"}})),
        "line 6, column 2 (`size`): `nan` is not a number"
    );
    assert_eq!(
        error(json!({"text": "a,b\n1,2\n1,2,3"})),
        "line 3 has 3 cells, and there are 2 columns"
    );
    assert_eq!(
        error(json!({"text": "a,b,a\n1,2,3"})),
        "columns 1 and 3 are both called `a`: name them apart in `columns`"
    );
}

#[test]
fn rows_are_written_with_quotes_where_they_need_them() {
    let rows = json!([{"b": "x, y", "a": 1}, {"a": 0.5, "c": true, "b": null}, {"b": "a \"q\"\n", "c": "é"}]);
    let text: String = rows.to_string();
    let input = format!(
        "{{\"rows\": {}}}",
        text.replace(r#""a":1,"b":"x, y""#, r#""b":"x, y","a":1"#)
    );
    let written = heddle_plugin::serde_json::from_str(&input).unwrap();
    let written = call("write", written).unwrap();
    assert_eq!(written["columns"].as_array().unwrap().len(), 3);
    assert_eq!(
        written["text"],
        "a,b,c\n1,\"x, y\",\n0.5,,true\n,\"a \"\"q\"\"\n\",é\n"
    );
    let input = json!({"rows": rows, "columns": ["b"], "delimiter": ";", "header": false, "crlf": true, "quote": "'"});
    assert_eq!(
        call("write", input).unwrap()["text"],
        "x, y\r\n''\r\n'a \"q\"\n'\r\n"
    );
    let lists = json!({"rows": [[1, "a"], [2, null]], "columns": ["n", "t"]});
    assert_eq!(call("write", lists).unwrap()["text"], "n,t\n1,a\n2,\n");
    assert_eq!(
        call("write", json!({"rows": []})).unwrap(),
        json!({"text": "", "columns": []})
    );
}

#[test]
fn values_that_no_cell_can_hold_are_refused_with_their_place() {
    let error = call("write", json!({"rows": [{"a": 1}, {"a": [1]}]})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert!(
        error
            .message
            .starts_with("`rows[1][\"a\"]` is a list or an object"),
        "{error}"
    );
    let error = call("write", json!({"rows": [[{}]]})).unwrap_err();
    assert!(error.message.starts_with("`rows[0][0]`"), "{error}");
    let error = call("write", json!({"rows": [[1, 2]], "columns": ["a"]})).unwrap_err();
    assert_eq!(error.message, "`rows[0]` has 2 cells, and there are 1 columns");
}

#[test]
fn written_rows_are_read_back_unchanged() {
    let rows = json!([{"a": "", "b": "\r\n"}, {"a": "\"", "b": ",;\t"}, {"a": " x ", "b": "é🧵"}, {"a": "", "b": ""}]);
    for (delimiter, crlf) in [(",", false), (";", true), ("\t", false)] {
        let written = call(
            "write",
            json!({"rows": rows, "delimiter": delimiter, "crlf": crlf}),
        )
        .unwrap();
        let read = parse(json!({"text": written["text"], "delimiter": delimiter})).unwrap();
        assert_eq!(read["rows"], rows, "{written}");
    }
}

#[test]
fn no_digit_of_a_number_is_lost() {
    use heddle_plugin::testing::call_text;
    let numbers = "123456789012345678901,-0.10000000000000000001,1.50,18446744073709551615,1e400,2";
    for rows in [format!("[[{numbers}]]"), format!("[{}]", named(numbers))] {
        let written = call_text("write", &format!(r#"{{"rows":{rows},"header":false}}"#)).unwrap();
        assert!(written.contains(&format!("{numbers}\\n")), "{written}");
    }
    let text = "a\n123456789012345678901\n-0.10000000000000000001\n+.5\n1e3\n7\n";
    let read = call_text(
        "parse",
        &json!({"text": text, "types": {"a": "number"}}).to_string(),
    )
    .unwrap();
    let rows =
        r#"[{"a":123456789012345678901},{"a":-0.10000000000000000001},{"a":0.5},{"a":1000.0},{"a":7}]"#;
    assert!(read.contains(rows), "{read}");
    let error = call(
        "parse",
        json!({"text": "a\n123456789012345678901", "types": {"a": "integer"}}),
    )
    .unwrap_err();
    assert!(
        error.message.contains("is not a whole number of 64 bits"),
        "{error}"
    );
    let error = call("write", json!({"rows": [{"a": 1}, 2]})).unwrap_err();
    assert!(error.message.contains("at `rows[1]`: "), "{error}");
}

/// An object whose keys are letters.
fn named(numbers: &str) -> String {
    let members = numbers
        .split(',')
        .zip('a'..)
        .map(|(number, key)| format!(r#""{key}":{number}"#));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
