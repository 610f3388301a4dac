//! Whole runs, by the program itself.

use std::path::Path;

use tidings_sim::draw;
use tidings_sim::plan::Plan;
use tidings_sim::runner::Runner;
use tidings_sim::shrink::Shrinking;

fn runner() -> Runner {
    Runner::new(env!("CARGO_BIN_EXE_tidings-sim").into(), &["one"])
}

#[test]
fn a_seed_runs_the_same_in_every_process() {
    for seed in 0..3 {
        let plan = draw::plan(seed, 4);
        let [first, second] = [true, false].map(|keep| runner().run(seed, &plan, keep).unwrap());
        assert_eq!(first.outcome.violation, None, "seed {seed}");
        assert_eq!(first.outcome.hash, second.outcome.hash, "seed {seed}");
        assert!(first.outcome.lines.len() > 100 && second.outcome.lines.is_empty());
    }
}

#[test]
fn different_seeds_run_differently() {
    let plan = draw::plan(1, 3);
    let [one, other] = [1, 2].map(|seed| runner().run(seed, &plan, false).unwrap().outcome.hash);
    assert_ne!(one, other);
}

#[test]
fn every_scenario_is_a_plan_that_says_what_it_promises() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let plan = Plan::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(!plan.promise.is_empty(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 15, "{count} scenarios");
}

#[test]
fn a_failing_run_shrinks_to_what_makes_it_fail() {
    let mut text = "nodes = 4\nchaos_s = 8.0\n".to_owned();
    for host in 0..3 {
        text += &format!(
            "[[event]]\nat = 1.0\ndo = 'subscribe'\nhost = {host}\nagent = 0\npattern = 'a'\n"
        );
    }
    text += "[[event]]\nat = 2.0\ndo = 'isolate'\nhost = 1\n[[event]]\nat = 3.0\ndo = 'heal'\n";
    text += "[[event]]\nat = 7.0\ndo = 'expect-members'\non = [0]\ntopic = 'a'\nmembers = 4\n";
    let shrunk = Shrinking::begin(runner(), Plan::parse(&text).unwrap())
        .unwrap()
        .run(60, |_, _| {});
    assert!(
        shrunk.violation.starts_with("expectation"),
        "{}",
        shrunk.violation
    );
    assert_eq!(shrunk.plan.event.len(), 1, "{:?}", shrunk.plan);
}
