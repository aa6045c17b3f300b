//! Operators between terms, by binding power.

use super::super::syntax::{Assignment, Kind, Operator, Term};
use super::lexer::Token;
use super::parser::{Parse, Parser};

impl Parser<'_> {
    pub(super) fn expression(&mut self, least: u8) -> Parse<Term> {
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
}

pub(super) const COMMA: u8 = 2;

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
