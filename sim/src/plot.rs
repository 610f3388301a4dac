use std::fmt::Write;

/// A line of a plot.
#[derive(Debug, Clone)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 60.0;
const TICKS: usize = 5;
/// Told apart also by those who do not see all colours.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// Draws lines over two axes that begin at zero, as an SVG.
pub fn svg(title: &str, x_label: &str, y_label: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let x_max = points().map(|point| point.0).fold(1.0, f64::max);
    let y_max = points().map(|point| point.1).fold(0.1, f64::max) * 1.1;
    let x = |value: f64| MARGIN + value / x_max * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - value / y_max * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' \
         font-family='sans-serif' font-size='12'>\n\
         <rect width='100%' height='100%' fill='white'/>\n\
         <text x='{}' y='24' text-anchor='middle' font-size='16'>{title}</text>\n",
        WIDTH / 2.0
    );
    let mut add = |part: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "{part}");
    };
    for tick in 0..=TICKS {
        let part = tick as f64 / TICKS as f64;
        let (at_x, at_y) = (x(part * x_max), y(part * y_max));
        add(format!(
            "<line x1='{MARGIN}' y1='{at_y:.1}' x2='{:.1}' y2='{at_y:.1}' stroke='#ddd'/>",
            WIDTH - MARGIN
        ));
        let (x_value, y_value) = (part * x_max, part * y_max);
        add(format!(
            "<text x='{at_x:.1}' y='{:.1}' text-anchor='middle'>{x_value:.0}</text>\
             <text x='{:.1}' y='{:.1}' text-anchor='end'>{y_value:.1}</text>",
            HEIGHT - MARGIN + 18.0,
            MARGIN - 6.0,
            at_y + 4.0
        ));
    }
    add(format!(
        "<text x='{:.1}' y='{:.1}' text-anchor='middle'>{x_label}</text>\
         <text x='14' y='{:.1}'>{y_label}</text>",
        WIDTH / 2.0,
        HEIGHT - 14.0,
        MARGIN - 14.0
    ));
    for (number, Series { name, points }) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let line: Vec<_> = points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        add(format!(
            "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/>",
            line.join(" ")
        ));
        for point in points {
            let (cx, cy) = (x(point.0), y(point.1));
            add(format!(
                "<circle cx='{cx:.1}' cy='{cy:.1}' r='3.5' fill='{colour}'/>"
            ));
        }
        let at = MARGIN + 18.0 * number as f64;
        add(format!(
            "<text x='{:.1}' y='{at:.1}' fill='{colour}'>{name}</text>",
            MARGIN + 12.0
        ));
    }
    svg.push_str("</svg>\n");
    svg
}
