//! `as [$a, {b: $c}] ?// $d`: destructuring patterns.

use super::super::SyntaxError;
use super::super::builtins::format::Format;
use super::super::syntax::{Pattern, Term};
use super::lexer::Token;
use super::parser::Parser;
use crate::value::Value;

impl Parser<'_> {
    /// Patterns and the names of all their variables; a variable's slot is its place among the names.
    pub(super) fn patterns(&mut self) -> Result<(Vec<Pattern>, Vec<String>), SyntaxError> {
        let mut names = Vec::new();
        let mut patterns = vec![self.pattern(&mut names)?];
        while self.take("?//")? {
            patterns.push(self.pattern(&mut names)?);
        }
        Ok((patterns, names))
    }

    fn pattern(&mut self, names: &mut Vec<String>) -> Result<Pattern, SyntaxError> {
        self.nested(|parser| match &parser.token {
            Token::Variable(name) => {
                let slot = slot(names, name);
                parser.advance()?;
                Ok(Pattern::Variable(slot))
            }
            Token::Sign("[") => {
                parser.advance()?;
                let mut items = vec![parser.pattern(names)?];
                while parser.take(",")? {
                    items.push(parser.pattern(names)?);
                }
                parser.expect("]")?;
                Ok(Pattern::Array(items))
            }
            Token::Sign("{") => {
                parser.advance()?;
                let mut fields = vec![parser.field_pattern(names)?];
                while parser.take(",")? {
                    fields.push(parser.field_pattern(names)?);
                }
                parser.expect("}")?;
                Ok(Pattern::Object(fields))
            }
            _ => parser.unexpected("a pattern: `$name`, `[…]` or `{…}`"),
        })
    }

    fn field_pattern(&mut self, names: &mut Vec<String>) -> Result<(Term, Option<u32>, Option<Pattern>), SyntaxError> {
        let mut whole = None;
        let key = match &self.token {
            Token::Variable(name) => {
                whole = Some(slot(names, name));
                let key = self.literal(Value::string(name));
                self.advance()?;
                key
            }
            Token::Word(name) => {
                let key = self.literal(Value::string(name));
                self.advance()?;
                key
            }
            Token::Quote => self.text(Format::Text)?,
            Token::Sign("(") => {
                self.advance()?;
                self.bracketed(")")?
            }
            _ => return self.unexpected("a key"),
        };
        let inner = if self.take(":")? { Some(self.pattern(names)?) } else { None };
        if whole.is_none() && inner.is_none() {
            return self.unexpected("`:` and a pattern");
        }
        Ok((key, whole, inner))
    }
}

fn slot(names: &mut Vec<String>, name: &str) -> u32 {
    let place = names.iter().position(|own| own == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    u32::try_from(place).unwrap_or(u32::MAX)
}
