//! The measurements in `performance/README.md` and the README, made from the figures alone.
//!
//! `performance/README.md` has the tables of ours beside the peers, and sentences on where we lose.
//! The README has a few rows and the worst five of those losses. Not for: the prose around it,
//! which is written by hand and contains nothing that ages. Rules: only the text between the two
//! marks is replaced. The best of a row is bold. A sentence of `performance/README.md` names every
//! row that we do not lead.

use std::path::Path;

use crate::results::{BUSY, FLOORS, GENERATOR, OURS, Part, Results, Row};
use crate::show;

/// Everything between these marks is made by this program.
pub(crate) const BEGIN: &str = "<!-- performance: what follows is made by `cargo run --release -p singletrack-performance` from performance/results.json -->";
/// See [`BEGIN`].
pub(crate) const END: &str = "<!-- performance: end -->";

/// The percentage of its core from which on the load generator limits a rate.
const LIMIT: f64 = 95.0;

/// The rows that the README shows: few, and of every kind, including those that we lose.
const FEW: &[(&str, &str)] = &[
    ("Q1", "ns/op"),
    ("Q2", "ns/op"),
    ("Q4", "Mops/s"),
    ("Q5", "ns/hop"),
    ("Q8", "ms"),
    ("Q9", "Mtransfers/s"),
    ("Q11", "B/queue"),
    ("Q12", "p99 us"),
    ("S1-64", "CPU us/msg"),
    ("S3", "deliveries/s"),
    ("S4-10000", "user bytes/conn"),
];

/// The number of losses that the README names.
const LOSSES: usize = 5;

/// The text between the marks of the README.
pub(crate) fn summary(results: &Results) -> String {
    let parts: Vec<&Part> = [&results.queues, &results.server].into_iter().flatten().collect();
    let mut text = String::from(PICTURE).replace("(", "(performance/");
    if let Some(part) = parts.first() {
        text += &format!("\nMeasured on {}.\n", part.machine.sentence());
    }
    text += "\n| | singletrack | best of the others |\n|---|---|---|\n";
    let mut lost = Vec::new();
    for part in parts {
        let rows = part.rows();
        for row in rows.iter().filter(|row| FEW.contains(&(row.w, row.metric))) {
            let (Some(ours), Some(best)) = (row.of(OURS), row.best(is_peer)) else { continue };
            let (ours, theirs) = (show::number(ours), format!("{} ({})", show::number(best.value), best.peer));
            text += &format!("| {} | {ours} | {theirs} |\n", show::title(row));
        }
        lost.extend(losses(&rows.into_iter().filter(is_shown).collect::<Vec<_>>(), is_peer));
    }
    text += "\nWhere we lose most in that run:\n\n";
    lost.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, loss) in lost.iter().take(LOSSES) {
        text += &format!("- {loss}\n");
    }
    if lost.is_empty() {
        text += "- nowhere\n";
    }
    text
}

fn is_peer(peer: &str) -> bool {
    peer != OURS && !FLOORS.contains(&peer)
}

/// The line of `performance/README.md` that shows it.
const PICTURE: &str = "\n![Ours against the best of the others, workload by workload](performance.svg)\n";

/// The text between the marks of `performance/README.md`.
pub(crate) fn section(results: &Results) -> String {
    let mut text = String::from(PICTURE);
    if let Some(part) = &results.queues {
        text += &format!(
            "\n**Queues**, measured on {}. All allocate with mimalloc. {}\n\n{}\n{}\n",
            part.machine.sentence(),
            circumstances(part),
            table(part),
            lost(part),
        );
    }
    if let Some(part) = &results.server {
        text += &format!(
            "\n**Server**, measured on {}. The server on one core, `singletrack load` on the other, texts of 64 bytes, order and loss \
             verified. CPU is the server's own time. The bare loop is epoll without queues, limits or time-outs: what the machine \
             allows. {}{}\n\n{}\n{}\n",
            part.machine.sentence(),
            circumstances(part),
            limited(part),
            table(part),
            lost(part),
        );
    }
    text
}

