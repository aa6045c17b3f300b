//! `{a, $b, "c": 1, (.d): 2}`.

use super::super::SyntaxError;
use super::super::builtins::format::Format;
use super::super::syntax::{Kind, Term};
use super::lexer::Token;
use super::parser::Parser;
use crate::value::Value;

impl Parser<'_> {
    pub(super) fn object(&mut self) -> Result<Term, SyntaxError> {
        self.expect("{")?;
        let commas = std::mem::replace(&mut self.commas, false);
        let mut fields = Vec::new();
        while !self.is("}") {
            fields.push(self.field()?);
            if !self.take(",")? {
                break;
            }
        }
        self.commas = commas;
        self.expect("}")?;
        self.node(Kind::Object(fields))
    }

    fn field(&mut self) -> Result<(Term, Option<Term>), SyntaxError> {
        // `{a}` is `{a: .a}`: keys for which the input's own field may stand in.
        let mut stands_alone = false;
        let key = match &self.token {
            Token::Word(name) => {
                let key = self.literal(Value::string(name));
                self.advance()?;
                stands_alone = true;
                key
            }
            Token::Variable(name) => {
                let key = self.literal(Value::string(name));
                let value = self.variable()?;
                if !self.is(":") {
                    return Ok((key, Some(value)));
                }
                // `{$a: 1}`: the variable's value is the key.
                value
            }
            Token::Quote => {
                stands_alone = true;
                self.text(Format::Text)?
            }
            Token::Format(name) => {
                let Some(format) = Format::by_name(name) else { return self.fail(super::names::unknown_format(name)) };
                self.advance()?;
                if self.token != Token::Quote {
                    return self.unexpected("a string");
                }
                stands_alone = true;
                self.text(format)?
            }
            Token::Number(number) => {
                let key = self.literal(number.clone());
                self.advance()?;
                key
            }
            Token::Sign("(") => {
                self.advance()?;
                self.bracketed(")")?
            }
            _ => return self.unexpected("a key"),
        };
        if self.take(":")? {
            return Ok((key, Some(self.pipe()?)));
        }
        if stands_alone { Ok((key, None)) } else { self.unexpected("`:`") }
    }
}
