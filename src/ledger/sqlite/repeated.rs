//! Statements over many rows.
//!
//! `SQLite` has no arrays. A statement with one row of `VALUES` in its file is made into longer ones by
//! repeating that row; a batch is cut into pieces of a few fixed lengths, so that each text is prepared
//! once and stays in the connection's cache.

/// The lengths, longest first. The longest stays far below `SQLite`'s 32,766 parameters.
const LENGTHS: [usize; 4] = [200, 25, 5, 1];

/// A statement in several lengths.
#[derive(Debug)]
pub(super) struct Repeated([String; LENGTHS.len()]);

impl Repeated {
    /// Makes the lengths of a text that has one row of question marks after `VALUES`.
    pub(super) fn of(text: &str) -> Self {
        const START: &str = "VALUES (";
        let from = text.find(START).map_or(text.len(), |at| at + START.len() - 1);
        let until = text[from..].find(')').map_or(text.len(), |at| from + at + 1);
        let (before, row, after) = (&text[..from], &text[from..until], &text[until..]);
        Self(LENGTHS.map(|length| format!("{before}{}{after}", vec![row; length].join(", "))))
    }

    /// Cuts a batch into pieces, each with the text for its length.
    pub(super) fn pieces<'a, T>(&'static self, mut batch: &'a [T]) -> impl Iterator<Item = (&'static str, &'a [T])> {
        std::iter::from_fn(move || {
            let nth = LENGTHS.iter().position(|&length| length <= batch.len())?;
            let (piece, left) = batch.split_at(LENGTHS[nth]);
            batch = left;
            Some((self.0[nth].as_str(), piece))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static STATEMENT: LazyLock<Repeated> = LazyLock::new(|| Repeated::of("WITH a AS (VALUES (?, ?)) SELECT 1"));

    #[test]
    fn a_batch_is_cut_into_known_lengths() {
        let batch = [0; 432];
        let lengths: Vec<usize> = STATEMENT.pieces(&batch).map(|(_, piece)| piece.len()).collect();
        assert_eq!(lengths, [200, 200, 25, 5, 1, 1]);
        assert_eq!(STATEMENT.pieces(&batch[..1]).next().unwrap().0, "WITH a AS (VALUES (?, ?)) SELECT 1");
        assert!(STATEMENT.pieces(&batch).all(|(text, piece)| text.matches('?').count() == 2 * piece.len()));
    }
}
