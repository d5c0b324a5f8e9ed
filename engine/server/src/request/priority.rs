//! The priority of a run, in a body.

use heddle_json::{decimal::Decimal, object::kind_of};
use heddle_runtime::PRIORITIES;
use serde::{
    Deserialize,
    de::{Deserializer, Error},
};
use serde_json::value::RawValue;

use super::deserialize::read;

/// A priority from -100 to 100.
pub(crate) struct Priority(pub(crate) i32);

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        match read::<i32>(raw) {
            Ok(priority) if PRIORITIES.contains(&priority) => Ok(Self(priority)),
            // A number that is not in the range of the type is not in the smaller range, either.
            Err(error) if kind_of(raw.get()) != Some("a number") || !Decimal::of(raw.get()).is_whole() => {
                Err(Error::custom(error.message))
            }
            _ => {
                let (least, most) = PRIORITIES.into_inner();
                let message = format!("expected a priority from {least} to {most}, got {}", raw.get());
                Err(Error::custom(message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_an_integer_from_minus_100_to_100() {
        let of = |text: &str| {
            let raw: &RawValue = serde_json::from_str(text).expect("JSON");
            read::<Priority>(raw)
                .map(|priority| priority.0)
                .map_err(|error| error.message)
        };
        assert_eq!(
            [of("-100"), of("100"), of("1e2"), of("5.0")],
            [Ok(-100), Ok(100), Ok(100), Ok(5)]
        );
        for wrong in ["101", "-1e3", "3000000000", "99999999999999999999", "1e300"] {
            let message = format!("expected a priority from -100 to 100, got {wrong}");
            assert_eq!(of(wrong), Err(message));
        }
        assert_eq!(of("1.5"), Err("expected a whole number, got 1.5".to_owned()));
        assert_eq!(
            of("\"1\""),
            Err("expected a whole number, got a string".to_owned())
        );
    }
}
