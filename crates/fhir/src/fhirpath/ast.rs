//! What an expression is made of. One tree serves evaluation, checking and the
//! compilation of search parameters.

use super::value::{SystemType, Value};
use crate::definitions::TypeId;

/// An expression and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    /// The byte of the text that an error points at.
    pub(crate) at: u32,
    /// How many expressions are nested here, itself counted.
    pub(super) depth: u16,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// `{}`
    Empty,
    Literal(Value<'static>),
    /// `$this`
    This,
    /// `$index`
    Index,
    /// `$total`
    Total,
    /// `%name`
    Variable(Box<str>),
    /// A name at the start: an element of the focus, or the type of it.
    Name(Box<str>),
    /// `a.name`
    Member(Box<Expr>, Box<str>),
    /// `a.f(...)`, or `f(...)` on the focus.
    Call {
        target: Option<Box<Expr>>,
        function: Function,
        arguments: Vec<Expr>,
    },
    /// `a[n]`
    Item(Box<Expr>, Box<Expr>),
    /// `-a` and `+a`
    Sign(Box<Expr>, bool),
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// `a is T`, `a.is(T)`, and `as` and `ofType` alike; no target stands for the focus.
    Type {
        target: Option<Box<Expr>>,
        test: TypeTest,
        ty: TypeName,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypeTest {
    Is,
    As,
    OfType,
}

/// The types that a type's name means. `Quantity` means two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypeName {
    pub(crate) fhir: Option<TypeId>,
    pub(crate) system: Option<SystemType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Implies,
    Or,
    Xor,
    And,
    In,
    Contains,
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Union,
    Add,
    Subtract,
    Concatenate,
    Multiply,
    Divide,
    Div,
    Mod,
}

macro_rules! functions {
    ($($variant:ident $name:literal $least:literal $most:literal),* $(,)?) => {
        /// The functions of FHIRPath N1, of FHIR R4, and those of later FHIRPath that
        /// HL7's suite for R4 has.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function { $($variant),* }

        impl Function {
            /// The function of this name with the least and the most arguments.
            pub(super) fn from_name(name: &str) -> Option<(Function, usize, usize)> {
                Some(match name {
                    $($name => (Function::$variant, $least, $most),)*
                    _ => return None,
                })
            }

            pub(crate) fn name(self) -> &'static str {
                match self { $(Function::$variant => $name),* }
            }
        }
    };
}

functions! {
    Empty "empty" 0 0, Exists "exists" 0 1, All "all" 1 1, AllTrue "allTrue" 0 0,
    AnyTrue "anyTrue" 0 0, AllFalse "allFalse" 0 0, AnyFalse "anyFalse" 0 0,
    SubsetOf "subsetOf" 1 1, SupersetOf "supersetOf" 1 1, Count "count" 0 0,
    Distinct "distinct" 0 0, IsDistinct "isDistinct" 0 0, Not "not" 0 0,
    Where "where" 1 1, Select "select" 1 1, Repeat "repeat" 1 1,
    Single "single" 0 0, First "first" 0 0, Last "last" 0 0, Tail "tail" 0 0,
    Skip "skip" 1 1, Take "take" 1 1, Intersect "intersect" 1 1, Exclude "exclude" 1 1,
    Union "union" 1 1, Combine "combine" 1 1, Sort "sort" 0 16, Aggregate "aggregate" 1 2,
    Iif "iif" 2 3, Trace "trace" 1 2, Children "children" 0 0, Descendants "descendants" 0 0,
    ToBoolean "toBoolean" 0 0, ConvertsToBoolean "convertsToBoolean" 0 0,
    ToInteger "toInteger" 0 0, ConvertsToInteger "convertsToInteger" 0 0,
    ToDecimal "toDecimal" 0 0, ConvertsToDecimal "convertsToDecimal" 0 0,
    ToStringOf "toString" 0 0, ConvertsToString "convertsToString" 0 0,
    ToDate "toDate" 0 0, ConvertsToDate "convertsToDate" 0 0,
    ToDateTime "toDateTime" 0 0, ConvertsToDateTime "convertsToDateTime" 0 0,
    ToTime "toTime" 0 0, ConvertsToTime "convertsToTime" 0 0,
    ToQuantity "toQuantity" 0 1, ConvertsToQuantity "convertsToQuantity" 0 1,
    IndexOf "indexOf" 1 1, LastIndexOf "lastIndexOf" 1 1, Substring "substring" 1 2,
    StartsWith "startsWith" 1 1, EndsWith "endsWith" 1 1, Contains "contains" 1 1,
    Upper "upper" 0 0, Lower "lower" 0 0, Replace "replace" 2 2, Matches "matches" 1 1,
    MatchesFull "matchesFull" 1 1, ReplaceMatches "replaceMatches" 2 2, Length "length" 0 0,
    ToChars "toChars" 0 0, Trim "trim" 0 0, Split "split" 1 1, Join "join" 0 1,
    Encode "encode" 1 1, Decode "decode" 1 1, Escape "escape" 1 1, Unescape "unescape" 1 1,
    Abs "abs" 0 0, Ceiling "ceiling" 0 0, Exp "exp" 0 0, Floor "floor" 0 0, Ln "ln" 0 0,
    Log "log" 1 1, Power "power" 1 1, Round "round" 0 1, Sqrt "sqrt" 0 0,
    Truncate "truncate" 0 0, Now "now" 0 0, Today "today" 0 0, TimeOfDay "timeOfDay" 0 0,
    Type "type" 0 0, LowBoundary "lowBoundary" 0 1, HighBoundary "highBoundary" 0 1,
    Precision "precision" 0 0, Comparable "comparable" 1 1,
    Extension "extension" 1 1, HasValue "hasValue" 0 0, GetValue "getValue" 0 0,
    Resolve "resolve" 0 0, ElementDefinition "elementDefinition" 0 0,
    Slice "slice" 2 2, CheckModifiers "checkModifiers" 0 16, ConformsTo "conformsTo" 1 1,
    MemberOf "memberOf" 1 1, Subsumes "subsumes" 1 1, SubsumedBy "subsumedBy" 1 1,
    HtmlChecks "htmlChecks" 0 0,
}
