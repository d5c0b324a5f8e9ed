//! Ranks sentences by TextRank (R. Mihalcea and P. Tarau, "TextRank: Bringing Order into Texts", EMNLP
//! 2004): a sentence is as important as those that are like it.

use std::collections::HashSet;

use crate::words::words;

/// The share of a rank that comes from other sentences; the paper's, and PageRank's.
const DAMPING: f64 = 0.85;
/// The iteration stops when no rank changes by more than this.
const TOLERANCE: f64 = 1e-6;
/// It stops after this many rounds in any case.
const MOST_ROUNDS: usize = 200;

/// A sentence of fewer words, stop words aside, says too little to be a summary's.
const FEWEST_WORDS: usize = 5;
/// A longer sentence resembles so many others that it would always win.
const MOST_WORDS: usize = 25;

/// The rank of each sentence.
///
/// Two sentences are as alike as the number of different words that both have, over the sum of the
/// logarithms of their lengths in words (the paper's section 4); one that is too short or too long is like none,
/// since that measure favours both. From rank 1 for each sentence, every round
/// computes all ranks from those of the previous round, so the result is the same on every machine.
pub fn rank(sentences: &[String]) -> Vec<f64> {
    let words: Vec<Vec<String>> = sentences.iter().map(|sentence| words(sentence)).collect();
    let sets: Vec<HashSet<&str>> = words
        .iter()
        .map(|words| words.iter().map(String::as_str).collect())
        .collect();
    let count = sentences.len();
    let mut weights = vec![vec![0.0; count]; count];
    let takes_part = |place: &usize| (FEWEST_WORDS..=MOST_WORDS).contains(&words[*place].len());
    for one in (0..count).filter(takes_part) {
        for other in (0..one).filter(takes_part) {
            let shared = sets[one].intersection(&sets[other]).count();
            let lengths = (words[one].len() as f64).ln() + (words[other].len() as f64).ln();
            weights[one][other] = shared as f64 / lengths;
            weights[other][one] = weights[one][other];
        }
    }
    let sums: Vec<f64> = weights.iter().map(|row| row.iter().sum()).collect();
    let mut ranks = vec![1.0; count];
    for _ in 0..MOST_ROUNDS {
        let next: Vec<f64> = weights
            .iter()
            .map(|row| {
                let likeness = row
                    .iter()
                    .zip(&sums)
                    .zip(&ranks)
                    .filter(|((weight, _), _)| **weight > 0.0);
                let received: f64 = likeness.map(|((weight, sum), rank)| weight / sum * rank).sum();
                1.0 - DAMPING + DAMPING * received
            })
            .collect();
        let change = next
            .iter()
            .zip(&ranks)
            .map(|(next, rank)| (next - rank).abs())
            .fold(0.0, f64::max);
        ranks = next;
        if change < TOLERANCE {
            break;
        }
    }
    ranks
}

/// The places of the sentences, the best first; of equals, the first.
pub fn best_first(ranks: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..ranks.len()).collect();
    places.sort_by(|a, b| ranks[*b].total_cmp(&ranks[*a]).then(a.cmp(b)));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(sentences: &[&str]) -> Vec<f64> {
        rank(&sentences.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_sentence_that_is_like_none_has_the_least_rank() {
        assert_eq!(
            ranks(&[
                "Grey cats sleep long in baskets.",
                "Brown dogs bark loud at strangers."
            ]),
            [1.0 - DAMPING; 2]
        );
        assert_eq!(ranks(&[]), [0.0; 0]);
    }

    #[test]
    fn what_is_too_short_or_too_long_is_like_none() {
        let (short, long) = ("Grey cats sleep long.", "Grey cats sleep long. ".repeat(7));
        assert_eq!(ranks(&[short, &long, short, &long]), [1.0 - DAMPING; 4]);
    }

    #[test]
    fn two_that_are_like_each_other_keep_rank_one() {
        for rank in ranks(&[
            "Grey cats sleep long in baskets.",
            "Grey cats sleep late in gardens.",
        ]) {
            assert!((rank - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn ranks_are_those_of_the_independent_implementation() {
        // Printed by tests/expected.py for the same sentences.
        let expected: serde_json::Value =
            serde_json::from_str(include_str!("../expected.json")).expect("it is JSON");
        let small = &expected["small"];
        let sentences: Vec<String> =
            serde_json::from_value(small["sentences"].clone()).expect("a list of texts");
        let right: Vec<f64> = serde_json::from_value(small["ranks"].clone()).expect("a list of numbers");
        for (rank, right) in rank(&sentences).into_iter().zip(right) {
            assert!((rank - right).abs() < 1e-5, "{rank} is not {right}");
        }
    }

    #[test]
    fn of_equals_the_first_is_best() {
        assert_eq!(best_first(&[1.0, 2.0, 1.0]), [1, 0, 2]);
    }
}
