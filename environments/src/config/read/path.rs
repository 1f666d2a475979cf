//! Paths of another machine, before anybody has spoken to it.

use farstep_path_uri::{Convention, PathUri};

use super::super::extension::Word;
use super::super::{Kind, Os};
use super::node::Item;
use super::sink::Sink;

/// A path of the executor's machine: its native text, or a URI.
///
/// Where `os` is said it decides; else the spelling does, and a path that is absolute in no
/// spelling is no path.
pub(super) fn remote_path(
    item: &Item<'_, '_>,
    os: Option<Os>,
    sink: &mut Sink<'_>,
) -> Option<PathUri> {
    let text = item.string(sink)?;
    let declared = os.map(Os::convention);
    let outcome = if text.starts_with("file:") {
        PathUri::parse_strict(text)
    } else {
        match declared {
            Some(convention) => PathUri::from_native(text, convention),
            None => PathUri::from_native(text, Convention::Posix)
                .or_else(|_| PathUri::from_native(text, Convention::Windows)),
        }
    };
    let found = match &outcome {
        Ok(uri) => uri.convention(),
        Err(_) => absolute_in(text),
    };
    if let (Some(os), Some(declared), Some(found)) = (os, declared, found)
        && declared != found
    {
        let message = format!(
            "{} is not a path of {}",
            sink.subject(&item.path),
            os.word()
        );
        sink.report(
            item.bad(Kind::PathConventionMismatch, message)
                .label(format!("this is a {found} path"))
                .help("change os, or write the path as that machine does"),
        );
        return None;
    }
    match outcome {
        Ok(uri) => Some(uri),
        Err(cause) => {
            let message = format!("{} is no absolute path", sink.subject(&item.path));
            sink.report(
                item.bad(Kind::ValueInvalid, message)
                    .label(cause.kind.as_str())
                    .help("write it as that machine does, from its root, or as a file: URI"),
            );
            None
        }
    }
}

pub(super) fn remote_paths(
    item: &Item<'_, '_>,
    os: Option<Os>,
    sink: &mut Sink<'_>,
) -> Option<Vec<PathUri>> {
    let items = item.array(sink, "an array of paths")?;
    let paths: Vec<_> = items
        .iter()
        .map(|item| remote_path(item, os, sink))
        .collect();
    paths.into_iter().collect()
}

/// The convention in which a native text is absolute.
fn absolute_in(text: &str) -> Option<Convention> {
    [Convention::Posix, Convention::Windows]
        .into_iter()
        .find(|convention| PathUri::from_native(text, *convention).is_ok())
}
