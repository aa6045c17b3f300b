//! Tokens of jq, one at a time. Strings are read piece by piece, because expressions may stand inside them.

use super::super::SyntaxError;
use crate::value::Value;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    End,
    /// A name or a keyword.
    Word(String),
    /// `.name`
    Field(String),
    /// `$name`
    Variable(String),
    Number(Value),
    /// An opening `"`: the parser reads on with [`Lexer::piece`].
    Quote,
    /// `@name`
    Format(String),
    Sign(&'static str),
}

/// Longest first, so that the first that fits is the right one.
const SIGNS: [&str; 34] = [
    "?//", "//=", "//", "|=", "|", "+=", "+", "-=", "-", "*=", "*", "/=", "/", "%=", "%", "==", "=", "!=", "<=", "<", ">=", ">", "(", ")",
    "[", "]", "{", "}", ",", ":", ";", "?", "..", ".",
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceEnd {
    Quote,
    Interpolation,
}

pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// An error at byte `at`, with line and column in characters.
    pub(super) fn error(&self, at: usize, message: impl Into<String>) -> SyntaxError {
        let before = self.source.get(..at).unwrap_or(self.source);
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
        SyntaxError { message: message.into(), line: count(line), column: count(column) }
    }

    pub(super) fn line(&self, at: usize) -> i64 {
        i64::from(self.error(at, "").line)
    }

    /// The next token and the byte where it starts.
    pub(super) fn next(&mut self) -> Result<(Token, usize), SyntaxError> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.peek() else { return Ok((Token::End, start)) };
        let token = match first {
            'a'..='z' | 'A'..='Z' | '_' => Token::Word(self.word()),
            '0'..='9' => self.number(start)?,
            '"' => {
                self.at += 1;
                Token::Quote
            }
            '.' => self.dot(start)?,
            '$' => {
                self.at += 1;
                self.skip_blanks();
                let name = self.word();
                if name.is_empty() {
                    return Err(self.error(start, "`$` needs a name"));
                }
                Token::Variable(name)
            }
            '@' => {
                self.at += 1;
                Token::Format(self.word())
            }
            _ => self.sign(start)?,
        };
        Ok((token, start))
    }

    fn skip_blanks(&mut self) {
        while let Some(next) = self.peek() {
            if next == '#' {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if next.is_ascii_whitespace() {
                self.at += 1;
            } else {
                break;
            }
        }
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return String::new();
        }
        self.at += end;
        word.to_owned()
    }

    fn dot(&mut self, start: usize) -> Result<Token, SyntaxError> {
        match self.rest().chars().nth(1) {
            Some('a'..='z' | 'A'..='Z' | '_') => {
                self.at += 1;
                Ok(Token::Field(self.word()))
            }
            Some('0'..='9') => self.number(start),
            _ => self.sign(start),
        }
    }

    fn number(&mut self, start: usize) -> Result<Token, SyntaxError> {
        self.digits();
        if self.peek() == Some('.') {
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            let mantissa_end = self.at;
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                self.at = mantissa_end;
            }
        }
        let text = self.source.get(start..self.at).unwrap_or_default();
        let number = match text.parse::<i64>() {
            Ok(whole) => Some(Value::Int(whole)),
            Err(_) => text.parse::<f64>().ok().and_then(Value::number),
        };
        number.map(Token::Number).ok_or_else(|| self.error(start, format!("`{text}` is not a number we can hold")))
    }

    fn digits(&mut self) -> usize {
        let rest = self.rest();
        let count = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        count
    }

    fn sign(&mut self, start: usize) -> Result<Token, SyntaxError> {
        let rest = self.rest();
        // `.a?//=1` is `.a?` and `//=`.
        if rest.starts_with("?//=") {
            self.at += 1;
            return Ok(Token::Sign("?"));
        }
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Ok(Token::Sign(sign));
        }
        let first = rest.chars().next().unwrap_or(' ');
        let hint = match first {
            '\'' => "; strings are written with double quotes",
            '&' => "; write `and`",
            '!' => "; write `… | not`",
            _ => "",
        };
        Err(self.error(start, format!("unexpected character `{first}`{hint}")))
    }

    /// Reads inside a string up to its end or to `\(`.
    pub(super) fn piece(&mut self) -> Result<(String, PieceEnd), SyntaxError> {
        let mut text = String::new();
        loop {
            let at = self.at;
            let Some(next) = self.peek() else { return Err(self.error(at, "the string has no end")) };
            self.at += next.len_utf8();
            match next {
                '"' => return Ok((text, PieceEnd::Quote)),
                '\\' => {
                    let Some(escape) = self.peek() else { return Err(self.error(at, "the string has no end")) };
                    self.at += escape.len_utf8();
                    match escape {
                        '(' => return Ok((text, PieceEnd::Interpolation)),
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        'r' => text.push('\r'),
                        'b' => text.push('\u{8}'),
                        'f' => text.push('\u{c}'),
                        '"' | '\\' | '/' => text.push(escape),
                        'u' => text.push(self.unicode(at)?),
                        other => return Err(self.error(at, format!("`\\{other}` is not an escape"))),
                    }
                }
                other => text.push(other),
            }
        }
    }

    fn unicode(&mut self, at: usize) -> Result<char, SyntaxError> {
        let first = self.hex(at)?;
        if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += 2;
            let second = self.hex(at)?;
            let joined = 0x10000 + ((first - 0xD800) << 10) + (second.wrapping_sub(0xDC00) & 0x3FF);
            if (0xDC00..0xE000).contains(&second) {
                return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            return Err(self.error(at, "half a surrogate pair"));
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self, at: usize) -> Result<u32, SyntaxError> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4 * usize::from(code.is_some());
        code.ok_or_else(|| self.error(at, "`\\u` needs four hexadecimal digits"))
    }
}
