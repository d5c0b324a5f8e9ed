use super::Decimal;

fn sum(a: &str, b: &str) -> String {
    match Decimal::of(a).add(&Decimal::of(b)) {
        Some(sum) => sum.to_string(),
        None => "too many digits".to_owned(),
    }
}

#[test]
fn a_sum_is_exact() {
    assert_eq!(sum("9223372036854775807", "1"), "9223372036854775808");
    assert_eq!(sum("-9223372036854775808", "-1"), "-9223372036854775809");
    assert_eq!(sum("123456789012345678901", "-123456789012345678902"), "-1");
    assert_eq!(sum("0.1", "0.2"), "0.3");
    assert_eq!(sum("1.50", "1.5"), "3");
    assert_eq!(sum("1e3", "1"), "1001");
    assert_eq!(sum("2.5", "-2.5"), "0");
    assert_eq!(sum("-0", "0.0"), "0");
    assert_eq!(sum("1e300", "1e300"), "2e300");
    assert_eq!(sum("1e-300", "1.5e-300"), "2.5e-300");
    assert_eq!(sum("0.001", "-0.0011"), "-0.0001");
}

#[test]
fn a_sum_of_doubles_has_all_of_its_digits_and_a_large_exponent_costs_nothing() {
    let all = sum("1.7976931348623157e308", "5e-324");
    assert!(
        all.starts_with("17976931348623157") && all.ends_with("0005"),
        "{all}"
    );
    for (a, b) in [
        ("1e999999999", "1"),
        ("1", "1e-999999999"),
        ("1e99999999999999999999", "-1e-99999999999999999999"),
    ] {
        assert_eq!(sum(a, b), "too many digits");
    }
    assert!(Decimal::of("1e999999999") > Decimal::of("9e999999998"));
    assert!(Decimal::of("1e-99999999999999999999") > Decimal::of("0"));
}

#[test]
fn numbers_are_ordered_by_their_exact_value() {
    let ascending = [
        "-1e30",
        "-123456789012345678902",
        "-123456789012345678901",
        "-1.5",
        "-1",
        "-0.1",
        "0",
        "1e-400",
        "0.1",
        "0.10000000000000000001",
        "1",
        "1.5",
        "10",
        "18446744073709551614",
        "18446744073709551615",
        "1e20",
    ];
    for pair in ascending.windows(2) {
        assert!(Decimal::of(pair[0]) < Decimal::of(pair[1]), "{pair:?}");
    }
    for (a, b) in [
        ("1", "1.0"),
        ("100", "1e2"),
        ("0.1", "1.0E-1"),
        ("-0", "0"),
        ("1200", "12e+2"),
    ] {
        assert_eq!(Decimal::of(a), Decimal::of(b), "{a} {b}");
    }
}

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
}

#[test]
fn numbers_of_any_length_have_one_order() {
    let ordered = [
        "-1e400",
        "-123456789012345678902",
        "-123456789012345678901",
        "-1.5",
        "-0.1",
        "-1e-400",
        "0",
        "1e-400",
        "0.1",
        "0.10000000000000000001",
        "9007199254740992",
        "9007199254740992.5",
        "9007199254740993",
        "123456789012345678901",
        "123456789012345678902",
        "1e400",
        "1.0000000000000000000001e400",
    ];
    for (i, a) in ordered.iter().enumerate() {
        for (j, b) in ordered.iter().enumerate() {
            assert_eq!(decimal(a).cmp(&decimal(b)), i.cmp(&j), "{a} and {b}");
        }
    }
    for same in [
        ["1", "1.0"],
        ["1e2", "100"],
        ["0", "-0.0e7"],
        ["120e-1", "12"],
        ["0.05", "5E-2"],
    ] {
        assert_eq!(decimal(same[0]), decimal(same[1]), "{same:?}");
    }
}

#[test]
fn text_that_is_not_a_number_is_refused() {
    for text in [
        "",
        "-",
        "+1",
        ".5",
        "1e",
        "1e1.5",
        "a",
        "1a",
        "--1",
        "1e9999999999999",
        "NaN",
    ] {
        assert_eq!(Decimal::parse(text), None, "{text}");
    }
}

#[test]
fn a_double_is_faithful_where_it_is_written_as_the_same_number() {
    for text in [
        "0.1",
        "1.50",
        "1e300",
        "5e-324",
        "-0.0",
        "1.7976931348623157e308",
        "9007199254740992.0",
        "1e22",
    ] {
        assert_eq!(Decimal::faithful_double(text), text.parse().ok(), "{text}");
    }
    for text in [
        "0.10000000000000000001",
        "9007199254740993.0",
        "1e400",
        "1e-400",
        "4e-324",
        "123456789012345678901",
    ] {
        assert_eq!(Decimal::faithful_double(text), None, "{text}");
    }
}

#[test]
fn whole_parts_are_exact() {
    let whole = |text| (decimal(text).whole(), decimal(text).truncated());
    assert_eq!(
        whole("9007199254740993.0"),
        (Some(9_007_199_254_740_993), Some(9_007_199_254_740_993))
    );
    assert_eq!(whole("-2.5e1"), (Some(-25), Some(-25)));
    assert_eq!(whole("-2.59"), (None, Some(-2)));
    assert_eq!(whole("0.001"), (None, Some(0)));
    assert_eq!(whole("0"), (Some(0), Some(0)));
    assert_eq!(whole("1e38"), (Some(10_i128.pow(38)), Some(10_i128.pow(38))));
    assert_eq!(whole("1e39"), (None, None));
    assert_eq!(whole("1e400"), (None, None));
}

#[test]
fn numbers_are_written_with_the_digits_asked_for() {
    let fixed = |text, places| decimal(text).fixed(places, 100).unwrap_or_default();
    assert_eq!(fixed("123456789012345678901", 2), "123456789012345678901.00");
    assert_eq!(fixed("0.5", 0), "0");
    assert_eq!(fixed("1.5", 0), "2");
    assert_eq!(fixed("-0.0049", 2), "-0.00");
    assert_eq!(fixed("0.005000000000000000000001", 2), "0.01");
    assert_eq!(fixed("0.0001", 6), "0.000100");
    assert_eq!(fixed("99.995", 2), "100.00");
    assert_eq!(fixed("0", 3), "0.000");
    assert_eq!(decimal("1e400").fixed(0, 100), None);
    let scientific = |text, places| decimal(text).scientific(places);
    assert_eq!(scientific("9007199254740993", 18), "9.007199254740993000e+15");
    assert_eq!(scientific("9.99", 1), "1.0e+01");
    assert_eq!(scientific("-0.00012", 0), "-1e-04");
    assert_eq!(scientific("0", 2), "0.00e+00");
    assert_eq!(scientific("1e400", 1), "1.0e+400");
}
