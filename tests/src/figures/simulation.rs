//! Seeds of the simulation that one core runs in a minute.
//!
//! *Next stop*: `simulation/`.

use crate::Figure;
use std::process::{Command, Stdio};
use yadkv_tests::binary;

const SEEDS: &str = "60";
const SEEDS_A_MINUTE_MIN: f64 = 20.0;

pub(crate) fn measure() -> Vec<Figure> {
    let output = Command::new(binary().with_file_name("yadkv-simulation"))
        .args(["--seeds", SEEDS])
        .stderr(Stdio::inherit())
        .output()
        .expect("`make figures` builds it");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "a seed fails: {text}");
    // The last line: "60 seeds, 0 failed, 123.4 seeds a minute".
    let words: Vec<&str> = text.split_whitespace().collect();
    let rate = words.len().checked_sub(4).map(|at| words[at]);
    let rate = rate.and_then(|word| word.parse().ok());
    vec![Figure::at_least(
        "simulation, one core",
        SEEDS_A_MINUTE_MIN,
        rate.expect("the rate is printed last"),
        "seeds a minute",
    )]
}
