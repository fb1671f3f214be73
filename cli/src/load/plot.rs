//! The picture of a run: latency by percentile, and deliveries over time, as SVG. The only door to
//! plotters.
//!
//! Not for: computing anything. Rule: the same report gives the same picture.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::report::Report;

const SIZE: (u32, u32) = (960, 908);
/// Characters that a line of the title has room for.
const LINE: usize = 100;
const FONT: &str = "sans-serif";
const LATENCY: RGBColor = RGBColor(31, 97, 141);
const RATE: RGBColor = RGBColor(25, 111, 61);
const FAINT: RGBColor = RGBColor(225, 228, 232);
const INK: RGBColor = RGBColor(40, 44, 52);

/// Draws `report` into a file, below `title` and `subtitle`.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn draw(report: &Report, title: &str, subtitle: &str, file: &Path) -> Result<(), Box<dyn Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let small = (FONT, 15).into_font().color(&INK.mix(0.75));
        for (line, text) in lines(title).into_iter().enumerate() {
            root.draw(&Text::new(text, (24, 14 + 20 * line as i32), (FONT, 16).into_font().color(&INK)))?;
        }
        root.draw(&Text::new(subtitle.to_owned(), (24, 58), small))?;
        let (_, below) = root.split_vertically(78);
        let (upper, lower) = below.split_vertically(430);
        latency(report, &upper)?;
        rate(report, &lower)?;
        root.present()?;
    }
    Ok(std::fs::write(file, svg)?)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Both axes by powers of ten: percentiles by how many times rarer each step is, times as they are.
fn latency(report: &Report, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
    let count = report.latency.len();
    // A thousand messages say nothing about one in a million.
    let nines = (count.max(10) as f64).log10().clamp(1.0, 6.0);
    let points: Vec<(f64, f64)> = (0..=240)
        .map(|step| {
            let x = nines * f64::from(step) / 240.0;
            (x, report.latency.at(1.0 - 10f64.powf(-x)).max(0.1))
        })
        .collect();
    let bounds = |pick: fn(f64, f64) -> f64, start| points.iter().map(|&(_, y)| y).fold(start, pick);
    let low = decade(bounds(f64::min, f64::MAX).min(1e9), f64::floor);
    let high = decade(bounds(f64::max, 1.0), f64::ceil).max(low * 10.0);
    let mut chart = ChartBuilder::on(area)
        .caption("Latency by percentile", (FONT, 17).into_font().color(&INK))
        .margin(16)
        .x_label_area_size(46)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..nines, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_labels(nines.floor() as usize + 1)
        .x_label_formatter(&|x| percentile(*x))
        .y_label_formatter(&|y| duration(*y))
        .x_desc("part of the messages that took no longer")
        .y_desc("from due to received")
        .bold_line_style(FAINT)
        .light_line_style(WHITE)
        .axis_style(INK)
        .label_style((FONT, 14).into_font().color(&INK))
        .draw()?;
    chart.draw_series(LineSeries::new(points, LATENCY.stroke_width(2)))?;
    let told = &report.latency_us;
    for (name, x, y) in
        [("p50", std::f64::consts::LOG10_2, told.p50), ("p99", 2.0, told.p99), ("p99.9", 3.0, told.p999)]
    {
        if x < nines && count > 0 {
            let label = Text::new(format!("{name} {}", duration(y)), (9, 7), (FONT, 14).into_font().color(&INK));
            let dot = Circle::new((0, 0), 4, LATENCY.filled());
            chart.draw_series([EmptyElement::at((x, y.max(low))) + dot + label])?;
        }
    }
    Ok(())
}

fn rate(report: &Report, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
    let points: Vec<(f64, f64)> = report.rates.iter().map(|rate| (rate.at, rate.deliveries_per_s)).collect();
    let top = points.iter().map(|point| point.1).fold(1.0, f64::max) * 1.1;
    let end = report.seconds.max(0.1);
    let mut chart = ChartBuilder::on(area)
        .caption("Deliveries per second", (FONT, 17).into_font().color(&INK))
        .margin(16)
        .x_label_area_size(46)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .y_label_formatter(&|y| count(*y))
        .x_label_formatter(&|x| format!("{x:.1} s"))
        .x_desc("time since the warm-up")
        .y_desc("deliveries per second")
        .bold_line_style(FAINT)
        .light_line_style(WHITE)
        .axis_style(INK)
        .label_style((FONT, 14).into_font().color(&INK))
        .draw()?;
    chart.draw_series(AreaSeries::new(points.iter().copied(), 0.0, RATE.mix(0.15)))?;
    chart.draw_series(LineSeries::new(points, RATE.stroke_width(2)))?;
    Ok(())
}

/// A title in two lines at most, cut between words where possible.
fn lines(title: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in title.split(' ') {
        let word: String = word.chars().take(LINE).collect();
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < LINE => *line += &format!(" {word}"),
            _ => lines.push(word),
        }
    }
    if lines.len() > 2 {
        lines.truncate(2);
        lines[1] += " ...";
    }
    lines
}

/// The power of ten below or above.
fn decade(value: f64, round: fn(f64) -> f64) -> f64 {
    10f64.powf(round(value.log10()))
}

/// A label on the axis of percentiles: 0, 90, 99, 99.9 and so on.
fn percentile(nines: f64) -> String {
    let digits = (nines.round() as usize).saturating_sub(2);
    format!("{:.digits$} %", 100.0 * (1.0 - 10f64.powf(-nines.round())))
}

/// Microseconds in the unit that suits them.
fn duration(microseconds: f64) -> String {
    match microseconds {
        us if us < 1e3 => format!("{} µs", short(us)),
        us if us < 1e6 => format!("{} ms", short(us / 1e3)),
        us => format!("{} s", short(us / 1e6)),
    }
}

fn count(number: f64) -> String {
    match number {
        n if n < 1e3 => short(n),
        n if n < 1e6 => format!("{} k", short(n / 1e3)),
        n => format!("{} M", short(n / 1e6)),
    }
}

/// Three digits, without zeros at the end.
fn short(value: f64) -> String {
    let text = match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => return format!("{v:.0}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_titles_are_cut_into_two_lines() {
        assert_eq!(lines("singletrack load"), ["singletrack load"]);
        let long = lines(&"option ".repeat(100));
        assert_eq!(long.len(), 2);
        assert!(long.iter().all(|line| line.len() <= LINE + 4) && long[1].ends_with(" ..."));
        assert_eq!(lines(&"x".repeat(500)), ["x".repeat(LINE)]);
    }

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!([0.1, 17.04, 999.0].map(duration), ["0.1 µs", "17 µs", "999 µs"]);
        assert_eq!([1_000.0, 48_211.0, 2_500_000.0].map(duration), ["1 ms", "48.2 ms", "2.5 s"]);
        assert_eq!([0.0, 12_345.0, 1_164_000.0].map(count), ["0", "12.3 k", "1.16 M"]);
        assert_eq!([0.0, 1.0, 2.0, 3.0].map(percentile), ["0 %", "90 %", "99 %", "99.9 %"]);
    }
}
