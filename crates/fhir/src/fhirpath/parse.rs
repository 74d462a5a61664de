//! Builds the tree of an expression from its tokens, operators by their precedence.
//! Nesting is limited, so that nothing that walks the tree can run out of stack.
//!
//! Source: <https://hl7.org/fhirpath/N1/#operator-precedence>

use std::borrow::Cow;

use super::ast::{Expr, Function, Kind, Operator, TypeName, TypeTest};
use super::error::{Error, ErrorKind};
use super::lex::{Lexeme, Token, tokens};
use super::moment::Span;
use super::value::{Measure, Quantity, SystemType, Value};
use crate::definitions::TypeId;
use crate::json::path_name;

/// The most bytes of an expression.
const MAX_LENGTH: usize = 64 * 1024;
/// The most tokens of an expression.
const MAX_TOKENS: usize = 16 * 1024;
/// How deep expressions may be nested.
const MAX_DEPTH: u16 = 128;

pub(super) fn parse(text: &str) -> Result<Expr, Error> {
    if text.len() > MAX_LENGTH {
        return Err(Error { at: MAX_LENGTH, kind: ErrorKind::Limit("long an expression") });
    }
    let tokens = tokens(text, MAX_TOKENS)?;
    let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut parser = Parser { tokens: &tokens, at: 0, end, depth: 0 };
    let expr = parser.expression(0)?;
    if parser.peek().is_some() {
        return Err(parser.syntax("an operator is missing"));
    }
    Ok(expr)
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    end: u32,
    depth: u16,
}

/// How tightly an operator binds, from the loosest.
fn precedence(lexeme: &Lexeme) -> Option<(u8, Operator)> {
    Some(match lexeme {
        Lexeme::Word(word) => match &**word {
            "implies" => (1, Operator::Implies),
            "or" => (2, Operator::Or),
            "xor" => (2, Operator::Xor),
            "and" => (3, Operator::And),
            "in" => (4, Operator::In),
            "contains" => (4, Operator::Contains),
            "div" => (10, Operator::Div),
            "mod" => (10, Operator::Mod),
            _ => return None,
        },
        Lexeme::Symbol(symbol) => match *symbol {
            "=" => (5, Operator::Equal),
            "!=" => (5, Operator::NotEqual),
            "~" => (5, Operator::Equivalent),
            "!~" => (5, Operator::NotEquivalent),
            "<" => (6, Operator::Less),
            "<=" => (6, Operator::LessOrEqual),
            ">" => (6, Operator::Greater),
            ">=" => (6, Operator::GreaterOrEqual),
            "|" => (7, Operator::Union),
            "+" => (9, Operator::Add),
            "-" => (9, Operator::Subtract),
            "&" => (9, Operator::Concatenate),
            "*" => (10, Operator::Multiply),
            "/" => (10, Operator::Divide),
            _ => return None,
        },
        _ => return None,
    })
}

/// `is` and `as` stand between union and addition.
const TYPE_PRECEDENCE: u8 = 8;
const SIGN_PRECEDENCE: u8 = 11;

