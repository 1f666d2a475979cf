//! What was found, and how it is shown.

use std::io;
use std::time::Duration;

use serde::Serialize;

use super::probe::in_milliseconds;
use super::{FAILED, milliseconds};
use crate::render;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Ok,
    /// It works, and will not always or not for everybody.
    Warning,
    Failed,
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) result: Verdict,
    pub(super) took_ms: Option<f64>,
    pub(super) found: String,
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: String) -> Finding {
        Finding::new(check, Verdict::Ok, found)
    }

    pub(super) fn warning(check: &'static str, found: String) -> Finding {
        Finding::new(check, Verdict::Warning, found)
    }

    pub(super) fn failed(check: &'static str, found: String) -> Finding {
        Finding::new(check, Verdict::Failed, found)
    }

    pub(super) fn try_this(mut self, remedy: &str) -> Finding {
        self.remedy = Some(remedy.to_owned());
        self
    }

    pub(super) fn took(mut self, took: Duration) -> Finding {
        self.took_ms = Some(in_milliseconds(took));
        self
    }

    fn new(check: &'static str, result: Verdict, found: String) -> Finding {
        Finding {
            check,
            result,
            took_ms: None,
            found,
            remedy: None,
        }
    }
}

/// The findings about an environment, by its id and transport; about the file without.
pub(super) type Section = (Option<(String, String)>, Vec<Finding>);

/// Prints the report and gives the exit code.
pub(super) fn show(report: &[Section], json: bool) -> io::Result<u8> {
    if json {
        for (about, findings) in report {
            let environment = about.as_ref().map(|(id, _)| id.as_str());
            for finding in findings {
                render::print_json_line(&Line {
                    environment,
                    finding,
                })?;
            }
        }
    } else {
        render::print_report(&words(report))?;
    }
    let mut all = report.iter().flat_map(|(_, findings)| findings);
    Ok(match all.any(|finding| finding.result == Verdict::Failed) {
        true => FAILED,
        false => 0,
    })
}

#[derive(Serialize)]
struct Line<'a> {
    environment: Option<&'a str>,
    #[serde(flatten)]
    finding: &'a Finding,
}

fn words(report: &[Section]) -> String {
    let mut text = String::new();
    for (about, findings) in report {
        match about {
            Some((id, transport)) => text.push_str(&format!("{id} ({transport})\n")),
            None => text.push_str("configuration\n"),
        }
        let widths = findings.iter().map(|finding| finding.check.len());
        let width = widths.fold(CHECK_WIDTH, usize::max);
        for finding in findings {
            text.push_str(&line(finding, width));
        }
    }
    text
}

/// Of the column of checks, unless one of them is longer.
const CHECK_WIDTH: usize = 12;

fn line(finding: &Finding, width: usize) -> String {
    let verdict = match finding.result {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
    };
    let took = milliseconds(finding.took_ms);
    let check = finding.check.replace('_', " ");
    // What is told in several lines stays below itself.
    let found = finding.found.trim_end().replace('\n', "\n           ");
    let line = format!("  {verdict:<7}  {check:<width$} {took:>10}  {found}");
    let mut text = format!("{}\n", line.trim_end());
    if let Some(remedy) = &finding.remedy {
        text.push_str(&format!("           try: {remedy}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_a_line_and_its_remedy_another() {
        let tcp = Finding::ok("tcp", "127.0.0.1:1".to_owned()).took(Duration::from_micros(250));
        let failed = Finding::failed("initialize", "no answer\nat all".to_owned());
        let about = Some(("box".to_owned(), "ws://h".to_owned()));
        let report = [
            (None, vec![Finding::ok("file", "/f".to_owned())]),
            (about, vec![tcp, failed.try_this("start it")]),
        ];
        assert_eq!(
            words(&report),
            "configuration\n  \
             ok       file                     /f\n\
             box (ws://h)\n  \
             ok       tcp             0.25 ms  127.0.0.1:1\n  \
             FAILED   initialize               no answer\n           at all\n           \
             try: start it\n"
        );
    }
}
