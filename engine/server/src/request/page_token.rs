//! Pages of lists: their length, and the token of the next page.
//!
//! A token is opaque to clients. It has a letter for the list and the position of the last item.

use heddle_kernel::Timestamp;
use heddle_runtime::ports::{RunFilter, RunPosition};

use crate::{
    request::query::item_count,
    response::problem::{Problem, ProblemKind},
};

/// The default number of items on a page.
const DEFAULT_LEN: usize = 50;
/// The largest number of items on a page.
const MAX_LEN: usize = 500;

/// The length of a page, in items.
pub(crate) struct PageSize(usize);

impl PageSize {
    pub(crate) fn new(size: Option<usize>) -> Result<Self, Problem> {
        item_count("page_size", size, DEFAULT_LEN, MAX_LEN).map(Self)
    }

    /// Returns the number of items to request: one more than the page has, to see if there is a next page.
    pub(crate) fn fetch_len(&self) -> usize {
        self.0 + 1
    }

    /// Cuts the items to the length of the page. Returns the last one if there is a next page.
    pub(crate) fn cut<'i, T>(&self, items: &'i mut Vec<T>) -> Option<&'i T> {
        let more = items.len() > self.0;
        items.truncate(self.0);
        items.last().filter(|_| more)
    }
}

/// Returns the token of a position in the list of graphs.
pub(crate) fn write_graph(position: i64) -> String {
    format!("g{position:x}")
}

/// Reads a token of the list of graphs.
pub(crate) fn read_graph(token: &str) -> Result<i64, Problem> {
    let position = token
        .strip_prefix('g')
        .and_then(|hex| u64::from_str_radix(hex, 16).ok());
    position.map(u64::cast_signed).ok_or_else(|| invalid(token))
}

/// Returns the token of a position in the list of runs with these filters.
pub(crate) fn write_run(position: RunPosition, filter: &RunFilter) -> String {
    let RunPosition { created_at, id } = position;
    format!(
        "r{:x}.{}.{:x}",
        created_at.0.cast_unsigned(),
        id.0.simple(),
        sum_of(filter)
    )
}

/// Reads a token of the list of runs.
///
/// # Errors
/// `bad-query` if the token is malformed or belongs to other filters.
pub(crate) fn read_run(token: &str, filter: &RunFilter) -> Result<RunPosition, Problem> {
    let parts = || {
        let (at, rest) = token.strip_prefix('r')?.split_once('.')?;
        let (id, sum) = rest.split_once('.')?;
        let created_at = Timestamp(u64::from_str_radix(at, 16).ok()?.cast_signed());
        let position = RunPosition {
            created_at,
            id: id.parse().ok()?,
        };
        Some((position, u32::from_str_radix(sum, 16).ok()?))
    };
    let (position, sum) = parts().ok_or_else(|| invalid(token))?;
    if sum != sum_of(filter) {
        return Err(Problem::new(
            ProblemKind::BAD_QUERY,
            format!(
                "`page_token` `{token}` belongs to a list with other filters: use the same filters for all pages"
            ),
        ));
    }
    Ok(position)
}

/// Returns a checksum of the filters (FNV-1a), to detect a token of other filters.
fn sum_of(filter: &RunFilter) -> u32 {
    let text = format!("{filter:?}");
    text.bytes().fold(0x811c_9dc5, |sum: u32, byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

fn invalid(token: &str) -> Problem {
    Problem::new(
        ProblemKind::BAD_QUERY,
        format!("`{token}` is not a `page_token` of this list: use `next_page_token` of the previous page"),
    )
}

#[cfg(test)]
mod tests {
    use heddle_kernel::{RunId, Status};

    use super::*;

    fn place(created_at: i64) -> RunPosition {
        RunPosition {
            created_at: Timestamp(created_at),
            id: RunId(uuid::Uuid::from_u128(0x19a_b0c4_54d2_7bd1_9d4a_7a3c_3f9a_2b10)),
        }
    }

    #[test]
    fn tokens_can_be_read_back() {
        for position in [0, 1, 77, i64::MAX, -1] {
            assert_eq!(read_graph(&write_graph(position)).ok(), Some(position));
        }
        let all = RunFilter::default();
        for created_at in [0, 1_795_375_980_007, i64::MAX, -1, i64::MIN] {
            let place = place(created_at);
            assert_eq!(read_run(&write_run(place, &all), &all).ok(), Some(place));
        }
        let token = write_run(place(7), &all);
        for wrong in ["", "g", "r", "gx", "r12", "r1.2.3", "r..", &token[..20], &token] {
            assert!(read_graph(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "r", "r12", "r1.2.3", "r..", &token[..20], &write_graph(12)] {
            assert!(read_run(wrong, &all).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_valid_only_with_the_filters_of_its_list() {
        let failed = RunFilter::of_status(Status::Failed);
        let token = write_run(place(7), &failed);
        assert!(read_run(&token, &failed).is_ok());
        for other in [
            RunFilter::default(),
            RunFilter::of_status(Status::Finished),
            RunFilter::of_graph("g"),
        ] {
            let problem = read_run(&token, &other).expect_err("another list");
            assert!(problem.detail().contains("other filters"), "{}", problem.detail());
        }
    }

    #[test]
    fn a_page_knows_whether_there_is_a_next_one() {
        let page = PageSize::new(Some(2)).expect("2 fits");
        assert_eq!(page.fetch_len(), 3);
        let mut items = vec![1, 2, 3];
        assert_eq!(page.cut(&mut items), Some(&2));
        assert_eq!(items, [1, 2]);
        assert_eq!(page.cut(&mut items), None);
        for wrong in [0, 501] {
            assert!(PageSize::new(Some(wrong)).is_err());
        }
    }
}
