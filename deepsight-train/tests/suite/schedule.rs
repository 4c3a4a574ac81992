//! Compares schedules with PyTorch's. The expected values come from `schedule/schedule.py`.

use deepsight_train::schedule::{Plateau, Schedule, ScheduleConfig, Scheduler};
use serde_json::Value;

use crate::numbers;

const RATE: f64 = 0.05;
const TOTAL: usize = 40;
const WARMUP: usize = 6;

fn expected(name: &str) -> Vec<f64> {
    let all: Value = serde_json::from_str(include_str!("schedule/schedule.json")).unwrap();
    numbers(&all[name])
}

fn is_pytorchs(name: &str, mut schedule: Schedule) {
    for (step, expected) in expected(name).into_iter().enumerate() {
        let rate = schedule.next_rate();
        assert!((rate - expected).abs() < 1e-12, "{name}, step {step}: {rate} instead of {expected}");
    }
}

#[test]
fn steps_match_pytorchs() {
    let config = ScheduleConfig::new(RATE, TOTAL, Scheduler::Step { every: 7, factor: 0.3 });
    is_pytorchs("step", config.init().unwrap());
    is_pytorchs("step_warm", config.with_warmup(WARMUP).init().unwrap());
}

#[test]
fn the_cosine_matches_pytorchs() {
    let config = ScheduleConfig::new(RATE, TOTAL, Scheduler::Cosine { minimum: 0.001 });
    is_pytorchs("cosine", config.init().unwrap());
    is_pytorchs("cosine_warm", config.with_warmup(WARMUP).init().unwrap());
}

#[test]
fn reductions_on_a_plateau_match_pytorchs() {
    let mut cooled = Plateau::new(0.1, 0);
    (cooled.cooldown, cooled.threshold, cooled.minimum) = (3, 0.01, 0.0002);
    for (name, plateau) in [("plateau", Plateau::new(0.5, 2)), ("plateau_cooldown", cooled)] {
        let mut schedule = ScheduleConfig::new(RATE, TOTAL, Scheduler::Plateau(plateau)).init().unwrap();
        for (epoch, (measure, expected)) in expected("measures").into_iter().zip(expected(name)).enumerate() {
            let rate = schedule.next_rate();
            assert!((rate - expected).abs() < 1e-12, "{name}, epoch {epoch}: {rate} instead of {expected}");
            schedule.observe(measure);
        }
    }
}

#[test]
fn a_schedule_continues_from_its_state() {
    let plateau = ScheduleConfig::new(RATE, TOTAL, Scheduler::Plateau(Plateau::new(0.5, 0)));
    let cosine = ScheduleConfig::new(RATE, TOTAL, Scheduler::Cosine { minimum: 0.0 }).with_warmup(WARMUP);
    for config in [plateau, cosine] {
        let mut whole = config.init().unwrap();
        (0..9).for_each(|_| {
            whole.next_rate();
            whole.observe(0.5);
        });
        let state = serde_json::from_str(&serde_json::to_string(&whole.state()).unwrap()).unwrap();
        let mut resumed = config.init().unwrap().resume(state).unwrap();
        assert_eq!(
            (0..9).map(|_| resumed.next_rate()).collect::<Vec<_>>(),
            (0..9).map(|_| whole.next_rate()).collect::<Vec<_>>()
        );
    }
    assert!(cosine.init().unwrap().resume(plateau.init().unwrap().state()).is_err());
}

#[cfg(feature = "flex")]
#[test]
fn a_schedule_is_a_burn_scheduler_that_saves_and_loads() {
    use burn::lr_scheduler::LrScheduler;

    type B = burn::backend::Flex;
    let config = ScheduleConfig::new(RATE, TOTAL, Scheduler::Plateau(Plateau::new(0.5, 0)));
    let mut whole = config.init().unwrap();
    (0..5).for_each(|_| {
        LrScheduler::step(&mut whole);
        whole.observe(0.5);
    });
    let loaded = config.init().unwrap().load_record::<B>(LrScheduler::to_record::<B>(&whole));
    assert_eq!(loaded, whole);
}

#[test]
fn settings_outside_their_range_are_named() {
    let message = |config: ScheduleConfig| config.init().unwrap_err().to_string();
    let step = |every, factor| ScheduleConfig::new(RATE, TOTAL, Scheduler::Step { every, factor });
    assert_eq!(message(step(0, 0.5)), "scheduler.every is 0: 1 or more is needed");
    assert_eq!(message(step(3, 1.5)), "scheduler.factor is 1.5: a number above 0 and at most 1 is needed");
    let rate = |rate| ScheduleConfig::new(rate, TOTAL, Scheduler::Cosine { minimum: 0.0 });
    assert_eq!(message(rate(f64::NAN)), "learning_rate is NaN: a number above 0 is needed");
    let plateau = ScheduleConfig::new(RATE, TOTAL, Scheduler::Plateau(Plateau::new(1.0, 2)));
    assert_eq!(message(plateau), "scheduler.factor is 1: a number above 0 and below 1 is needed");
}
