//! One complaint about the file: where, what, and what to do. Shows no secret.
//!
//! A diagnostic carries its own excerpt of the file, masked when it was made, so that whoever shows
//! it needs neither the text nor the knowledge of which parts of it are secret.

use std::fmt::Write as _;
use std::ops::Range;

use serde::Serialize;

/// How many complaints of one file are told: enough to repair it in one go, few enough to read.
pub const MAX_DIAGNOSTICS: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used.
    Warning,
}

/// Each kind with its word, and what the reader should know of it.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal,)+) => {
        /// What is wrong, in a word that programs may match on. Warnings come after the errors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind),+ }

        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$kind),+];

            /// The word of the machine form.
            pub fn as_str(self) -> &'static str {
                match self { $(Kind::$kind => $word),+ }
            }
        }
    };
}

kinds! {
    TomlSyntax = "toml_syntax",
    UnknownField = "unknown_field",
    WrongType = "wrong_type",
    MissingField = "missing_field",
    /// The type is right and the value is none of those allowed.
    ValueInvalid = "value_invalid",
    EmptyId = "empty_id",
    IdWhitespace = "id_whitespace",
    IdCharset = "id_charset",
    IdTooLong = "id_too_long",
    ReservedId = "reserved_id",
    DuplicateId = "duplicate_id",
    DefaultEmpty = "default_empty",
    DefaultUnknown = "default_unknown",
    TransportMissing = "transport_missing",
    TransportConflict = "transport_conflict",
    RequiresProgram = "requires_program",
    RequiresUrl = "requires_url",
    UrlEmpty = "url_empty",
    UrlScheme = "url_scheme",
    UrlInvalid = "url_invalid",
    ProgramEmpty = "program_empty",
    DurationInvalid = "duration_invalid",
    InsecureCredential = "insecure_credential",
    HeaderValueInvalid = "header_value_invalid",
    SecretSourceMissing = "secret_source_missing",
    SecretSourceConflict = "secret_source_conflict",
    TlsRequiresWss = "tls_requires_wss",
    PathConventionMismatch = "path_convention_mismatch",
    /// The first warning.
    InlineSecret = "inline_secret",
    ZeroTimeout = "zero_timeout",
    IdsDifferOnlyInCase = "ids_differ_only_in_case",
    IdResemblesReserved = "id_resembles_reserved",
    EmptyCwd = "empty_cwd",
    UrlPortInvalid = "url_port_invalid",
    EnvKeyInvalid = "env_key_invalid",
    LegacyVariableIgnored = "legacy_variable_ignored",
    OverlayUnknown = "overlay_unknown",
}

impl Kind {
    pub fn severity(self) -> Severity {
        if self < Kind::InlineSecret {
            Severity::Error
        } else {
            Severity::Warning
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One complaint. Serialises to `{kind, key, environment?, line, column, message, help}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    #[serde(skip)]
    pub severity: Severity,
    pub kind: Kind,
    /// A path such as `environments[1].url`; none when the text is not TOML.
    pub key: Option<String>,
    /// The entry's id, once it is known to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// From 1.
    pub line: usize,
    /// In Unicode scalar values from 1; a byte-order mark does not count.
    pub column: usize,
    pub message: String,
    pub help: Option<String>,
    /// Bytes of the text as it was given, byte-order mark included.
    #[serde(skip)]
    pub span: Range<usize>,
    #[serde(skip)]
    pub(super) excerpt: Excerpt,
}

/// The part of the line worth showing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) text: String,
    /// Scalar values before the carets, and how many carets.
    pub(super) indent: usize,
    pub(super) width: usize,
    /// Said behind the carets.
    pub(super) label: String,
}

impl Diagnostic {
    /// The form for people: position, line, carets, help. Ends without a line break.
    pub fn render(&self, file_name: &str) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut out = format!(
            "{file_name}:{}:{}: {severity}[{}]: {}",
            self.line,
            self.column,
            self.kind.as_str(),
            self.message
        );
        let Excerpt {
            text,
            indent,
            width,
            label,
        } = &self.excerpt;
        if !text.is_empty() {
            let number = self.line.to_string();
            let gutter = number.len();
            let carets = format!("{:indent$}{:^<width$} {label}", "", "^");
            let _ = write!(
                out,
                "\n  {number} | {text}\n  {:gutter$} | {}",
                "",
                carets.trim_end()
            );
        }
        if let Some(help) = &self.help {
            let _ = write!(out, "\n  help: {help}");
        }
        out
    }
}
