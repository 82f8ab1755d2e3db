//! The picture for the README: in every row the best peer is at 1, and further left means cheaper.

use crate::report::{Line, OURS, is_peer};
use crate::work::Goal;
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 300.0;
const RIGHT: f64 = 760.0;
const TOP: f64 = 88.0;
const STEP: f64 = 30.0;
/// The largest ratio of the scale: higher ratios are drawn at the right edge.
const RATIO_MAX: f64 = 3.0;

const COLOURS: [(&str, &str); 5] = [
    ("tidegate", "#0b6e4f"),
    ("nginx", "#7a8793"),
    ("haproxy", "#3f6fb5"),
    ("caddy", "#b58a3f"),
    ("sozu", "#a3486b"),
];

fn colour(name: &str) -> &'static str {
    COLOURS.iter().find(|(one, _)| *one == name).map_or("#7a8793", |(_, colour)| colour)
}

fn x_of(ratio: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * ratio.min(RATIO_MAX) / RATIO_MAX
}

/// Draws all rows that have a ratio, as SVG.
pub fn draw(lines: &[Line]) -> String {
    let rows: Vec<&Line> = lines.iter().filter(|line| line.ratio.is_some()).collect();
    let height = TOP + STEP * rows.len() as f64 + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\" role=\"img\" aria-label=\"Cost of the same work, the best peer at 1\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"28\" font-size=\"17\" font-weight=\"bold\" fill=\"#1c2630\">Cost of the same work: the best \
         peer is at 1, left is cheaper</text>\n"
    );
    legend(&mut svg);
    // writing into a String can't fail
    for tick in [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0] {
        let (x, bottom) = (x_of(tick), height - 18.0);
        let stroke = if tick == 1.0 { "#1c2630" } else { "#dde3e8" };
        let label = if tick == RATIO_MAX { format!("≥ {tick}") } else { tick.to_string() };
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"{stroke}\"/>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#56626d\">{label}</text>",
            TOP - 8.0,
            TOP - 12.0
        );
    }
    for (number, line) in rows.into_iter().enumerate() {
        row(&mut svg, line, TOP + STEP * (number as f64 + 0.5));
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String) {
    let mut x = 20.0;
    for (name, colour) in COLOURS {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"50\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"54\" fill=\"#1c2630\">{name}</text>",
            x + 10.0
        );
        x += 30.0 + 8.0 * name.len() as f64;
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{x} 43v14\" stroke=\"#c0392b\" stroke-width=\"2\"/><text x=\"{}\" y=\"54\" fill=\"#1c2630\">goal</text>",
        x + 8.0
    );
}

fn row(svg: &mut String, line: &Line, y: f64) {
    let (Some(ratio), Some(own)) = (line.ratio, line.median(OURS)) else { return };
    let best = own / ratio;
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#1c2630\">{}</text>\
         <rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"12\" rx=\"2\" fill=\"{}\"/>",
        LEFT - 10.0,
        y + 4.0,
        line.row.title(),
        y - 6.0,
        x_of(ratio) - LEFT,
        colour(OURS)
    );
    for cell in line.cells.iter().filter(|cell| is_peer(cell.name)) {
        if let Ok(sum) = &cell.sum {
            let (x, colour) = (x_of(sum.median / best), colour(cell.name));
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/>");
        }
    }
    let goal = match line.row.goal() {
        Goal::Ratio(goal) => goal,
        Goal::Figure(goal) => goal / best,
    };
    let unit = line.row.unit().split(' ').next().unwrap_or_default();
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {}v18\" stroke=\"#c0392b\" stroke-width=\"2\"/>\
         <text x=\"{}\" y=\"{}\" fill=\"#1c2630\">{ratio:.2} x ({own:.1} {unit})</text>",
        x_of(goal),
        y - 9.0,
        RIGHT + 14.0,
        y + 4.0
    );
}
