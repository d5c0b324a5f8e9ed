//! Describes a list of numbers.
//!
//! Quantiles are type 7 of R. J. Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages", The
//! American Statistician 50(4), 1996: linear between the two nearest values, as NumPy and R do.
//! Outliers are what lies beyond the inner fences of J. W. Tukey, "Exploratory Data Analysis", 1977:
//! 1.5 times the interquartile range below the first quartile or above the third. Where the two quartiles
//! are the same, the fences would call every other value an outlier, so there are none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many interquartile ranges the fences are away from the quartiles.
const FENCE: f64 = 1.5;

/// Statistics of a list of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// The number of values.
    pub count: usize,
    /// The arithmetic mean.
    pub mean: f64,
    /// The smallest value.
    pub min: f64,
    /// The first quartile: 25% of the values are not larger.
    pub q1: f64,
    /// The median: half of the values are not larger.
    pub median: f64,
    /// The third quartile: 75% of the values are not larger.
    pub q3: f64,
    /// The largest value.
    pub max: f64,
    /// Tukey's inner fences; absent if the quartiles are equal.
    pub fences: Option<Fences>,
    /// The number of values beyond the fences.
    pub outliers: usize,
}

/// Tukey's inner fences. A value on a fence is not an outlier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fences {
    /// What is below it is an outlier.
    pub lower: f64,
    /// What is above it is an outlier.
    pub upper: f64,
}

impl Fences {
    /// Whether the value lies on or between the fences.
    pub fn hold(self, value: f64) -> bool {
        (self.lower..=self.upper).contains(&value)
    }
}

/// Describes the values; `None` where there are none.
pub fn describe(mut values: Vec<f64>) -> Option<Stats> {
    values.sort_by(f64::total_cmp);
    let (&min, &max) = (values.first()?, values.last()?);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let [q1, median, q3] = [0.25, 0.5, 0.75].map(|share| quantile(&values, share));
    let reach = FENCE * (q3 - q1);
    let fences = (q1 < q3).then_some(Fences {
        lower: q1 - reach,
        upper: q3 + reach,
    });
    let outliers = fences.map_or(0, |fences| {
        values.iter().filter(|value| !fences.hold(**value)).count()
    });
    Some(Stats {
        count: values.len(),
        mean,
        min,
        q1,
        median,
        q3,
        max,
        fences,
        outliers,
    })
}

/// The quantile of sorted values, of which there is at least one.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_nearest_values() {
        // NumPy: quantile([1, 2, 4, 8], [.25, .5, .75]) is [1.75, 3, 5].
        let stats = describe(vec![8.0, 1.0, 4.0, 2.0]).expect("there are values");
        assert_eq!((stats.q1, stats.median, stats.q3), (1.75, 3.0, 5.0));
        assert_eq!((stats.min, stats.max, stats.mean), (1.0, 8.0, 3.75));
    }

    #[test]
    fn a_value_beyond_a_fence_is_an_outlier_and_one_on_it_is_not() {
        // The quartiles of 0, 10, 20, 30, x are 10 and 30 for x ≥ 30: the fences are −20 and 60.
        assert_eq!(
            describe(vec![0.0, 10.0, 20.0, 30.0, 60.0])
                .expect("values")
                .outliers,
            0
        );
        assert_eq!(
            describe(vec![0.0, 10.0, 20.0, 30.0, 60.5])
                .expect("values")
                .outliers,
            1
        );
    }

    #[test]
    fn where_the_quartiles_are_the_same_there_are_no_fences() {
        let stats = describe(vec![0.0, 0.0, 0.0, 0.0, 0.0, 9.0]).expect("values");
        assert_eq!((stats.fences, stats.outliers), (None, 0));
    }

    #[test]
    fn one_value_is_all_its_quantiles_and_none_has_no_description() {
        let stats = describe(vec![7.0]).expect("a value");
        assert_eq!((stats.q1, stats.median, stats.q3), (7.0, 7.0, 7.0));
        assert!(describe(Vec::new()).is_none());
    }
}
