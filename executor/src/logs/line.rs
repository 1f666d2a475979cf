//! One event as one line.
//!
//! ```text
//!   2026-11-20T23:23:08.378Z INFO connection{conn=1 peer=127.0.0.1:5}: session attached session=4f..
//!   {"t":"2026-11-20T23:23:08.378Z","level":"info","target":"..","msg":"session attached",..}
//! ```

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use crate::shown::{CUT, Shown, write_json};

/// Bytes of a whole line (`security` section 5). Fields that find no room are left out, and the
/// line says so.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024;

/// Kept back for the end of a line.
const END_BYTES: usize = 64;

/// Of JSON of one field. A field is cut before, so this cuts nothing.
const FIELD_JSON_BYTES_MAX: usize = 8 * 1024;

/// Makes lines of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    format: LogFormat,
}

impl Line {
    pub(super) fn new(format: LogFormat) -> Line {
        Line { format }
    }

    fn fields(self) -> Fields {
        Fields {
            format: self.format,
            message: Shown::default(),
            out: String::new(),
        }
    }
}

impl<'writer> FormatFields<'writer> for Line {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, from: R) -> fmt::Result {
        let mut fields = self.fields();
        from.record(&mut fields);
        writer.write_str(&fields.out)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        from: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let mut fields = self.fields();
        from.record(&mut fields);
        current.fields.push_str(&fields.out);
        Ok(())
    }
}

impl<S> FormatEvent<S, Line> for Line
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Line>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = self.fields();
        event.record(&mut fields);
        let mut spans = Vec::new();
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<Line>>();
            spans.push((
                span.name(),
                fields.map_or_else(String::new, |it| it.fields.clone()),
            ));
        }
        let at = Timestamp::now();
        let line = match self.format {
            LogFormat::Human => human(at, event, &spans, &fields),
            LogFormat::Json => json(at, event, &spans, &fields),
        };
        writer.write_str(&line)
    }
}

fn human(at: Timestamp, event: &Event<'_>, spans: &[(&str, String)], fields: &Fields) -> String {
    let mut line = format!("{at:.3} {:>5} ", event.metadata().level().as_str());
    for (name, fields) in spans {
        push(&mut line, &[name, "{", fields.trim_start(), "}: "]);
    }
    push(&mut line, &[fields.message.as_str()]);
    push(&mut line, &[&fields.out]);
    line.push('\n');
    line
}

fn json(at: Timestamp, event: &Event<'_>, spans: &[(&str, String)], fields: &Fields) -> String {
    let metadata = event.metadata();
    let mut line = format!(
        r#"{{"t":"{at:.3}","level":"{}","target":"{}","msg":"#,
        metadata.level().as_str().to_ascii_lowercase(),
        metadata.target(),
    );
    write_json(&mut line, fields.message.as_str(), FIELD_JSON_BYTES_MAX);
    push(&mut line, &[&fields.out]);
    if !spans.is_empty() {
        line.push_str(r#","spans":["#);
        for (index, (name, fields)) in spans.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            push(&mut line, &[comma, r#"{"name":""#, name, "\"", fields, "}"]);
        }
        line.push(']');
    }
    line.push_str("}\n");
    line
}

/// Appends all of it, or the mark that it is missing: half of it would be no JSON.
fn push(line: &mut String, parts: &[&str]) {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    if line.len() + bytes <= LINE_BYTES_MAX - END_BYTES {
        parts.iter().for_each(|part| line.push_str(part));
    } else if line.starts_with('{') {
        // As a member or as an element, whatever is open.
        let is_list = line.contains(r#","spans":["#);
        let mark = match (is_list, line.ends_with('[')) {
            (false, _) => r#","cut":true"#,
            (true, true) => r#""…""#,
            (true, false) => r#","…""#,
        };
        if !line.ends_with(mark) {
            line.push_str(mark);
        }
    } else if !line.ends_with(CUT) {
        line.push(CUT);
    }
}

/// Takes the fields of one event or span.
struct Fields {
    format: LogFormat,
    message: Shown,
    out: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>, is_number: bool) {
        let name = field.name();
        if name == "message" {
            self.message = Shown::of(value);
            return;
        }
        // What collectors of spans are told in their own words.
        if name.starts_with("otel.") {
            return;
        }
        if self.out.len() > LINE_BYTES_MAX {
            return;
        }
        let shown = Shown::of(value);
        // A string takes whatever is written to it.
        let _ = match self.format {
            LogFormat::Human => write!(self.out, " {name}={}", Quoted(shown.as_str())),
            LogFormat::Json if is_number => write!(self.out, r#","{name}":{shown}"#),
            LogFormat::Json => {
                let _ = write!(self.out, r#","{name}":"#);
                write_json(&mut self.out, shown.as_str(), FIELD_JSON_BYTES_MAX);
                Ok(())
            }
        };
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"), false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"), false);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, format_args!("{value}"), true);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, format_args!("{value}"), true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, format_args!("{value}"), true);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, format_args!("{value}"), false);
    }
}

