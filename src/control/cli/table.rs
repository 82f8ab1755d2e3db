//! Tables for people: aligned columns that fit the width of the terminal.

/// Columns of a line that is not written to a terminal.
pub(crate) const WIDTH: usize = 100;

/// Fewest columns that a cell is cut to.
const CELL_MIN: usize = 8;

/// Between two columns.
const GAP: usize = 2;

/// A column: its name, and whether its cells may be cut.
pub(crate) struct Column(pub(crate) &'static str, pub(crate) Cut);

/// Whether the cells of a column may be cut when a line is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Never,
    /// The beginning and the end of a cell stay: of names.
    Middle,
    /// The beginning stays: of sentences.
    End,
}

/// The lines of a table with a line of names above it. When a line would have more than `width` columns, the widest cells that
/// may be cut are cut.
pub(crate) fn lines<const N: usize>(
    columns: &[Column; N],
    rows: &[[String; N]],
    width: usize,
) -> Vec<String> {
    let names = columns.each_ref().map(|Column(name, _)| (*name).to_owned());
    let all: Vec<&[String; N]> = std::iter::once(&names).chain(rows).collect();
    let longest = |at: usize| all.iter().map(|row| count(&row[at])).max().unwrap_or_default();
    let mut widths: [usize; N] = std::array::from_fn(longest);
    fit(columns, &mut widths, width);
    all.iter().map(|row| line(columns, row, &widths)).collect()
}

/// Makes the widest columns that may be cut narrower, one place at a time, until a line fits or none can give more.
fn fit<const N: usize>(columns: &[Column; N], widths: &mut [usize; N], width: usize) {
    while widths.iter().sum::<usize>() + GAP * N.saturating_sub(1) > width {
        let may_give = |at: &usize| columns[*at].1 != Cut::Never && widths[*at] > CELL_MIN;
        let Some(widest) = (0..N).filter(may_give).max_by_key(|at| widths[*at]) else { return };
        widths[widest] -= 1;
    }
}

fn line<const N: usize>(columns: &[Column; N], row: &[String; N], widths: &[usize; N]) -> String {
    let cells = columns.iter().zip(row).zip(widths).map(|((Column(_, cut), cell), width)| {
        let cell = shortened(cell, *width, *cut);
        let padding = width - count(&cell);
        format!("{cell}{}", " ".repeat(padding + GAP))
    });
    cells.collect::<String>().trim_end().to_owned()
}

fn count(text: &str) -> usize {
    text.chars().count()
}

/// A text with an ellipsis for what is cut, if it has more than `width` characters.
fn shortened(text: &str, width: usize, cut: Cut) -> String {
    let all = count(text);
    if all <= width || width == 0 {
        return text.to_owned();
    }
    let end = if cut == Cut::End { 0 } else { (width - 1) / 2 };
    let begin = width - 1 - end;
    text.chars().take(begin).chain(std::iter::once('…')).chain(text.chars().skip(all - end)).collect()
}

/// A text in lines of at most `width` characters, broken at spaces.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a first line");
        if line.is_empty() {
            line.push_str(word);
        } else if count(line) + 1 + count(word) <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A span of time in its largest unit: `7s`, `12m`, `5h`, `3d`.
pub(crate) fn span(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{seconds:.0}s"),
        ..6_000.0 => format!("{:.0}m", (seconds / 60.0).floor()),
        ..172_800.0 => format!("{:.0}h", (seconds / 3_600.0).floor()),
        _ => format!("{:.0}d", (seconds / 86_400.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] =
        [Column("ID", Cut::Never), Column("STREAM", Cut::Middle), Column("AGE", Cut::Never)];

    fn row(stream: &str) -> [String; 3] {
        ["0000".to_owned(), stream.to_owned(), "5s".to_owned()]
    }

    #[test]
    fn columns_are_aligned_and_wide_cells_are_cut_in_the_middle() {
        let rows = [row("live/s"), row("live/żółw")];
        assert_eq!(
            lines(&COLUMNS, &rows, 40),
            ["ID    STREAM     AGE", "0000  live/s     5s", "0000  live/żółw  5s"]
        );
        let rows = [row("live/a-very-long-name-of-a-stream")];
        let cut = lines(&COLUMNS, &rows, 30);
        assert_eq!(cut, ["ID    STREAM               AGE", "0000  live/a-ve…-a-stream  5s"]);
        assert!(cut.iter().all(|line| count(line) <= 30), "{cut:?}");
        assert_eq!(shortened("connection refused", 10, Cut::End), "connectio…");
        let narrow = lines(&COLUMNS, &rows, 5);
        assert_eq!(narrow[1], "0000  live…eam  5s", "an id is never cut");
    }

    #[test]
    fn spans_have_one_unit() {
        let spans = [0.4, 99.4, 100.0, 5_999.0, 6_000.0, 172_799.0, 172_800.0, 864_000.0].map(span);
        assert_eq!(spans, ["0s", "99s", "1m", "99m", "1h", "47h", "2d", "10d"]);
    }

    #[test]
    fn a_long_text_is_broken_at_spaces() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 4), ["unbreakable"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
