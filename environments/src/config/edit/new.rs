//! An entry that is to be written.

use std::fmt;

use toml_edit::{Array, InlineTable, Item, Table, Value};

use super::super::{Os, SecretSource};

/// Where a long array goes on in the next line, in letters: what fits into a terminal.
const LINE_MAX: usize = 96;
const INDENT: &str = "\n    ";

/// What an entry says. Nothing of it is checked here: the loader judges the file as a whole.
#[derive(Clone, Debug)]
pub struct NewEntry {
    pub id: String,
    pub transport: NewTransport,
    /// Where a websocket's token is read from on each connect. There is no way to write a token
    /// itself: it would have to be typed where others can see it.
    pub bearer: Option<SecretSource>,
    /// Where commands start, as the executor's machine writes it.
    pub cwd: Option<String>,
    /// In seconds; `None` leaves it to the default.
    pub initialize_timeout: Option<u32>,
    /// What its machine was found to be, to be held to it.
    pub machine: Option<(Os, String)>,
}

/// How the executor is reached.
#[derive(Clone)]
pub enum NewTransport {
    Url(String),
    Program { program: String, args: Vec<String> },
}

/// Arguments may hold secrets, and so may a URL.
impl fmt::Debug for NewTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NewTransport::Url(_) => f.write_str("Url(..)"),
            NewTransport::Program { program, args } => f
                .debug_struct("Program")
                .field("program", program)
                .field("args", &format_args!("[{} arguments]", args.len()))
                .finish(),
        }
    }
}

impl NewEntry {
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        let mut put = |key: &str, value: Value| table.insert(key, Item::Value(value));
        put("id", self.id.as_str().into());
        match &self.transport {
            NewTransport::Url(url) => {
                put("url", url.as_str().into());
            }
            NewTransport::Program { program, args } => {
                put("program", program.as_str().into());
                if !args.is_empty() {
                    put("args", wrapped("args", args).into());
                }
            }
        }
        if let Some(seconds) = self.initialize_timeout {
            put("initialize_timeout_sec", i64::from(seconds).into());
        }
        let mut farstep = Table::new();
        if let Some((os, arch)) = &self.machine {
            farstep.insert("os", Item::Value(os.as_str().into()));
            farstep.insert("arch", Item::Value(arch.as_str().into()));
        }
        if let Some(cwd) = &self.cwd {
            farstep.insert("cwd", Item::Value(cwd.as_str().into()));
        }
        if let Some(bearer) = &self.bearer {
            let mut auth = Table::new();
            auth.insert("bearer", Item::Value(source(bearer).into()));
            farstep.set_implicit(farstep.is_empty());
            farstep.insert("auth", Item::Table(auth));
        }
        if !farstep.is_empty() {
            table.insert("farstep", Item::Table(farstep));
        }
        table
    }
}

fn source(bearer: &SecretSource) -> InlineTable {
    let mut table = InlineTable::new();
    match bearer {
        SecretSource::Env(name) => table.insert("env", name.as_str().into()),
        SecretSource::File(path) => table.insert("file", path.display().to_string().into()),
        SecretSource::Command(words) => {
            let words: Array = words.iter().map(String::as_str).collect();
            table.insert("command", words.into())
        }
    };
    table
}

/// An array that goes on in the next line where it would be too long for one.
fn wrapped(key: &str, texts: &[String]) -> Array {
    let mut array = Array::new();
    let mut column = key.len() + " = [".len();
    for (number, text) in texts.iter().enumerate() {
        let value = Value::from(text.as_str());
        let width = value.to_string().trim().chars().count() + ", ".len();
        let wraps = number > 0 && column + width > LINE_MAX;
        let before = match (number, wraps) {
            (0, _) => "",
            (_, true) => INDENT,
            (_, false) => " ",
        };
        column = if wraps { INDENT.len() } else { column } + width;
        array.push_formatted(value.decorated(before, ""));
    }
    array
}
