//! Random programs: forests of queues of every kind, on runtimes of their own, and threads that do
//! everything to them.
//!
//! Other families put one promise under much load. These programs test all promises side by side,
//! in combinations that nobody thought of. The tests of the queues run a seed that breaks a promise
//! again.

use std::time::Duration;

use super::choice::Choice;
use super::fault::Fault;
use super::programs::{Plant, Program, run};
use super::round::{Family, Place, Round};
use super::score::Check;

pub(super) const FAMILY: Family = Family {
    name: "random-programs",
    checks: &[Check { name: "random-programs", counts: "blocks of random programs, which kept every promise" }],
    place: Place::Beside,
    round,
};

/// The number of programs in a round.
const PROGRAMS: usize = 10;
/// The time without movement after which a program counts as hung. It is shorter than the patience
/// with a family, whose report says less.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for programs that are broken on purpose, some of which hang for it.
const SHORT: Duration = Duration::from_secs(3);

/// The plant for a fault that programs can notice.
fn plant(fault: Fault) -> Option<Plant> {
    Some(match fault {
        Fault::TwoAtOnce | Fault::WidthExceeded | Fault::BarrierBypassed => Plant::Astray,
        Fault::OrderSwapped => Plant::Swapped,
        Fault::BlockLost => Plant::Lost,
        Fault::BlockTwice => Plant::Twice,
        Fault::BarrierOvertaken => Plant::Overtaken,
        Fault::ResumeLost => Plant::ResumeLost,
        Fault::TimerEarly => Plant::Early,
        Fault::CancelIgnored => Plant::CancelIgnored,
        Fault::PermitTwice => Plant::PermitTwice,
        Fault::ValueMissing => Plant::ValueMissing,
        Fault::AdditionTwice => Plant::AdditionTwice,
        Fault::EndTwice => Plant::EndTwice,
        Fault::MemberForgotten => Plant::MemberForgotten,
        Fault::NumberSkipped => Plant::NumberSkipped,
        _ => return None,
    })
}

fn round(round: &Round, mut choice: Choice) {
    let (score, plant) = (round.score(0), round.ground.fault.and_then(plant));
    let patience = if plant.is_some() { SHORT } else { PATIENCE };
    for _ in 0..PROGRAMS {
        if round.is_stopped() {
            return;
        }
        let seed = choice.between(0..=usize::try_from(u32::MAX).unwrap_or(usize::MAX)) as u64;
        round.stage(format_args!("the random program of seed {seed}"));
        let program = Program::draw(seed);
        let text = program.to_string();
        let outcome = match run(program, plant, patience) {
            Ok(outcome) => outcome,
            Err(error) => return score.broken(|| format!("no runtime of its own: {error}")),
        };
        score.verified(outcome.blocks);
        round.ground.count(outcome.blocks);
        // A hang comes last: it may follow from another.
        if let Some(first) = outcome.findings.iter().min_by_key(|found| found.check) {
            return score.broken(|| {
                format!(
                    "{:?}: {}\nSINGLETRACK_SEED={seed} cargo test -p singletrack-queues --test it random_programs\n{text}",
                    first.check, first.text
                )
            });
        }
    }
}
