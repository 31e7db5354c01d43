//! Tables of `linger states`.

use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, percent};
use linger_model::{State, StateCounts};
use linger_rules::thousands;

/// A table of counts per state, with what changed since the counts before.
pub fn counts(states: &StateCounts, before: Option<&StateCounts>, only: u32, style: &Style) -> String {
    let total = states.total().max(1) as f64;
    let mut table = Table::new(vec![
        Column::left("STATE"),
        Column::right("COUNT"),
        Column::right("SHARE"),
        Column::right("CHANGE"),
    ]);
    for state in State::ALL.into_iter().filter(|s| only & s.bit() != 0) {
        let Some(n) = states.get(state) else {
            let faint = |text: &str| Cell::toned(text, Tone::Faint);
            table.row(vec![faint(state.display()), faint("not listed"), "".into(), "".into()]);
            continue;
        };
        let change = before.map(|b| i128::from(n) - i128::from(b.count(state))).filter(|c| *c != 0);
        table.row(vec![
            state.display().into(),
            thousands(n).into(),
            percent(n as f64 / total).into(),
            change.map_or_else(String::new, |c| format!("{c:+}")).into(),
        ]);
    }
    table.row(vec![
        Cell::toned("total", Tone::Faint),
        Cell::toned(thousands(states.total()), Tone::Faint),
        "".into(),
        "".into(),
    ]);
    table.render(style)
}

/// A row of a grouped table.
#[derive(Debug, Clone)]
pub struct GroupRow {
    /// The group's name.
    pub name: String,
    /// Sockets, and by how much the number may be too high.
    pub count: u64,
    /// See `count`.
    pub error: u64,
    /// Per state.
    pub states: StateCounts,
}

/// A table of groups, with the states that occur in any of them.
pub fn groups(heading: &'static str, rows: &[GroupRow], other: Option<&GroupRow>, style: &Style) -> String {
    let occurring: Vec<State> =
        State::ALL.into_iter().filter(|s| rows.iter().chain(other).any(|r| r.states.count(*s) > 0)).collect();
    let mut columns = vec![Column::left(heading).shrinking(), Column::right("SOCKETS")];
    // States with the fewest sockets go first when the table is too wide.
    let mut by_size = occurring.clone();
    let sum = |s: &State| rows.iter().map(|r| r.states.count(*s)).sum::<u64>();
    by_size.sort_by_key(|s| std::cmp::Reverse(sum(s)));
    for state in &occurring {
        let rank = by_size.iter().position(|s| s == state).unwrap_or(0) as u8;
        columns.push(Column::right(state.display()).expendable(rank + 1));
    }
    let mut table = Table::new(columns);
    for (row, faint) in rows.iter().map(|r| (r, false)).chain(other.map(|r| (r, true))) {
        let approximately =
            if row.error > 0 { format!("≤{}", thousands(row.count)) } else { thousands(row.count) };
        let name = clean(&row.name);
        let mut cells: Vec<Cell> =
            vec![if faint { Cell::toned(name, Tone::Faint) } else { name.into() }, approximately.into()];
        cells.extend(occurring.iter().map(|s| {
            let n = row.states.count(*s);
            Cell::from(if n == 0 { "·".to_owned() } else { thousands(n) })
        }));
        table.row(cells);
    }
    table.render(style)
}
