//! Terms and their suffixes: literals, strings, variables, brackets, `.a`, `[…]`, `?`.

use super::super::builtins::format::Format;
use super::super::syntax::{Kind, Part, Term};
use super::lexer::{PieceEnd, Token};
use super::names;
use super::parser::{Parse, Parser};
use crate::value::Value;
use std::sync::Arc;

impl Parser<'_> {
    pub(super) fn postfix(&mut self) -> Parse<Term> {
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
}