impl Parser<'_> {
    fn peek(&self) -> Option<&Lexeme> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    fn position(&self) -> u32 {
        self.tokens.get(self.at).map_or(self.end, |t| t.at)
    }

    fn syntax(&self, what: &'static str) -> Error {
        Error::new(self.position(), ErrorKind::Syntax(what))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Lexeme::Symbol(s)) if *s == symbol)
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let there = self.is_symbol(symbol);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, symbol: &str, what: &'static str) -> Result<(), Error> {
        if self.eat(symbol) { Ok(()) } else { Err(self.syntax(what)) }
    }

    fn make(&self, at: u32, inner: u16, kind: Kind) -> Result<Expr, Error> {
        let depth = inner + 1;
        if depth > MAX_DEPTH {
            return Err(Error::new(at, ErrorKind::Limit("deep an expression")));
        }
        Ok(Expr { at, depth, kind })
    }

    fn expression(&mut self, least: u8) -> Result<Expr, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::new(self.position(), ErrorKind::Limit("deep an expression")));
        }
        let mut left = self.unary()?;
        loop {
            let at = self.position();
            let Some(lexeme) = self.peek() else { break };
            if let Some(test) = type_operator(lexeme) {
                if TYPE_PRECEDENCE < least {
                    break;
                }
                self.at += 1;
                let ty = self.type_name()?;
                let depth = left.depth;
                let kind = Kind::Type { target: Some(Box::new(left)), test, ty };
                left = self.make(at, depth, kind)?;
                continue;
            }
            let Some((binds, operator)) = precedence(lexeme) else { break };
            if binds < least {
                break;
            }
            self.at += 1;
            let right = self.expression(binds + 1)?;
            let depth = left.depth.max(right.depth);
            let kind = Kind::Binary(operator, Box::new(left), Box::new(right));
            left = self.make(at, depth, kind)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, Error> {
        let at = self.position();
        let minus = self.is_symbol("-");
        if minus || self.is_symbol("+") {
            self.at += 1;
            let inner = self.expression(SIGN_PRECEDENCE)?;
            let depth = inner.depth;
            return self.make(at, depth, Kind::Sign(Box::new(inner), minus));
        }
        self.invocations()
    }

    /// A term with all `.name`, `.f()` and `[n]` behind it.
    fn invocations(&mut self) -> Result<Expr, Error> {
        let mut left = self.term()?;
        loop {
            let at = self.position();
            if self.eat(".") {
                left = self.member(left)?;
            } else if self.eat("[") {
                let index = self.expression(0)?;
                self.expect("]", "a bracket is not closed")?;
                let depth = left.depth.max(index.depth);
                left = self.make(at, depth, Kind::Item(Box::new(left), Box::new(index)))?;
            } else {
                return Ok(left);
            }
        }
    }

    fn member(&mut self, left: Expr) -> Result<Expr, Error> {
        let at = self.position();
        let Some(Lexeme::Word(name) | Lexeme::Quoted(name)) = self.peek() else {
            return Err(self.syntax("a name is missing"));
        };
        let name = name.clone();
        self.at += 1;
        if self.is_symbol("(") {
            return self.call(at, Some(left), &name);
        }
        let depth = left.depth;
        self.make(at, depth, Kind::Member(Box::new(left), name))
    }

    fn term(&mut self) -> Result<Expr, Error> {
        let at = self.position();
        let Some(lexeme) = self.peek().cloned() else {
            return Err(self.syntax("the expression ends too early"));
        };
        self.at += 1;
        let kind = match lexeme {
            Lexeme::Symbol("(") => {
                let inner = self.expression(0)?;
                self.expect(")", "a bracket is not closed")?;
                return Ok(inner);
            }
            Lexeme::Symbol("{") => {
                self.expect("}", "a brace is not closed")?;
                Kind::Empty
            }
            Lexeme::Variable(name) => Kind::Variable(name),
            Lexeme::Special(name) => match &*name {
                "this" => Kind::This,
                "index" => Kind::Index,
                "total" => Kind::Total,
                _ => {
                    return Err(Error::new(at, ErrorKind::Syntax("only $this, $index and $total")));
                }
            },
            Lexeme::Word(name) => {
                if self.is_symbol("(") {
                    return self.call(at, None, &name);
                }
                match &*name {
                    "true" => Kind::Literal(Value::Boolean(true)),
                    "false" => Kind::Literal(Value::Boolean(false)),
                    "and" | "or" | "xor" | "implies" | "div" | "mod" => {
                        return Err(Error::new(at, ErrorKind::Syntax("an operand is missing")));
                    }
                    _ => Kind::Name(name),
                }
            }
            Lexeme::Quoted(name) => Kind::Name(name),
            literal => match self.quantity(&literal).or_else(|| literal.literal()) {
                Some(value) => Kind::Literal(value),
                None => {
                    return Err(Error::new(at, ErrorKind::Syntax("an operand is missing")));
                }
            },
        };
        self.make(at, 0, kind)
    }

    /// `4 days` or `4 'mg'`: a number followed by a unit.
    fn quantity(&mut self, number: &Lexeme) -> Option<Value<'static>> {
        let value = number.literal()?.number()?;
        let quantity = match self.peek()? {
            Lexeme::Text(unit) => Quantity::of(value, Cow::Owned(unit.clone())),
            Lexeme::Word(word) => {
                Quantity { value, measure: Measure::Calendar(Span::from_word(word)?) }
            }
            _ => return None,
        };
        self.at += 1;
        Some(Value::Quantity(quantity))
    }

    fn call(&mut self, at: u32, target: Option<Expr>, name: &str) -> Result<Expr, Error> {
        self.expect("(", "a bracket is missing")?;
        let mut depth = target.as_ref().map_or(0, |t| t.depth);
        let target = target.map(Box::new);
        let test = match name {
            "is" => Some(TypeTest::Is),
            "as" => Some(TypeTest::As),
            "ofType" => Some(TypeTest::OfType),
            _ => None,
        };
        if let Some(test) = test {
            let ty = self.type_name()?;
            self.expect(")", "a bracket is not closed")?;
            return self.make(at, depth, Kind::Type { target, test, ty });
        }
        let Some((function, least, most)) = Function::from_name(name) else {
            let name = path_name(name).into();
            return Err(Error::new(at, ErrorKind::UnknownFunction(name)));
        };
        let mut arguments = Vec::new();
        if !self.eat(")") {
            loop {
                let argument = self.expression(0)?;
                depth = depth.max(argument.depth);
                arguments.push(argument);
                if self.eat(")") {
                    break;
                }
                self.expect(",", "a bracket is not closed")?;
            }
        }
        if !(least..=most).contains(&arguments.len()) {
            return Err(Error::new(at, ErrorKind::Arguments(function.name())));
        }
        self.make(at, depth, Kind::Call { target, function, arguments })
    }

    fn type_name(&mut self) -> Result<TypeName, Error> {
        let at = self.position();
        let mut parts: Vec<Box<str>> = Vec::new();
        loop {
            let Some(Lexeme::Word(name) | Lexeme::Quoted(name)) = self.peek() else {
                return Err(self.syntax("a type is missing"));
            };
            parts.push(name.clone());
            self.at += 1;
            // A call behind the type belongs to what the operator gives.
            let call =
                matches!(self.tokens.get(self.at + 2).map(|t| &t.kind), Some(Lexeme::Symbol("(")));
            if !self.is_symbol(".") || call || parts.len() > 1 {
                break;
            }
            self.at += 1;
        }
        let unknown = |name: &str| Error::new(at, ErrorKind::UnknownType(path_name(name).into()));
        let (namespace, name) = match parts.as_slice() {
            [name] => (None, name),
            [namespace, name] => (Some(&**namespace), name),
            _ => return Err(self.syntax("a type is missing")),
        };
        // Profiles on Quantity that R4 gives the look of types.
        let fhir = || {
            let name = if matches!(&**name, "SimpleQuantity" | "MoneyQuantity") {
                "Quantity"
            } else {
                name
            };
            TypeId::from_name(name)
        };
        let system = || SystemType::from_name(name);
        let ty = match namespace {
            None => TypeName { fhir: fhir(), system: system() },
            Some("FHIR") => TypeName { fhir: fhir(), system: None },
            // A name that System does not have is the name of no item.
            Some("System") => return Ok(TypeName { fhir: None, system: system() }),
            Some(_) => return Err(unknown(name)),
        };
        if ty.fhir.is_none() && ty.system.is_none() { Err(unknown(name)) } else { Ok(ty) }
    }
}

fn type_operator(lexeme: &Lexeme) -> Option<TypeTest> {
    match lexeme {
        Lexeme::Word(word) if &**word == "is" => Some(TypeTest::Is),
        Lexeme::Word(word) if &**word == "as" => Some(TypeTest::As),
        _ => None,
    }
}
