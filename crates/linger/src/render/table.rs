//! Tables that fit the width.

use super::style::{Style, Tone};
use std::fmt::Write;

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Whether figures stand flush right.
    pub right: bool,
    /// Whether it may be shortened when the table is too wide (at most one column should be so).
    pub shrinks: bool,
    /// Whether it is left out when the table is too wide even so; higher goes first, 0 never.
    pub expendable: u8,
}

impl Column {
    /// Text, flush left.
    pub const fn left(name: &'static str) -> Column {
        Column { name, right: false, shrinks: false, expendable: 0 }
    }

    /// Figures, flush right.
    pub const fn right(name: &'static str) -> Column {
        Column { name, right: true, shrinks: false, expendable: 0 }
    }

    /// May be shortened.
    pub const fn shrinking(mut self) -> Column {
        self.shrinks = true;
        self
    }

    /// May be left out; higher goes first.
    pub const fn expendable(mut self, order: u8) -> Column {
        self.expendable = order;
        self
    }
}

/// A cell.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// Text in a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Cell {
        Cell { text: text.into(), tone: Some(tone) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell { text: text.into(), tone: None }
    }
}

/// Rows under headings, two spaces between columns.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

const SHORTEST: usize = 16;

impl Table {
    /// Without rows.
    pub fn new(columns: Vec<Column>) -> Table {
        Table { columns, rows: Vec::new(), indent: 2 }
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Whether there are rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, each line ended.
    pub fn render(&self, style: &Style) -> String {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        // A column in which nobody has anything is noise.
        shown.retain(|c| self.rows.is_empty() || self.rows.iter().any(|r| !r[*c].text.is_empty()));
        let natural = |c: usize| {
            let cells = self.rows.iter().map(|r| r[c].text.chars().count());
            cells.chain([self.columns[c].name.chars().count()]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(natural).collect();
        loop {
            let total = self.indent + shown.iter().map(|c| widths[*c] + 2).sum::<usize>().saturating_sub(2);
            let over = total.saturating_sub(style.width);
            if over == 0 {
                break;
            }
            if let Some(c) = shown.iter().find(|c| self.columns[**c].shrinks && widths[**c] > SHORTEST) {
                widths[*c] = widths[*c].saturating_sub(over).max(SHORTEST);
                continue;
            }
            let most = shown.iter().copied().max_by_key(|c| self.columns[*c].expendable);
            match most.filter(|c| self.columns[*c].expendable > 0) {
                Some(gone) => {
                    shown.retain(|c| *c != gone);
                    for c in &shown {
                        widths[*c] = natural(*c);
                    }
                }
                None => break,
            }
        }
        let mut out = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = (usize, String, Option<Tone>)>| {
            let mut text = " ".repeat(self.indent);
            let mut first = true;
            for (c, cell, tone) in cells {
                if !first {
                    text.push_str("  ");
                }
                first = false;
                let short = shorten(&cell, widths[c]);
                let pad = " ".repeat(widths[c].saturating_sub(short.chars().count()));
                let painted = tone.map_or_else(|| short.clone(), |tone| style.paint(tone, &short));
                if self.columns[c].right {
                    text.push_str(&pad);
                    text.push_str(&painted);
                } else {
                    text.push_str(&painted);
                    text.push_str(&pad);
                }
            }
            let _ = writeln!(out, "{}", text.trim_end());
        };
        line(&mut shown.iter().map(|c| (*c, self.columns[*c].name.to_owned(), Some(Tone::Faint))));
        for row in &self.rows {
            line(&mut shown.iter().map(|c| (*c, row[*c].text.clone(), row[*c].tone)));
        }
        out
    }
}

/// Leaves out the middle: an address's network and its port both tell something.
fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let tail = kept / 2;
    let mut short: String = text.chars().take(kept - tail).collect();
    short.push('…');
    short.extend(text.chars().skip(length - tail));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_its_width() {
        let mut table = Table::new(vec![
            Column::left("NAME").shrinking(),
            Column::right("N"),
            Column::left("MORE").expendable(1),
        ]);
        table.row(vec!["a-very-long-name-that-does-not-fit".into(), "12".into(), "something".into()]);
        for width in [60, 40, 30] {
            let style = Style { color: false, width, terminal: false };
            let text = table.render(&style);
            assert!(text.lines().all(|l| l.chars().count() <= width), "{text}");
        }
        let narrow = table.render(&Style { color: false, width: 30, terminal: false });
        assert!(narrow.contains('…') && narrow.contains("12"), "{narrow}");
    }
}
