//! Tests of the search for similar names.

use super::*;

#[test]
fn names_are_offered_that_are_near() {
    let names = [
        "code-review/extract",
        "starter/extract",
        "starter/analyze",
        "bench/touch",
    ];
    let near = |uses: &str| {
        let names = names.iter().map(|name| name.split_once('/').unwrap());
        similar(
            uses,
            names.map(|(plugin, function)| (plugin.into(), function.into())),
        )
    };
    assert_eq!(near("extrct"), ["code-review/extract", "starter/extract"]);
    assert_eq!(near("starter/analyse"), ["starter/analyze"]);
    assert_eq!(near("bnech/touch"), ["bench/touch"]);
    assert_eq!(near("nothing-like-it"), [""; 0]);
    assert_eq!(
        near(&"extract".repeat(100)),
        [""; 0],
        "a long name is not compared"
    );
}
