//! The picture: a bar for each workload, for the factor by which we are better or worse than the
//! best of the others.
//!
//! Not for: absolute figures, which are in the tables. Rules: one bar a workload, that of its first
//! metric. The scale is logarithmic, so that twice as good and half as good are bars of one length.
//! Floors (see [`FLOORS`]) are no peers, and a workload that no peer does has no bar. The only door
//! to plotters.

use std::error::Error;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::results::{FLOORS, OURS, Part, Results};
use crate::show;

const WIDTH: u32 = 900;
const BAR: i32 = 20;
const TOP: i32 = 50;
const BOTTOM: i32 = 34;
/// The position where names end and bars begin.
const LEFT: i32 = 330;
const RIGHT: i32 = 110;
const GOOD: RGBColor = RGBColor(46, 125, 50);
const BAD: RGBColor = RGBColor(198, 80, 40);
/// Legible on pages of either colour.
const INK: RGBColor = RGBColor(110, 118, 129);
const FONT: &str = "sans-serif";

/// A bar.
#[derive(Debug, PartialEq)]
struct Bar {
    name: String,
    best: String,
    times: f64,
}

fn bars(part: &Part) -> Vec<Bar> {
    let mut done: Vec<&str> = Vec::new();
    let mut bars = Vec::new();
    for row in part.rows() {
        // Workloads with several sizes in one have a bar for each.
        let sized = row.metric.contains(" P=");
        if done.contains(&row.w) && !sized {
            continue;
        }
        done.push(row.w);
        let Some(best) = row.best(|peer| peer != OURS && !FLOORS.contains(&peer)) else { continue };
        if let Some(times) = row.times_better(best.value) {
            bars.push(Bar { name: show::title(&row).replace('`', ""), best: best.peer.clone(), times });
        }
    }
    bars
}

/// The picture as SVG.
///
/// # Errors
/// When plotters cannot draw it.
pub(crate) fn svg(results: &Results) -> Result<String, Box<dyn Error>> {
    let bars: Vec<Bar> = [&results.queues, &results.server].into_iter().flatten().flat_map(bars).collect();
    let height = TOP + BOTTOM + BAR * bars.len() as i32;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height as u32)).into_drawing_area();
        draw(&area, &bars, height)?;
        area.present()?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(area: &Area<'_>, bars: &[Bar], height: i32) -> Result<(), Box<dyn Error>> {
    // A power of two that holds the longest bar, and at least four times.
    let most = bars.iter().map(|bar| bar.times.log2().abs()).fold(2.0, f64::max).ceil();
    let width = WIDTH as i32 - LEFT - RIGHT;
    let x = |times: f64| LEFT + ((times.log2() / most + 1.0) / 2.0 * f64::from(width)) as i32;
    let text = |size: i32, at: HPos| (FONT, size).into_font().color(&INK).pos(Pos::new(at, VPos::Center));
    let heading = "Ours against the best of the others in the same run";
    area.draw(&Text::new(heading, (WIDTH as i32 / 2, 14), text(16, HPos::Center)))?;

    let (first, last) = (TOP - 4, height - BOTTOM + 4);
    let step = (most / 4.0).ceil() as i32;
    for power in (-(most as i32)..=most as i32).filter(|power| power % step == 0) {
        let at = x(2_f64.powi(power));
        area.draw(&PathElement::new(vec![(at, first), (at, last)], INK.mix(if power == 0 { 1.0 } else { 0.25 })))?;
        let label = if power < 0 { format!("1/{}", 1_u64 << -power) } else { format!("{}", 1_u64 << power) };
        area.draw(&Text::new(label, (at, first - 10), text(12, HPos::Center)))?;
    }
    for (number, bar) in bars.iter().enumerate() {
        let top = TOP + BAR * number as i32;
        let middle = top + BAR / 2;
        let (from, to) = (x(bar.times.min(1.0)), x(bar.times.max(1.0)));
        let colour = if bar.times < 1.0 { BAD } else { GOOD };
        area.draw(&Rectangle::new([(from, top + 3), (to.max(from + 1), top + BAR - 3)], colour.filled()))?;
        area.draw(&Text::new(bar.name.clone(), (LEFT - 8, middle), text(12, HPos::Right)))?;
        let label = format!("{:.2} x {}", bar.times, bar.best);
        area.draw(&Text::new(label, (to.max(x(1.0)) + 6, middle), text(12, HPos::Left)))?;
    }
    let caption = "to the right: times as good as the best; to the left: behind it (scale: logarithmic)";
    area.draw(&Text::new(caption, (WIDTH as i32 / 2, height - 12), text(12, HPos::Center)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Bar, bars, svg};
    use crate::machine::Machine;
    use crate::results::{Figure, OURS, Part, Results};

    fn part() -> Part {
        let figure = |w, metric, peer, value| Figure::of(w, metric, peer, vec![value]);
        let figures = vec![
            figure("S3", "CPU us/delivery", OURS, 0.5),
            figure("S3", "CPU us/delivery", "bun", 1.0),
            figure("S3", "CPU us/delivery", "bare", 0.4),
            figure("S3", "p99 us", OURS, 9.0),
            figure("S3", "p99 us", "bun", 1.0),
            figure("S3-free", "deliveries/s", OURS, 9.0),
        ];
        Part::new((Machine::default(), 0.0), &[], 1, figures)
    }

    #[test]
    fn one_bar_a_workload_against_the_best_peer() {
        let name = "100 rooms of 10, all send, CPU us/delivery".to_owned();
        assert_eq!(bars(&part()), [Bar { name, best: "bun".to_owned(), times: 2.0 }]);
    }

    #[test]
    fn it_is_drawn_also_when_there_is_nothing_to_show() {
        let drawn = svg(&Results { queues: None, server: Some(part()) }).unwrap();
        assert!(drawn.starts_with("<svg") && drawn.contains("2.00 x bun"), "{drawn}");
        assert!(svg(&Results::default()).unwrap().starts_with("<svg"));
    }
}
