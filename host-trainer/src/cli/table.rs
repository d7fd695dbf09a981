//! Text for people: tables, numbers, names from files.

/// Rows of cells in columns.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    title: &'static str,
    align: Align,
}

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

impl Table {
    pub(super) fn new<const N: usize>(columns: [(&'static str, Align); N]) -> Self {
        let columns = columns.into_iter().map(|(title, align)| Column { title, align }).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row, of a cell for each column.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The lines, each ended, columns two spaces apart, without columns that are empty in every row.
    pub(super) fn lines(&self) -> Vec<String> {
        let width = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
            cells.max().filter(|&width| width > 0)
        };
        let columns: Vec<_> = (self.columns.iter().enumerate())
            .filter_map(|(index, column)| {
                Some((index, column, width(index)?.max(column.title.chars().count())))
            })
            .collect();
        let line = |cell: &dyn Fn(usize, &Column) -> String| {
            let cells = columns.iter().map(|&(index, column, width)| {
                let cell = cell(index, column);
                match column.align {
                    Align::Left => format!("  {cell:<width$}"),
                    Align::Right => format!("  {cell:>width$}"),
                }
            });
            format!("{}\n", cells.collect::<String>().trim_end())
        };
        let header = line(&|_, column| column.title.to_owned());
        let rows = self.rows.iter().map(|row| line(&|index, _| row.get(index).cloned().unwrap_or_default()));
        std::iter::once(header).chain(rows).collect()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines().iter().try_for_each(|line| f.write_str(line))
    }
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text from a file as it may be shown on a terminal: without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let mut table = Table::new([("name", Align::Left), ("none", Align::Left), ("n", Align::Right)]);
        table.row(["a".into(), String::new(), "10".into()]);
        table.row(["long name".into(), String::new(), "9".into()]);
        assert_eq!(table.to_string(), "  name        n\n  a          10\n  long name   9\n");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_file_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J"), "a\u{fffd}[2J");
    }
}
