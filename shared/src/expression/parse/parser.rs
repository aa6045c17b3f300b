//! Recursive descent with binding powers. Names are resolved on the way: functions and variables precede their use.
//!
//! Recursion is bounded by [`NESTING_MAX`], the height of the tree by [`HEIGHT_MAX`]: neither parsing, evaluating nor
//! dropping a tree can exhaust a stack.

use super::super::SyntaxError;
use super::super::builtins;
use super::super::syntax::{Definition, Kind, Term};
use super::lexer::{Lexer, Token};
use super::operators::COMMA;
use super::scope::Scopes;
use crate::value::Value;
use std::collections::BTreeMap;

/// Recursive calls of the parser; a parenthesis takes two. More than people write, less than 1 MiB of stack.
pub(super) const NESTING_MAX: u32 = 128;
/// Also bounds chains like `1 + 1 + …`, which are as high as they are long.
const HEIGHT_MAX: u16 = 160;

pub(super) const KEYWORDS: &[&str] = &[
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
    pub(super) free: BTreeMap<String, u32>,
    pub(super) prelude: Vec<(String, usize)>,
    /// Whether this is the prelude itself, which sees the natives that start with `_`.
    pub(super) inside: bool,
    /// Whether `,` separates outputs here; not so inside `{a: …}`.
    pub(super) commas: bool,
    nesting: u32,
}

pub(super) type Parse<T> = Result<T, SyntaxError>;

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

    pub(super) fn take_word(&mut self, word: &str) -> Parse<bool> {
        let found = self.is_word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Parse<()> {
        if self.take_word(word)? { Ok(()) } else { self.unexpected(&format!("`{word}`")) }
    }

    pub(super) fn expect_end(&self) -> Parse<()> {
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
}
