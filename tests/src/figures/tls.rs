//! What encryption costs: the same loads on a plain cluster and on one with mutual TLS, in turn.
//!
//! *Next stop*: [`super::bench`].

use super::Figure;
use super::bench::run;

const ROUNDS: usize = 3;
const SECONDS: &str = "8";
/// Part of the plain throughput that has to be left.
const LEFT: f64 = 0.75;

/// Measures puts and gets of 256 clients.
pub(crate) fn measure() -> Vec<Figure> {
    ["put", "get"].map(figure).into()
}

fn figure(workload: &str) -> Figure {
    let rate = |more: &[&str]| {
        let arguments = [
            &["--workload", workload, "--clients", "256"][..],
            &["--records", "50000", "--warm-up", "2"],
            &["--seconds", SECONDS],
            more,
        ];
        let arguments: Vec<_> = arguments.concat().iter().map(|&one| one.into()).collect();
        run(&arguments).rate
    };
    let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| rate(&["--tls"]) / rate(&[])).collect();
    ratios.sort_by(f64::total_cmp);
    let what = format!("{workload} with TLS, 256 clients, of the same without; median of three");
    Figure::at_least(what, LEFT, ratios[ROUNDS / 2], "×")
}
