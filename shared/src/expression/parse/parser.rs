//! Recursive descent with binding powers. Names are resolved on the way: functions and variables precede their use.
//!
//! Recursion is bounded by [`NESTING_MAX`], the height of the tree by [`HEIGHT_MAX`]: neither parsing, evaluating nor
//! dropping a tree can exhaust a stack.

use super::super::SyntaxError;
use super::super::builtins::{self, format::Format};
use super::super::syntax::{Assignment, Binding, Definition, Fold, Kind, Operator, Part, Pattern, Term};
use super::lexer::{Lexer, PieceEnd, Token};
use super::names;
use super::scope::{Function, Scope, Scopes};
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Recursive calls of the parser; a parenthesis takes two. More than people write, less than 1 MiB of stack.
pub(super) const NESTING_MAX: u32 = 128;
/// Also bounds chains like `1 + 1 + …`, which are as high as they are long.
const HEIGHT_MAX: u16 = 160;

const KEYWORDS: &[&str] = &[
    "def", "if", "then", "elif", "else", "end", "as", "reduce", "foreach", "try", "catch", "label", "import", "include", "and", "or",
    "__loc__",
];

pub(in super::super) struct Parsed {
    pub term: Term,
    /// Sorted names of variables that the text does not bind.
    pub free: Vec<String>,
}

pub(in super::super) fn parse_expression(source: &str) -> Result<Parsed, SyntaxError> {
    let mut parser = Parser::new(source, builtins::prelude().names())?;
    let term = parser.pipe()?;
    parser.expect_end()?;
    // Free variables were numbered as they came; the numbers follow the sorted names.
    let free = parser.free;
    let mut order = vec![0u32; free.len()];
    for (place, number) in (0u32..).zip(free.values()) {
        if let Some(slot) = order.get_mut(*number as usize) {
            *slot = place;
        }
    }
    let mut term = term;
    if order.iter().zip(0u32..).any(|(place, number)| *place != number) {
        let mut second = Parser::new(source, builtins::prelude().names())?;
        second.free = free.keys().cloned().zip(0..).collect();
        term = second.pipe()?;
    }
    Ok(Parsed { term, free: free.into_keys().collect() })
}

/// A run of `def`s, each of which sees those before it and itself.
pub(in super::super) fn parse_definitions(source: &str) -> Result<Vec<(String, usize, Definition)>, SyntaxError> {
    let mut parser = Parser::new(source, &[])?;
    parser.inside = true;
    let mut found = Vec::new();
    while parser.is_word("def") {
        let (name, arity, definition) = parser.definition(true)?;
        found.push((name, arity, definition));
    }
    parser.expect_end()?;
    Ok(found)
}

pub(super) struct Parser<'s> {
    pub(super) lexer: Lexer<'s>,
    pub(super) token: Token,
    pub(super) at: usize,
    pub(super) scopes: Scopes,
    free: BTreeMap<String, u32>,
    prelude: Vec<(String, usize)>,
    /// Whether this is the prelude itself, which sees the natives that start with `_`.
    inside: bool,
    /// Whether `,` separates outputs here; not so inside `{a: …}`.
    pub(super) commas: bool,
    nesting: u32,
}

type Parse<T> = Result<T, SyntaxError>;

impl<'s> Parser<'s> {
    fn new(source: &'s str, prelude: &[(String, usize)]) -> Parse<Self> {
        let mut parser = Self {
            lexer: Lexer::new(source),
            token: Token::End,
            at: 0,
            scopes: Scopes::default(),
            free: BTreeMap::new(),
            prelude: prelude.to_vec(),
            inside: false,
            commas: true,
            nesting: 0,
        };
        parser.advance()?;
        Ok(parser)
    }

