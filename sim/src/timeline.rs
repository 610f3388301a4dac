use crate::journal::Line;
use crate::plan::Plan;
use crate::world::Outcome;

/// A page that shows a run, in one file that needs nothing else: a lane for each host, what happened
/// there, how much its view showed, and where it went wrong.
pub fn html(plan: &Plan, outcome: &Outcome) -> String {
    let lines = serde_json::to_string(&outcome.lines).expect("lines of a trace have a json form");
    // So that no text in it ends the script.
    let lines = lines.replace("</", "<\\/");
    let title = match &outcome.violation {
        Some(violation) => format!("seed {}: {violation}", plan.seed),
        None => format!("seed {}: nothing went wrong", plan.seed),
    };
    PAGE.replace("{title}", &escape(&title))
        .replace("{hosts}", &plan.nodes.to_string())
        .replace("{end_ms}", &end_ms(&outcome.lines).to_string())
        .replace("{lines}", &lines)
}

const PAGE: &str = include_str!("timeline.html");

fn end_ms(lines: &[Line]) -> u64 {
    lines.last().map_or(0, |line| line.at_ms)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
