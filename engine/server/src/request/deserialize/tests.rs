//! Deserialized queries, and the messages for invalid ones.

use expect_test::{Expect, expect};

use super::*;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Skip,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    after: Option<u64>,
    force: Option<bool>,
    way: Option<Way>,
}

fn check_query(pairs: &[(&str, &str)], expect: Expect) {
    let pairs: Vec<(String, String)> = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    expect.assert_eq(&match read_query::<Params>(&pairs) {
        Ok(Params { after, force, way }) => format!("{after:?} {force:?} {way:?}"),
        Err(error) => parameter_message(&error),
    });
}

#[test]
fn a_query_is_deserialized_and_errors_name_the_parameter() {
    check_query(
        &[("after", "7"), ("way", "skip")],
        expect!["Some(7) None Some(Skip)"],
    );
    check_query(&[], expect!["None None None"]);
    check_query(
        &[("after", "x")],
        expect![[r#"`after`: expected a whole number, 0 or more, got "x""#]],
    );
    check_query(
        &[("after", "-1")],
        expect!["`after`: expected a whole number, 0 or more, got -1"],
    );
    for wrong in ["+5", " 5", "5 ", "--5", "0x5", "5.0", "-"] {
        let pairs = [("after".to_owned(), wrong.to_owned())];
        let error = read_query::<Params>(&pairs).expect_err("no digits only");
        assert_eq!(
            error.message,
            format!("expected a whole number, 0 or more, got {wrong:?}")
        );
    }
    check_query(
        &[("after", "")],
        expect![[r#"`after`: expected a whole number, 0 or more, got """#]],
    );
    check_query(
        &[("after", "18446744073709551616")],
        expect!["`after`: expected a whole number from 0 to 18446744073709551615, got 18446744073709551616"],
    );
    check_query(
        &[("force", "yes")],
        expect![[r#"`force`: expected true or false, got "yes""#]],
    );
    check_query(
        &[("way", "jump")],
        expect![[r#"`way`: expected one of skip, got "jump""#]],
    );
    check_query(
        &[("aftr", "1")],
        expect!["`aftr`: unknown parameter; known parameters: after, force, way"],
    );
    check_query(
        &[("after", "1"), ("after", "2")],
        expect!["`after`: the parameter is repeated"],
    );
}
