//! What to try when something could not be done with a file.

use crate::files::{FileCause, FileError};

pub(super) fn is_loss(error: &FileError) -> bool {
    matches!(error.cause, FileCause::Lost(_))
}

pub(super) fn hint(error: &FileError) -> Option<String> {
    let environment = environment(&error.place);
    let hint = match &error.cause {
        FileCause::Missing => match (error.operation, environment) {
            ("make the directory", _) => "pass -p to make its parents too".to_owned(),
            ("write", Some(id)) => {
                format!("`farstep mkdir -p {id}:FOLDER` makes the folder it goes into")
            }
            ("write", None) => "make the folder it goes into first".to_owned(),
            (_, Some(id)) => format!(
                "`farstep ls {id}:` shows the folder in which paths begin that are not absolute"
            ),
            (_, None) => {
                "check the spelling; for a file of an environment write ENV:PATH".to_owned()
            }
        },
        FileCause::IsDirectory => match error.operation {
            "show" => format!("`farstep ls {}`", error.place),
            "write" => "name a place in it, or another one".to_owned(),
            _ => "pass -r for directories and everything in them".to_owned(),
        },
        FileCause::NotDirectory => "name a directory".to_owned(),
        FileCause::Special => "only regular files have contents that end".to_owned(),
        FileCause::Exists => "pass -p if an existing directory is fine".to_owned(),
        FileCause::InTheWay => "name another place, or remove it first".to_owned(),
        FileCause::Precious(_) => "name what is in it".to_owned(),
        FileCause::Unusable(_) => "write the path by the rules of that machine; a file here whose \
                                   name has a colon is ./a:b"
            .to_owned(),
        FileCause::Refused(_) => match environment {
            Some(id) => format!(
                "`farstep ls -l {id}:FOLDER` shows what is there, `farstep exec -e {id} -- id` \
                 whose rights count"
            ),
            None => return None,
        },
        FileCause::Here(_) => "check the rights, and the room that is left".to_owned(),
        FileCause::Link => "remove the link, or copy to what it leads to".to_owned(),
        FileCause::Busy => "wait for it, or end it".to_owned(),
        FileCause::Same => "name another place".to_owned(),
        FileCause::NoName(_) | FileCause::Outside => match error.operation {
            "write" => "rename it, and copy it then".to_owned(),
            _ => {
                "nothing was written for it; rename it there, if you trust that machine".to_owned()
            }
        },
        FileCause::TooMany(_) | FileCause::TooDeep(_) => {
            "copy its directories one by one".to_owned()
        }
        FileCause::NoTimes => "leave -p out; the copies are as new as they are".to_owned(),
        FileCause::Differs { .. } => "it may have been changed meanwhile; copy it again".to_owned(),
        FileCause::Lost(_) => match environment {
            Some(id) => format!(
                "`farstep env test {id}` shows the connection; the same command goes on from here"
            ),
            None => return None,
        },
    };
    Some(hint)
}

/// The environment of a place.
fn environment(place: &str) -> Option<&str> {
    crate::files::environment_of(place)
}
