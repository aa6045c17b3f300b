//! What binds names before a term or around one: `def`, `label`, `as`.

use super::super::syntax::{Binding, Definition, Kind, Pattern, Term};
use super::lexer::Token;
use super::parser::{KEYWORDS, Parse, Parser};
use super::scope::Scope;
use crate::value::Value;

impl Parser<'_> {
    /// A term with what follows it, or a prefix form.
    pub(super) fn operand(&mut self) -> Parse<Term> {
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
                    // In its one form: 2^63 is a float, its negative the smallest whole number.
                    Kind::Literal(Value::Float(number)) => Ok(parser.literal(Value::number(-number).unwrap_or_default())),
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

    pub(super) fn definition(&mut self, global: bool) -> Parse<(String, usize, Definition)> {
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
}
