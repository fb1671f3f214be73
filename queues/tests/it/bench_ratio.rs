//! The arithmetic of the bench `workloads`, which compares two builds: medians and ratios. A bench
//! has no tests of its own.

#[path = "../../benches/workloads/ratio.rs"]
mod ratio;

use ratio::{Comparison, Line, Row, median};

fn row(metric: &str) -> Row {
    Row { w: "Q1".to_owned(), metric: metric.to_owned(), allocator: "glibc".to_owned() }
}

#[test]
fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
    assert_eq!(median(vec![7.0]), 7.0);
    assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
    assert_eq!(median(vec![4.0, 100.0, 1.0, 6.0]), 5.0);
}

#[test]
fn ratios_are_taken_round_by_round() {
    // The machine is ten times slower in the second and third round; one of the five rounds is an
    // outlier.
    let compared = Comparison::of(&[(10.0, 20.0), (100.0, 200.0), (400.0, 200.0), (5.0, 10.0), (10.0, 20.0)]);
    assert_eq!((compared.ours, compared.theirs), (10.0, 20.0));
    assert_eq!((compared.ratio, compared.lower, compared.upper), (0.5, 0.5, 0.5));
    let compared = Comparison::of(&[(10.0, 10.0), (20.0, 10.0)]);
    assert_eq!((compared.ratio, compared.lower, compared.upper), (1.5, 1.0, 2.0));
}

#[test]
fn the_median_ratio_is_not_the_ratio_of_medians() {
    let compared = Comparison::of(&[(1.0, 2.0), (10.0, 5.0), (100.0, 50.0)]);
    assert_eq!((compared.ours, compared.theirs, compared.ratio), (10.0, 5.0, 2.0));
    let compared = Comparison::of(&[(1.0, 4.0), (10.0, 1.0), (100.0, 100.0)]);
    assert_eq!((compared.ours, compared.theirs, compared.ratio), (10.0, 4.0, 1.0));
}

#[test]
fn nothing_against_nothing_is_no_difference() {
    assert_eq!(Comparison::of(&[(0.0, 0.0)]).ratio, 1.0);
    assert_eq!(Comparison::of(&[(3.0, 0.0)]).ratio, f64::INFINITY);
    assert_eq!(Comparison::of(&[(0.0, 3.0)]).ratio, 0.0);
}

#[test]
fn more_is_better_for_rates_only_and_little_is_no_difference() {
    let of = |ours| Comparison::of(&[(ours, 100.0)]);
    assert_eq!([90.0, 96.0, 104.0, 110.0].map(|o| of(o).verdict(&row("ns/op"))), ["better", "", "", "worse"]);
    assert_eq!([90.0, 96.0, 104.0, 110.0].map(|o| of(o).verdict(&row("Mops/s P=2"))), ["worse", "", "", "better"]);
}

#[test]
fn a_line_of_the_bench_is_read() {
    let line = r#"{"peer":"singletrack","w":"Q1","metric":"ns/op","value":38.25,"cpu_s":0.5,"allocator":"glibc"}"#;
    assert_eq!(Line::parse(line), Some(Line { row: row("ns/op"), value: 38.25, cpu_s: 0.5 }));
    for wrong in ["", "{}", r#"{"w":"Q1","metric":"ns/op","allocator":"glibc","value":"much","cpu_s":1}"#] {
        assert_eq!(Line::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_difference_that_a_quarter_of_the_rounds_denies_is_unclear() {
    let of = |ours: [f64; 5]| Comparison::of(&ours.map(|ours| (ours, 100.0)));
    let compared = of([300.0, 80.0, 120.0, 90.0, 120.0]);
    assert_eq!((compared.lower, compared.ratio, compared.upper), (0.9, 1.2, 1.2));
    assert_eq!(compared.verdict(&row("ns/op")), "unclear");
    assert_eq!(of([300.0, 80.0, 120.0, 110.0, 120.0]).verdict(&row("ns/op")), "worse");
}