/// Whether the row is shown. Rows that repeat another are kept with the figures, but not shown.
fn is_shown(row: &Row<'_>) -> bool {
    let of_server = row.w.starts_with('S');
    let beside = row.w.starts_with("S4") && !["user bytes/conn", "p99 us"].contains(&row.metric);
    row.metric != GENERATOR && !beside && !(of_server && row.metric == "p50 us")
}

/// The circumstances of the measurement, and whether they spoil it.
fn circumstances(part: &Part) -> String {
    let rounds = match part.rounds {
        1 => "One round.".to_owned(),
        rounds => format!("Medians of up to {rounds} rounds, taken in turns."),
    };
    if part.busy > BUSY {
        return format!(
            "{rounds} **Other programs used the machine meanwhile ({:.0} threads wanted a core): figures to be taken again.**",
            part.busy
        );
    }
    rounds
}

/// `readme` with another section.
///
/// # Errors
/// When it does not have the marks, once each and in order.
pub(crate) fn replace(readme: &str, section: &str) -> Result<String, String> {
    let wrong = || format!("these two lines are needed, once each: {BEGIN} and {END}");
    let (before, rest) = readme.split_once(BEGIN).ok_or_else(wrong)?;
    let (_, after) = rest.split_once(END).ok_or_else(wrong)?;
    if after.contains(BEGIN) || after.contains(END) || before.contains(END) {
        return Err(wrong());
    }
    Ok(format!("{before}{BEGIN}\n{section}\n{END}{after}"))
}

/// A table in Markdown, ours first.
fn table(part: &Part) -> String {
    let peers = part.peers();
    let head: Vec<String> = peers.iter().map(|peer| heading(peer, part)).collect();
    let mut text = format!("| | {} |\n|---|{}\n", head.join(" | "), "---|".repeat(peers.len()));
    for row in part.rows().into_iter().filter(is_shown) {
        let best = row.best(|_| true).map(|figure| show::number(figure.value));
        let alone = row.figures.len() == 1;
        let cell = |peer: &&str| {
            let Some(value) = row.of(peer) else { return String::new() };
            let number = show::number(value);
            if !alone && best.as_ref() == Some(&number) { format!("**{number}**") } else { number }
        };
        let cells: Vec<String> = peers.iter().map(cell).collect();
        text += &format!("| {} | {} |\n", show::title(&row), cells.join(" | "));
    }
    text
}

/// The heading of a peer's column.
fn heading(peer: &str, part: &Part) -> String {
    let name = match peer {
        "std" => "std's locks",
        "parking_lot" => "parking_lot's locks",
        "bare" => "bare loop",
        "bun" => "uWebSockets in bun",
        name => name,
    };
    let version = part.versions.get(peer).map(|version| format!(" {version}"));
    format!("{name}{}", version.unwrap_or_default())
}

/// The rates that the generator limited.
fn limited(part: &Part) -> String {
    let busy = |row: &Row<'_>| row.metric == GENERATOR && row.of(OURS).is_some_and(|percent| percent > LIMIT);
    let names: Vec<&str> = part.rows().into_iter().filter(busy).map(|row| row.w).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        " With us, the generator was busy more than {LIMIT} % of the time in {}: there the rates are its limit.",
        names.join(", ")
    )
}

/// The rows in which another is better than we are, worst first, in a sentence for peers and one
/// for floors.
fn lost(part: &Part) -> String {
    let mut rows = part.rows();
    rows.retain(is_shown);
    let sentence = |lost: Vec<(f64, String)>| lost.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ");
    let floors = sentence(losses(&rows, |peer| FLOORS.contains(&peer)));
    let peers = sentence(losses(&rows, is_peer));
    let or = |text: String| if text.is_empty() { "nowhere in this run".to_owned() } else { text };
    format!(
        "Where we lose to others: {}.\n\nWhere a floor (a bare lock or loop, which does less) is ahead: {}.",
        or(peers),
        or(floors)
    )
}