    pub(super) fn advance(&mut self) -> Parse<Token> {
        let (token, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Parse<T> {
        Err(self.lexer.error(self.at, message))
    }

    pub(super) fn is(&self, sign: &str) -> bool {
        matches!(self.token, Token::Sign(own) if own == sign)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.token, Token::Word(own) if own == word)
    }

    pub(super) fn take(&mut self, sign: &str) -> Parse<bool> {
        let found = self.is(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub(super) fn expect(&mut self, sign: &str) -> Parse<()> {
        if self.take(sign)? { Ok(()) } else { self.unexpected(&format!("`{sign}`")) }
    }

    fn take_word(&mut self, word: &str) -> Parse<bool> {
        let found = self.is_word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect_word(&mut self, word: &str) -> Parse<()> {
        if self.take_word(word)? { Ok(()) } else { self.unexpected(&format!("`{word}`")) }
    }

    fn expect_end(&self) -> Parse<()> {
        if self.token == Token::End { Ok(()) } else { self.unexpected("the end") }
    }

    pub(super) fn unexpected<T>(&self, wanted: &str) -> Parse<T> {
        let found = match &self.token {
            Token::End => "the end".to_owned(),
            Token::Word(word) => format!("`{word}`"),
            Token::Field(name) => format!("`.{name}`"),
            Token::Variable(name) => format!("`${name}`"),
            Token::Number(number) => format!("`{}`", number.to_json()),
            Token::Quote => "a string".to_owned(),
            Token::Format(name) => format!("`@{name}`"),
            Token::Sign(sign) => format!("`{sign}`"),
        };
        self.fail(format!("expected {wanted}, found {found}"))
    }

    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return self.fail("too deeply nested");
        }
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    pub(super) fn node(&self, kind: Kind) -> Parse<Term> {
        let (below, single) = kind.shape();
        let height = below.saturating_add(1);
        if height > HEIGHT_MAX {
            return self.fail("too deeply nested, or too long a chain of operators");
        }
        Ok(Term { kind, height, single })
    }

    pub(super) fn literal(&self, value: Value) -> Term {
        Term { kind: Kind::Literal(value), height: 1, single: true }
    }

    /// Parses inside brackets, where commas mean what they usually do.
    pub(super) fn bracketed(&mut self, close: &str) -> Parse<Term> {
        let commas = std::mem::replace(&mut self.commas, true);
        let term = self.pipe()?;
        self.commas = commas;
        self.expect(close)?;
        Ok(term)
    }

    pub(super) fn pipe(&mut self) -> Parse<Term> {
        let first = self.expression(if self.commas { COMMA } else { COMMA + 1 })?;
        if !self.is("|") {
            return Ok(first);
        }
        let mut stages = vec![first];
        while self.take("|")? {
            stages.push(self.expression(if self.commas { COMMA } else { COMMA + 1 })?);
        }
        self.node(Kind::Pipe(stages))
    }

    fn expression(&mut self, least: u8) -> Parse<Term> {
        self.nested(|parser| {
            let mut left = parser.operand()?;
            let mut last = None;
            while let Some(infix) = parser.infix() {
                let (power, associates) = infix.power();
                if power < least {
                    break;
                }
                if associates == Associates::Not && last == Some(power) {
                    return parser.fail("these operators do not chain; use parentheses");
                }
                last = Some(power);
                parser.advance()?;
                let right = parser.expression(if associates == Associates::Right { power } else { power + 1 })?;
                left = parser.join(infix, left, right)?;
            }
            Ok(left)
        })
    }

    fn infix(&self) -> Option<Infix> {
        Some(match &self.token {
            Token::Word(word) if word == "and" => Infix::And,
            Token::Word(word) if word == "or" => Infix::Or,
            Token::Sign(sign) => match *sign {
                "," => Infix::Comma,
                "//" => Infix::Alternative,
                "=" => Infix::Assign(Assignment::Set),
                "|=" => Infix::Assign(Assignment::Modify),
                "+=" => Infix::Assign(Assignment::Apply(Operator::Add)),
                "-=" => Infix::Assign(Assignment::Apply(Operator::Subtract)),
                "*=" => Infix::Assign(Assignment::Apply(Operator::Multiply)),
                "/=" => Infix::Assign(Assignment::Apply(Operator::Divide)),
                "%=" => Infix::Assign(Assignment::Apply(Operator::Modulo)),
                "//=" => Infix::Assign(Assignment::Default),
                "==" => Infix::Binary(Operator::Equal),
                "!=" => Infix::Binary(Operator::NotEqual),
                "<" => Infix::Binary(Operator::Less),
                "<=" => Infix::Binary(Operator::LessEqual),
                ">" => Infix::Binary(Operator::Greater),
                ">=" => Infix::Binary(Operator::GreaterEqual),
                "+" => Infix::Binary(Operator::Add),
                "-" => Infix::Binary(Operator::Subtract),
                "*" => Infix::Binary(Operator::Multiply),
                "/" => Infix::Binary(Operator::Divide),
                "%" => Infix::Binary(Operator::Modulo),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn join(&self, infix: Infix, left: Term, right: Term) -> Parse<Term> {
        let kind = match infix {
            Infix::Comma => match left {
                Term { kind: Kind::Comma(mut terms), .. } => {
                    terms.push(right);
                    Kind::Comma(terms)
                }
                left => Kind::Comma(vec![left, right]),
            },
            Infix::Alternative => Kind::Alternative(Box::new((left, right))),
            Infix::Assign(assignment) => Kind::Assign(assignment, Box::new((left, right))),
            Infix::Or => Kind::Or(Box::new((left, right))),
            Infix::And => Kind::And(Box::new((left, right))),
            Infix::Binary(operator) => Kind::Binary(operator, Box::new((left, right))),
        };
        self.node(kind)
    }

    /// A term with what follows it, or a prefix form.
    fn operand(&mut self) -> Parse<Term> {
        self.nested(|parser| {
            if parser.is_word("def") {
                return parser.local_definition();
            }
            if parser.take_word("label")? {
                return parser.label();
            }
            if parser.take("-")? {
                let inner = parser.operand()?;
                return match &inner.kind {
                    Kind::Literal(Value::Int(number)) => Ok(parser.literal(Value::Int(number.wrapping_neg()))),
                    Kind::Literal(Value::Float(number)) => Ok(parser.literal(Value::Float(-number))),
                    _ => parser.node(Kind::Negate(Box::new(inner))),
                };
            }
            let term = parser.postfix()?;
            if parser.take_word("as")? { parser.binding(term) } else { Ok(term) }
        })
    }

    fn local_definition(&mut self) -> Parse<Term> {
        let (name, arity, definition) = self.definition(false)?;
        self.scopes.push(Scope::Definition { name, arity });
        let rest = self.pipe()?;
        self.scopes.pop();
        self.node(Kind::Define(Box::new((definition, rest))))
    }

    fn definition(&mut self, global: bool) -> Parse<(String, usize, Definition)> {
        self.expect_word("def")?;
        let name = self.name("a function's name")?;
        let mut params = Vec::new();
        if self.take("(")? {
            loop {
                if let Token::Variable(param) = &self.token {
                    params.push((param.clone(), true));
                    self.advance()?;
                } else {
                    params.push((self.name("a parameter")?, false));
                }
                if !self.take(";")? {
                    break;
                }
            }
            self.expect(")")?;
        }
        self.expect(":")?;
        if global {
            self.prelude.push((name.clone(), params.len()));
        } else {
            self.scopes.push(Scope::Definition { name: name.clone(), arity: params.len() });
        }
        self.scopes.push(Scope::Arguments(params.iter().map(|(param, _)| param.clone()).collect()));
        let values: Vec<(u32, &String)> =
            (0u32..).zip(&params).filter(|(_, (_, value))| *value).map(|(index, (param, _))| (index, param)).collect();
        for (_, param) in &values {
            self.scopes.push(Scope::Variables(vec![(*param).clone()]));
        }
        let commas = std::mem::replace(&mut self.commas, true);
        let mut body = self.pipe()?;
        self.commas = commas;
        // `def f($a): …` is `def f(a): a as $a | …`.
        for (up, (index, _)) in (0u32..).zip(&values).collect::<Vec<_>>().into_iter().rev() {
            self.scopes.pop();
            let source = self.node(Kind::Parameter { up, index: *index })?;
            let pattern = Pattern::Variable(0);
            body = self.node(Kind::Bind(Box::new(Binding { source, patterns: vec![pattern], slots: 1, body })))?;
        }
        self.scopes.pop();
        if !global {
            self.scopes.pop();
        }
        self.expect(";")?;
        Ok((name, params.len(), Definition { body }))
    }

    fn name(&mut self, wanted: &str) -> Parse<String> {
        match &self.token {
            Token::Word(word) if !KEYWORDS.contains(&word.as_str()) => {
                let word = word.clone();
                self.advance()?;
                Ok(word)
            }
            _ => self.unexpected(wanted),
        }
    }

    fn label(&mut self) -> Parse<Term> {
        let Token::Variable(name) = &self.token else { return self.unexpected("`$name`") };
        self.scopes.push(Scope::Label(name.clone()));
        self.advance()?;
        self.expect("|")?;
        let body = self.pipe()?;
        self.scopes.pop();
        self.node(Kind::Label(Box::new(body)))
    }

    /// After `source as`.
    fn binding(&mut self, source: Term) -> Parse<Term> {
        let (patterns, names) = self.patterns()?;
        self.expect("|")?;
        let slots = u32::try_from(names.len()).unwrap_or(u32::MAX);
        self.scopes.push(Scope::Variables(names));
        let body = self.pipe()?;
        self.scopes.pop();
        self.node(Kind::Bind(Box::new(Binding { source, patterns, slots, body })))
    }

    fn postfix(&mut self) -> Parse<Term> {
        let mut term = self.primary()?;
        loop {
            if let Token::Field(name) = &self.token {
                let key = self.literal(Value::string(name));
                self.advance()?;
                term = self.node(Kind::Index(Box::new((term, key))))?;
            } else if self.is(".") {
                self.advance()?;
                if self.is("[") {
                    continue;
                }
                if self.token != Token::Quote {
                    return self.unexpected("a field's name");
                }
                let key = self.text(Format::Text)?;
                term = self.node(Kind::Index(Box::new((term, key))))?;
            } else if self.is("[") {
                self.advance()?;
                term = self.suffix(term)?;
            } else if self.is("?") {
                self.advance()?;
                term = self.node(Kind::Try(Box::new(term), None))?;
            } else if self.is("?//") {
                term = self.node(Kind::Try(Box::new(term), None))?;
                self.token = Token::Sign("//");
            } else {
                return Ok(term);
            }
        }
    }

    /// After `base[`.
    fn suffix(&mut self, base: Term) -> Parse<Term> {
        if self.take("]")? {
            return self.node(Kind::Iterate(Box::new(base)));
        }
        let commas = std::mem::replace(&mut self.commas, true);
        let from = if self.is(":") { None } else { Some(self.pipe()?) };
        let term = if self.take(":")? {
            let to = if self.is("]") { None } else { Some(self.pipe()?) };
            if from.is_none() && to.is_none() {
                return self.fail("a slice needs a start or an end");
            }
            self.node(Kind::Slice(Box::new((base, from, to))))?
        } else {
            match from {
                Some(key) => self.node(Kind::Index(Box::new((base, key))))?,
                None => return self.unexpected("an index"),
            }
        };
        self.commas = commas;
        self.expect("]")?;
        Ok(term)
    }

    fn primary(&mut self) -> Parse<Term> {
        match &self.token {
            Token::Number(_) => match self.advance()? {
                Token::Number(number) => Ok(self.literal(number)),
                _ => self.unexpected("a number"),
            },
            Token::Quote => self.text(Format::Text),
            Token::Format(name) => {
                let Some(format) = Format::by_name(name) else { return self.fail(names::unknown_format(name)) };
                self.advance()?;
                if self.token == Token::Quote { self.text(format) } else { self.node(Kind::Format(format)) }
            }
            Token::Field(name) => {
                let key = self.literal(Value::string(name));
                self.advance()?;
                let base = self.node(Kind::Identity)?;
                self.node(Kind::Index(Box::new((base, key))))
            }
            Token::Variable(_) => self.variable(),
            Token::Word(_) => self.word(),
            Token::Sign("..") => {
                self.advance()?;
                self.node(Kind::Descend)
            }
            Token::Sign(".") => {
                self.advance()?;
                let base = self.node(Kind::Identity)?;
                if self.token == Token::Quote {
                    let key = self.text(Format::Text)?;
                    return self.node(Kind::Index(Box::new((base, key))));
                }
                Ok(base)
            }
            Token::Sign("(") => {
                self.advance()?;
                self.bracketed(")")
            }
            Token::Sign("[") => {
                self.advance()?;
                let inner = if self.take("]")? { None } else { Some(Box::new(self.bracketed("]")?)) };
                self.node(Kind::Array(inner))
            }
            Token::Sign("{") => self.object(),
            _ => self.unexpected("an expression"),
        }
    }

    /// A string, starting at its quote.
    pub(super) fn text(&mut self, format: Format) -> Parse<Term> {
        let mut parts = Vec::new();
        loop {
            let (piece, end) = self.lexer.piece()?;
            if !piece.is_empty() {
                parts.push(Part::Plain(Arc::from(piece)));
            }
            if end == PieceEnd::Quote {
                break;
            }
            self.advance()?;
            let commas = std::mem::replace(&mut self.commas, true);
            let inner = self.pipe()?;
            self.commas = commas;
            if !self.is(")") {
                return self.unexpected("`)`");
            }
            parts.push(Part::Term(inner));
        }
        self.advance()?;
        match parts.as_slice() {
            [] => Ok(self.literal(Value::string(""))),
            [Part::Plain(text)] => Ok(self.literal(Value::String(text.clone()))),
            _ => self.node(Kind::Text(format, parts)),
        }
    }

    pub(super) fn variable(&mut self) -> Parse<Term> {
        let Token::Variable(name) = &self.token else { return self.unexpected("a variable") };
        let name = name.clone();
        if let Some((up, slot)) = self.scopes.variable(&name) {
            self.advance()?;
            return self.node(Kind::Variable { up, slot });
        }
        if name == "__loc__" {
            let line = self.lexer.line(self.at);
            self.advance()?;
            return Ok(self.literal(Value::object([("file", Value::from("<top-level>")), ("line", Value::Int(line))])));
        }
        if name == "ENV" || name == "__prog_args" {
            return self.fail(format!("`${name}` is not allowed: the result may not depend on the machine it runs on"));
        }
        if self.inside {
            return self.fail(format!("unknown variable `${name}`"));
        }
        let next = u32::try_from(self.free.len()).unwrap_or(u32::MAX);
        let number = *self.free.entry(name).or_insert(next);
        self.advance()?;
        self.node(Kind::Free(number))
    }

    fn word(&mut self) -> Parse<Term> {
        let Token::Word(word) = &self.token else { return self.unexpected("a name") };
        let word = word.clone();
        let start = self.at;
        match word.as_str() {
            "import" | "include" => return self.fail(format!("`{word}` is not allowed: an expression stands alone")),
            "if" | "try" | "reduce" | "foreach" => {}
            keyword if KEYWORDS.contains(&keyword) => return self.unexpected("an expression"),
            _ => {}
        }
        self.advance()?;
        match word.as_str() {
            "if" => self.condition(),
            "try" => self.attempt(),
            "reduce" => self.fold(false),
            "foreach" => self.fold(true),
            "null" if !self.is("(") => Ok(self.literal(Value::Null)),
            "true" if !self.is("(") => Ok(self.literal(Value::Bool(true))),
            "false" if !self.is("(") => Ok(self.literal(Value::Bool(false))),
            "break" => self.break_out(),
            _ => self.call(word, start),
        }
    }

    fn break_out(&mut self) -> Parse<Term> {
        let Token::Variable(name) = &self.token else { return self.unexpected("`$label`") };
        let Some(up) = self.scopes.label(name) else { return self.fail(format!("there is no label `${name}` around this")) };
        self.advance()?;
        self.node(Kind::Break { up })
    }

    fn condition(&mut self) -> Parse<Term> {
        let commas = std::mem::replace(&mut self.commas, true);
        let mut branches = Vec::new();
        let mut otherwise = None;
        loop {
            let test = self.pipe()?;
            self.expect_word("then")?;
            let then = self.pipe()?;
            branches.push((test, then));
            if self.take_word("elif")? {
                continue;
            }
            if self.take_word("else")? {
                otherwise = Some(Box::new(self.pipe()?));
            }
            break;
        }
        self.commas = commas;
        self.expect_word("end")?;
        self.node(Kind::If(branches, otherwise))
    }

    fn attempt(&mut self) -> Parse<Term> {
        let body = self.handled()?;
        let handler = if self.take_word("catch")? { Some(Box::new(self.handled()?)) } else { None };
        self.node(Kind::Try(Box::new(body), handler))
    }

    /// What `try` and `catch` bind to: a term with its suffixes.
    fn handled(&mut self) -> Parse<Term> {
        self.nested(|parser| {
            if parser.take("-")? {
                let inner = parser.handled()?;
                parser.node(Kind::Negate(Box::new(inner)))
            } else {
                parser.postfix()
            }
        })
    }

    fn fold(&mut self, each: bool) -> Parse<Term> {
        let source = self.nested(Self::postfix)?;
        self.expect_word("as")?;
        let (patterns, names) = self.patterns()?;
        let slots = u32::try_from(names.len()).unwrap_or(u32::MAX);
        self.expect("(")?;
        let commas = std::mem::replace(&mut self.commas, true);
        let init = self.pipe()?;
        self.expect(";")?;
        self.scopes.push(Scope::Variables(names));
        let update = self.pipe()?;
        let extract = if each && self.take(";")? { Some(self.pipe()?) } else { None };
        self.scopes.pop();
        self.commas = commas;
        self.expect(")")?;
        let fold = Box::new(Fold { source, patterns, slots, init, update, extract });
        self.node(if each { Kind::Foreach(fold) } else { Kind::Reduce(fold) })
    }

    fn call(&mut self, name: String, start: usize) -> Parse<Term> {
        let mut args = Vec::new();
        if self.take("(")? {
            let commas = std::mem::replace(&mut self.commas, true);
            loop {
                args.push(self.pipe()?);
                if !self.take(";")? {
                    break;
                }
            }
            self.commas = commas;
            self.expect(")")?;
        }
        let arity = args.len();
        if let Some(found) = self.scopes.function(&name, arity) {
            return self.node(match found {
                Function::Local { up } => Kind::Call { up, args },
                Function::Parameter { up, index } => Kind::Parameter { up, index },
            });
        }
        if let Some(index) = self.prelude.iter().rposition(|(own, takes)| *own == name && *takes == arity) {
            return self.node(Kind::Prelude(u32::try_from(index).unwrap_or(u32::MAX), args));
        }
        let hidden = name.starts_with('_') && !self.inside;
        if let Some(special) = builtins::special(&name, arity).filter(|_| !hidden) {
            return self.node(Kind::Special(special, args));
        }
        if let Some(native) = builtins::native(&name, arity).filter(|_| !hidden) {
            return self.node(Kind::Native(native, args));
        }
        let mut known: Vec<(&str, usize)> = builtins::names().collect();
        known.extend(self.prelude.iter().map(|(own, takes)| (own.as_str(), *takes)));
        known.extend(self.scopes.functions());
        known.retain(|(own, _)| !own.starts_with('_'));
        Err(self.lexer.error(start, names::unknown_function(&name, arity, &known)))
    }
}

const COMMA: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Associates {
    Left,
    Right,
    Not,
}

#[derive(Clone, Copy)]
enum Infix {
    Comma,
    Alternative,
    Assign(Assignment),
    Or,
    And,
    Binary(Operator),
}

impl Infix {
    /// Binding power, the tightest highest.
    fn power(self) -> (u8, Associates) {
        match self {
            Self::Comma => (COMMA, Associates::Left),
            Self::Alternative => (4, Associates::Right),
            Self::Assign(_) => (6, Associates::Not),
            Self::Or => (8, Associates::Left),
            Self::And => (10, Associates::Left),
            Self::Binary(Operator::Add | Operator::Subtract) => (14, Associates::Left),
            Self::Binary(Operator::Multiply | Operator::Divide | Operator::Modulo) => (16, Associates::Left),
            Self::Binary(_) => (12, Associates::Not),
        }
    }
}
