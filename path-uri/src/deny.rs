//! What must not be touched, matched so that no respelling slips by.
//!
//! An allow rule asks [`PathUri::contains`], which says no when in doubt. A deny rule asks here,
//! where doubt means denied. What no text can show stays open to the last: links, mounts and
//! mapped drives are the executor's to check on the opened file.

mod name;

use name::Name;

use crate::convention::Convention;
use crate::error::{PathUriError, PathUriErrorKind as Kind};
use crate::native::windows::{Shape, shape};
use crate::opaque;
use crate::uri::PathUri;

/// A path that is closed, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyRule {
    path: PathUri,
    ignores_case: bool,
    place: Place,
}

impl DenyRule {
    /// Closes `path`. A path that cannot be told apart from others makes no rule: encoded
    /// separators, payloads without a convention, and devices, which are closed already.
    pub fn new(path: PathUri) -> Result<Self, PathUriError> {
        match Place::of(&path, false) {
            Some(place) => Ok(Self {
                path,
                ignores_case: false,
                place,
            }),
            None => {
                let detail = format!("'{path}' is too unclear for a deny rule");
                Err(PathUriError::new(Kind::InvalidFileUriPath, detail))
            }
        }
    }

    /// For POSIX executors whose file system ignores case, such as macOS. Windows always does.
    #[must_use]
    pub fn ignoring_case(self) -> Self {
        let place = Place::of(&self.path, true).unwrap_or(self.place);
        Self {
            path: self.path,
            ignores_case: true,
            place,
        }
    }

    /// The path that is closed.
    pub fn path(&self) -> &PathUri {
        &self.path
    }

    /// Whether `uri` is, or may be, the closed path or something below it.
    pub fn denies(&self, uri: &PathUri) -> bool {
        self.weigh(uri, |rule, names| rule.len() <= names.len())
    }

    /// Whether something below `uri` is, or may be, closed: what a recursive operation asks.
    pub fn is_reached_from(&self, uri: &PathUri) -> bool {
        self.weigh(uri, |_, _| true)
    }

    fn weigh(&self, uri: &PathUri, deep_enough: impl Fn(&[Name], &[Name]) -> bool) -> bool {
        let foreign = uri.convention().is_some() && uri.convention() != self.path.convention();
        // A path of the other convention cannot be opened where this rule holds.
        if foreign {
            return false;
        }
        let Some(place) = Place::of(uri, self.ignores_case) else {
            return true;
        };
        match self.place.pair(&place) {
            Pair::Apart => false,
            Pair::Unknown => true,
            Pair::Names(rule, names) => {
                deep_enough(rule, names)
                    && rule.iter().zip(names).all(|(rule, name)| rule.may_be(name))
            }
        }
    }
}

/// Where a path starts, and its names as deny rules compare them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Posix(Vec<Name>),
    Drive(u8, Vec<Name>),
    /// The share is the first name. The server is not kept but for this machine's own: one server
    /// has many names, and no text tells which are the same.
    Share {
        local: bool,
        drive: Option<u8>,
        names: Vec<Name>,
    },
}

/// How two places relate before their names are compared.
enum Pair<'a> {
    Apart,
    Unknown,
    Names(&'a [Name], &'a [Name]),
}

impl Place {
    /// None when the names of the path cannot be told.
    fn of(uri: &PathUri, ignores_case: bool) -> Option<Place> {
        if !uri.is_opaque() {
            return Self::of_segments(uri, ignores_case);
        }
        match uri.convention()? {
            Convention::Posix => {
                let bytes = opaque::payload(uri)?;
                let names = bytes
                    .split(|&byte| byte == b'/')
                    .filter(|name| !name.is_empty());
                Some(Place::Posix(
                    names.map(|name| Name::posix(name, ignores_case)).collect(),
                ))
            }
            Convention::Windows => {
                let text = String::from_utf16_lossy(&opaque::units(uri)?);
                let below = |rest: &str| {
                    rest.split('\\')
                        .filter(|name| !name.is_empty())
                        .map(Name::windows)
                        .collect()
                };
                match shape(&text) {
                    Shape::Drive { letter, rest } => {
                        Some(Place::Drive(letter.to_ascii_uppercase(), below(rest)))
                    }
                    Shape::Share {
                        server,
                        share,
                        rest,
                    } => Some(Place::share(
                        server,
                        share,
                        std::iter::once(Name::windows(share))
                            .chain::<Vec<_>>(below(rest))
                            .collect(),
                    )),
                    _ => None,
                }
            }
        }
    }

