//! What can go wrong with an expression: a kind and the place in the expression's text.
//! It refuses to carry a value of a resource, or any text of the expression that is not
//! a name.

use std::fmt;

/// What is wrong, and where in the expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The byte of the expression's text at which the trouble is.
    pub at: usize,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// The kinds of trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is no FHIRPath.
    Syntax(&'static str),
    /// No function has this name.
    UnknownFunction(Box<str>),
    /// A function was given too few or too many arguments.
    Arguments(&'static str),
    /// No type has this name.
    UnknownType(Box<str>),
    /// `%name` is nothing that the caller or FHIR defines.
    UnknownVariable(Box<str>),
    /// The type at this place has no such element (only from [`super::Expression::check`]).
    UnknownElement(Box<str>),
    /// An operation got a value of a type that it is not for.
    Type(&'static str),
    /// One item was needed and there were more.
    Singleton(&'static str),
    /// Order was relied on where there is none (only from [`super::Expression::check`]).
    Unordered,
    /// The operation has no meaning for these values: units that don't go together, a
    /// regular expression that does not compile, a number that can't be held.
    Operation(&'static str),
    /// The caller gave no means to answer: the time, profiles, terminology.
    Missing(&'static str),
    /// A limit was reached: nesting, steps, items, length of a text.
    Limit(&'static str),
}

impl Error {
    pub(crate) fn new(at: u32, kind: ErrorKind) -> Error {
        Error { at: at as usize, kind }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Syntax(what) => write!(f, "{what}")?,
            ErrorKind::UnknownFunction(name) => write!(f, "no function {name}()")?,
            ErrorKind::Arguments(name) => write!(f, "wrong number of arguments for {name}()")?,
            ErrorKind::UnknownType(name) => write!(f, "no type {name}")?,
            ErrorKind::UnknownVariable(name) => write!(f, "no variable %{name}")?,
            ErrorKind::UnknownElement(name) => write!(f, "no element {name} here")?,
            ErrorKind::Type(what) => write!(f, "{what} can't be applied to this type")?,
            ErrorKind::Singleton(what) => write!(f, "{what} needs one item, there are more")?,
            ErrorKind::Unordered => write!(f, "the order of these items means nothing")?,
            ErrorKind::Operation(what) => write!(f, "{what}")?,
            ErrorKind::Missing(what) => write!(f, "{what} is not at hand")?,
            ErrorKind::Limit(what) => write!(f, "too {what}")?,
        }
        write!(f, " (at byte {} of the expression)", self.at)
    }
}

impl std::error::Error for Error {}