/// A value that cannot be taken for two: quoted unless it is one plain word.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_alphanumeric() || "_./:@+-,[]()#%".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for character in self.0.chars() {
            if character == '"' {
                f.write_char('\\')?;
            }
            f.write_char(character)?;
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Memory {
        type Writer = Memory;

        fn make_writer(&self) -> Memory {
            self.clone()
        }
    }

    /// The lines of what `say` logs, without their times.
    fn said(format: LogFormat, say: impl FnOnce()) -> Vec<String> {
        let memory = Memory::default();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(Line::new(format))
            .event_format(Line::new(format))
            .with_ansi(false)
            .with_writer(memory.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, say);
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }

    const NASTY: &str = "x\u{1b}[2J\n2026 ERROR forged=\"1\"\u{202e}";

    fn say_nasty() {
        let span = tracing::info_span!("connection", conn = 7, late = tracing::field::Empty);
        let _entered = span.enter();
        span.record("late", "now");
        tracing::warn!(
            process = NASTY,
            shown = %NASTY,
            otel.name = "hidden",
            ok = true,
            "a message"
        );
    }

    #[test]
    fn what_a_peer_says_stays_one_field_of_one_line() {
        let lines = said(LogFormat::Human, say_nasty);
        let quoted = r#""x\u{1b}[2J\u{a}2026 ERROR forged=\"1\"\u{202e}""#;
        let wanted = format!(
            "  WARN connection{{conn=7 late=now}}: a message process={quoted} shown={quoted} ok=true"
        );
        let (time, rest) = lines[0].split_at("2026-11-20T23:23:08.378Z".len());
        assert!(time.ends_with('Z'), "{time}");
        assert_eq!((rest, lines.len()), (wanted.as_str(), 1));
    }

    #[test]
    fn a_line_for_programs_is_one_object() {
        let lines = said(LogFormat::Json, say_nasty);
        let mut line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert!(line.as_object_mut().unwrap().remove("t").is_some());
        let shown = r#"x\u{1b}[2J\u{a}2026 ERROR forged="1"\u{202e}"#;
        let wanted = json!({
            "level": "warn", "target": "farstep_executor::logs::line::tests", "msg": "a message",
            "process": shown, "shown": shown, "ok": true,
            "spans": [{"name": "connection", "conn": 7, "late": "now"}],
        });
        assert_eq!((line, lines.len()), (wanted, 1));
    }

    #[test]
    fn lines_and_their_fields_are_bounded() {
        let long = "é\u{1b}\"".repeat(100_000);
        let say = || {
            let spans: Vec<_> = (0..20)
                .map(|_| tracing::info_span!("span", a = long, b = long).entered())
                .collect();
            tracing::info!(c = long, d = %long, e = ?long, "{long}");
            spans.into_iter().rev().for_each(drop);
            tracing::info!(
                a = long,
                b = long,
                c = long,
                d = long,
                e = long,
                f = long,
                "{long}"
            );
        };
        for format in [LogFormat::Human, LogFormat::Json] {
            let lines = said(format, say);
            assert_eq!(lines.len(), 2);
            for line in &lines {
                assert!(line.len() < LINE_BYTES_MAX, "{}", line.len());
                assert!(line.contains(CUT) || line.contains("cut"), "{line}");
                if format == LogFormat::Json {
                    serde_json::from_str::<Value>(line).unwrap();
                }
            }
        }
    }
}