    fn of_segments(uri: &PathUri, ignores_case: bool) -> Option<Place> {
        if !uri.has_components() {
            return None;
        }
        if uri.convention() == Some(Convention::Posix) {
            let names = uri
                .segments()
                .map(|segment| Name::posix(&segment.decoded(), ignores_case));
            return Some(Place::Posix(names.collect()));
        }
        let names = uri
            .segments()
            .map(|segment| Name::windows(&String::from_utf8_lossy(&segment.decoded())));
        match (uri.drive_letter(), uri.host()) {
            (Some(letter), _) => Some(Place::Drive(letter, names.skip(1).collect())),
            (None, Some(host)) => {
                let share = uri.segments().next().and_then(|segment| segment.utf8());
                Some(Place::share(
                    host,
                    share.as_deref().unwrap_or_default(),
                    names.collect(),
                ))
            }
            (None, None) => None,
        }
    }

    fn share(server: &str, share: &str, names: Vec<Name>) -> Place {
        let server = server.trim_end_matches('.').to_ascii_lowercase();
        let local = server == "localhost" || server == "[::1]" || server.starts_with("127.");
        // The administrative share `C$` is the drive itself.
        let drive = match share.as_bytes() {
            [letter, b'$'] if letter.is_ascii_alphabetic() => Some(letter.to_ascii_uppercase()),
            _ => None,
        };
        Place::Share {
            local,
            drive,
            names,
        }
    }

    fn pair<'a>(&'a self, other: &'a Place) -> Pair<'a> {
        match (self, other) {
            (Place::Posix(a), Place::Posix(b)) => Pair::Names(a, b),
            (Place::Drive(a, _), Place::Drive(b, _)) if a != b => Pair::Apart,
            (Place::Drive(_, a), Place::Drive(_, b)) => Pair::Names(a, b),
            (Place::Share { names: a, .. }, Place::Share { names: b, .. })
                if !self.is_drive() && !other.is_drive() =>
            {
                Pair::Names(a, b)
            }
            (Place::Posix(_), _) | (_, Place::Posix(_)) => Pair::Apart,
            _ => self.across(other),
        }
    }

    fn is_drive(&self) -> bool {
        matches!(self, Place::Drive(..) | Place::Share { drive: Some(_), .. })
    }

    /// Compares where at least one side is a drive and one a share.
    fn across<'a>(&'a self, other: &'a Place) -> Pair<'a> {
        match (self.as_drive(), other.as_drive()) {
            (Some((a, _)), Some((b, _))) if a != b => Pair::Apart,
            (Some((_, a)), Some((_, b))) => Pair::Names(a, b),
            // A share of this very machine may lie anywhere on its drives.
            _ if self.is_local_share() || other.is_local_share() => Pair::Unknown,
            // A server without a share has those that are drives below it, too.
            _ => match (self, other) {
                (Place::Share { names: a, .. }, Place::Share { names: b, .. }) => Pair::Names(a, b),
                _ => Pair::Apart,
            },
        }
    }

    fn as_drive(&self) -> Option<(u8, &[Name])> {
        match self {
            Place::Drive(letter, names) => Some((*letter, names)),
            Place::Share {
                drive: Some(letter),
                names,
                ..
            } => Some((*letter, names.get(1..).unwrap_or_default())),
            _ => None,
        }
    }

    fn is_local_share(&self) -> bool {
        matches!(self, Place::Share { local: true, .. })
    }
}
