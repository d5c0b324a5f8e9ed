//! Pages of a list: how long one is, and the token that leads to the next.
//!
//! A token is opaque to clients: a letter for the list that it belongs to, and a position.

use heddle_kernel::RunId;

use crate::problem::{Kind, Problem};

/// How many items a page has where nothing is said.
const DEFAULT_LEN: usize = 50;
/// How many it may have.
const MAX_LEN: usize = 500;

/// How long a page is.
pub(crate) struct Page(usize);

impl Page {
    pub(crate) fn new(size: Option<usize>) -> Result<Self, Problem> {
        match size.unwrap_or(DEFAULT_LEN) {
            size @ 1..=MAX_LEN => Ok(Self(size)),
            size => Err(Problem::new(
                Kind::BAD_QUERY,
                format!("`page_size` is 1 to {MAX_LEN}, got {size}"),
            )),
        }
    }

    /// How many items to ask for: one more than fit, to learn whether there is a next page.
    pub(crate) fn ask(&self) -> usize {
        self.0 + 1
    }

    /// Cuts what was found to the page, and gives its last item where there is a next page.
    pub(crate) fn cut<'i, T>(&self, items: &'i mut Vec<T>) -> Option<&'i T> {
        let more = items.len() > self.0;
        items.truncate(self.0);
        items.last().filter(|_| more)
    }
}

/// The token of a graph's position.
pub(crate) fn write_graph(position: i64) -> String {
    format!("g{position:x}")
}

/// The position that a token stands for.
pub(crate) fn read_graph(token: &str) -> Result<i64, Problem> {
    let position = token
        .strip_prefix('g')
        .and_then(|hex| u64::from_str_radix(hex, 16).ok());
    position.map(u64::cast_signed).ok_or_else(|| wrong(token))
}

/// The token of a run in a list.
pub(crate) fn write_run(run: RunId) -> String {
    format!("r{}", run.0.simple())
}

/// The run that a token stands for.
pub(crate) fn read_run(token: &str) -> Result<RunId, Problem> {
    let run = token.strip_prefix('r').and_then(|hex| hex.parse().ok());
    run.ok_or_else(|| wrong(token))
}

fn wrong(token: &str) -> Problem {
    Problem::new(
        Kind::BAD_QUERY,
        format!("`{token}` is no `page_token` of this list: give `next_page_token` of the page before"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_lead_back_to_where_they_came_from() {
        for position in [0, 1, 77, i64::MAX, -1] {
            assert_eq!(read_graph(&write_graph(position)).ok(), Some(position));
        }
        let run = RunId(uuid::Uuid::from_u128(0x19a_b0c4_54d2_7bd1_9d4a_7a3c_3f9a_2b10));
        assert_eq!(read_run(&write_run(run)).ok(), Some(run));
        for wrong in ["", "g", "r", "gx", "r12", &write_run(run)] {
            assert!(read_graph(wrong).is_err(), "{wrong}");
        }
        assert!(read_run(&write_graph(12)).is_err());
    }

    #[test]
    fn a_page_knows_whether_there_is_a_next_one() {
        let page = Page::new(Some(2)).expect("2 fits");
        assert_eq!(page.ask(), 3);
        let mut items = vec![1, 2, 3];
        assert_eq!(page.cut(&mut items), Some(&2));
        assert_eq!(items, [1, 2]);
        assert_eq!(page.cut(&mut items), None);
        for wrong in [0, 501] {
            assert!(Page::new(Some(wrong)).is_err());
        }
    }
}