/// The rows in which another is better, worst first: the factor by which we are better (less than
/// one), and the row in words.
fn losses(rows: &[Row<'_>], against: impl Fn(&str) -> bool) -> Vec<(f64, String)> {
    let mut lost: Vec<(f64, String)> = Vec::new();
    for row in rows {
        let (Some(ours), Some(best)) = (row.of(OURS), row.best(&against)) else { continue };
        let Some(times) = row.times_better(best.value) else { continue };
        let (own, other) = (show::number(ours), show::number(best.value));
        // Figures that look equal in the table are equal.
        if times < 1.0 && own != other {
            lost.push((times, format!("{} ({own}; {} {other})", show::title(row), best.peer)));
        }
    }
    lost.sort_by(|a, b| a.0.total_cmp(&b.0));
    lost
}

/// Rewrites the section in the file.
///
/// # Errors
/// With a sentence.
pub(crate) fn rewrite(path: &Path, section: &str) -> Result<(), String> {
    let old = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let new = replace(&old, section).map_err(|error| format!("{}: {error}", path.display()))?;
    std::fs::write(path, new).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, circumstances, is_shown, limited, lost, replace, section, summary, table};
    use crate::machine::Machine;
    use crate::picture;
    use crate::places::Places;
    use crate::results::{Figure, GENERATOR, OURS, Part, Results};

    fn part() -> Part {
        let figure = |w, metric, peer, value| Figure::of(w, metric, peer, vec![value]);
        let figures = vec![
            figure("Q1", "ns/op", OURS, 38.0),
            figure("Q1", "ns/op", "tokio", 34.0),
            figure("Q9", "Mtransfers/s", OURS, 5.0),
            figure("Q9", "Mtransfers/s", "tokio", 15.0),
            figure("Q9", "Mtransfers/s", "std", 116.0),
            figure("Q5", "ns/hop", OURS, 24.0),
            figure("Q5", "ns/hop", "tokio", 88.0),
            figure("Q6", "Mhops/s", OURS, 83.01),
            figure("Q6", "Mhops/s", "tokio", 83.02),
        ];
        Part::new((Machine::default(), 0.0), &["name = \"tokio\"\nversion = \"1.2.3\"\n".to_owned()], 5, figures)
    }

    #[test]
    fn the_best_of_a_row_is_bold_and_what_is_equal_is_equal() {
        let text = table(&part());
        assert!(text.starts_with("| | singletrack | tokio 1.2.3 | std's locks |\n|---|---|---|---|\n"), "{text}");
        assert!(text.contains("| 38.0 | **34.0** |  |\n"), "{text}");
        assert!(text.contains("| 5.00 | 15.0 | **116** |\n"), "{text}");
        assert!(text.contains("| **24.0** | 88.0 |  |\n"), "{text}");
        assert!(text.contains("| **83.0** | **83.0** |  |\n"), "{text}");
    }

    #[test]
    fn every_row_that_we_do_not_lead_is_named_worst_first() {
        let text = lost(&part());
        let (bank, submit) = (text.find("transfers between").unwrap(), text.find("submit to one queue").unwrap());
        assert!(bank < submit, "{text}");
        assert!(text.contains("(38.0; tokio 34.0)") && text.contains("(5.00; std 116)"), "{text}");
        assert!(!text.contains("message between") && !text.contains("round 1,000"), "{text}");
    }

    #[test]
    fn rates_that_are_the_generators_are_told_and_not_compared() {
        let mut part = part();
        for (peer, busy) in [(OURS, 99.0), ("tokio", 40.0)] {
            part.figures.push(Figure::of("S3", GENERATOR, peer, vec![busy]));
        }
        assert!(limited(&part).ends_with("of the time in S3: there the rates are its limit."));
        assert!(!table(&part).contains("99.0") && !lost(&part).contains("99.0"));
        part.figures.pop();
        part.figures.last_mut().unwrap().value = 95.0;
        assert_eq!(limited(&part), "");
    }

    #[test]
    fn a_run_on_a_busy_machine_says_so() {
        let mut part = part();
        assert_eq!(circumstances(&part), "Medians of up to 5 rounds, taken in turns.");
        (part.busy, part.rounds) = (17.25, 1);
        let said = circumstances(&part);
        assert!(said.starts_with("One round. **") && said.contains("17 threads wanted a core"), "{said}");
    }

    #[test]
    fn what_says_the_same_twice_is_not_shown() {
        let figure = |w, metric| Figure::of(w, metric, OURS, vec![7.0]);
        let figures = vec![
            figure("S4-10000", "user bytes/conn"),
            figure("S4-10000", "RSS bytes/conn"),
            figure("S3", "p50 us"),
            figure("S3", "p99 us"),
            figure("Q12", "p50 us"),
        ];
        let part = Part::new((Machine::default(), 0.0), &[], 5, figures);
        let shown = part.rows().into_iter().filter(is_shown).map(|row| row.w.to_owned() + row.metric);
        assert_eq!(shown.collect::<Vec<_>>(), ["S4-10000user bytes/conn", "S3p99 us", "Q12p50 us"]);
    }

    #[test]
    fn a_run_that_lost_nowhere_says_so() {
        let mut part = part();
        part.figures.retain(|figure| figure.w == "Q5");
        assert!(lost(&part).starts_with("Where we lose to others: nowhere in this run."));
    }

    #[test]
    fn this_repository_shows_what_was_measured() {
        let places = Places::find().unwrap();
        let results = Results::read(&places.results()).unwrap();
        let remedy = "run `cargo run --release -p singletrack-performance -- --render` and look at what changed";
        for (path, made) in [(places.readme(), summary(&results)), (places.tables(), section(&results))] {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.display();
            assert!(
                replace(&text, &made).unwrap() == text,
                "{path} is not what performance/results.json says: {remedy}"
            );
        }
        let drawn = std::fs::read_to_string(places.picture()).unwrap_or_default();
        assert!(drawn == picture::svg(&results).unwrap(), "nor is its picture: {remedy}");
    }

    #[test]
    fn the_summary_has_a_few_rows_and_the_worst_losses() {
        let mut part = part();
        let figure = |w, metric, peer, value| Figure::of(w, metric, peer, vec![value]);
        for (w, times) in [("Q7", 2.0), ("Q16", 3.0), ("Q17", 4.0), ("Q18", 5.0)] {
            part.figures.extend([figure(w, "M/s", OURS, 1.0), figure(w, "M/s", "tokio", times)]);
        }
        let text = summary(&Results { queues: Some(part), server: None });
        assert!(text.contains("| submit to one queue, ns/op | 38.0 | 34.0 (tokio) |\n"), "{text}");
        assert!(!text.contains("round 1,000") && !text.contains("std 116"), "{text}");
        let losses: Vec<&str> = text.lines().filter(|line| line.starts_with("- ")).collect();
        assert_eq!(losses.len(), 5, "{text}");
        assert!(losses[0].starts_with("- Q18") && losses[4].contains("(1.00; tokio 2.00)"), "{text}");
        let text = summary(&Results { queues: None, server: None });
        assert!(text.ends_with("- nowhere\n"), "{text}");
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let readme = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let section = section(&Results { queues: Some(part()), server: None });
        let made = replace(&readme, &section).unwrap();
        assert!(made.starts_with("before\n<!--") && made.ends_with("-->\nafter\n") && !made.contains("old"));
        assert_eq!(replace(&made, &section).unwrap(), made, "a second time changes nothing");
        for wrong in [String::new(), BEGIN.to_owned(), format!("{END}{BEGIN}"), format!("{BEGIN}{END}{BEGIN}{END}")] {
            assert!(replace(&wrong, "new").is_err(), "{wrong:?}");
        }
    }
}
