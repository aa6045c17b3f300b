//! Terms that begin with a word: `if`, `try`, `reduce`, `foreach`, `break`, and calls.

use super::super::accumulate::accumulates;
use super::super::builtins;
use super::super::syntax::{Fold, Kind, Term};
use super::lexer::Token;
use super::names;
use super::parser::{KEYWORDS, Parse, Parser};
use super::scope::{Function, Scope};
use crate::value::Value;

impl Parser<'_> {
    pub(super) fn word(&mut self) -> Parse<Term> {
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
        let accumulates = !each && patterns.len() == 1 && accumulates(&update);
        let fold = Box::new(Fold { source, patterns, slots, init, update, extract, accumulates });
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
