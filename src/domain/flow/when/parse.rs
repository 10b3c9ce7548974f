//! From text to an expression, or to the column where it stops making sense.

use std::fmt;

use serde_json::Value;

use super::{Compare, Node, Path, Step};

/// Far beyond what a person writes on a line.
const MOST_BYTES: usize = 4096;
const MOST_DEPTH: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// In characters, from 1.
    pub column: usize,
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(Value),
    Sign(&'static str),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Sign(sign) => f.write_str(sign),
            Self::End => f.write_str("the end"),
        }
    }
}

/// The long ones first.
const SIGNS: [&str; 17] =
    ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ".", ",", "=", "&"];
const RESERVED: [&str; 9] = ["and", "or", "not", "in", "true", "false", "null", "exists", "len"];

pub(super) fn parse(text: &str) -> Result<Node, ParseError> {
    if text.len() > MOST_BYTES {
        return Err(ParseError {
            column: 1,
            message: format!("{} bytes are too long; {MOST_BYTES} at most", text.len()),
        });
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    if *parser.peek() == Token::End {
        return parser.wrong("it is empty; write a condition such as key == \"value\"");
    }
    let node = parser.either()?;
    match parser.peek() {
        Token::End => Ok(node),
        Token::Sign("=") => parser.wrong("to compare, write =="),
        other @ (Token::Word(_) | Token::Text(_) | Token::Number(_) | Token::Sign(_)) => {
            let message = format!("expected a comparison, and, or, or the end, found {other}");
            parser.wrong(message)
        }
    }
}

/// Whether a key may stand behind a dot as it is.
pub(super) fn is_plain(key: &str) -> bool {
    key.starts_with(|c: char| c.is_alphabetic() || c == '_') && key.chars().all(in_word)
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, ParseError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let column = |rest: &str| text.chars().count() - rest.chars().count() + 1;
    loop {
        rest = rest.trim_start();
        let at = column(rest);
        let wrong = |message: String| ParseError { column: at, message };
        let Some(first) = rest.chars().next() else { break };
        let number = first.is_ascii_digit()
            || first == '-'
                && rest.get(1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let (token, length) = if number {
            let length = rest
                .char_indices()
                .find(|(at, c)| {
                    let exponent = rest.get(..*at).is_some_and(|before| before.ends_with(['e', 'E']));
                    !(c.is_alphanumeric() || *c == '.' || *at == 0 || matches!(c, '+' | '-') && exponent)
                })
                .map_or(rest.len(), |(at, _)| at);
            let literal = rest.get(..length).unwrap_or("");
            match serde_json::from_str(literal) {
                Ok(value @ Value::Number(_)) => (Token::Number(value), length),
                _ => return Err(wrong(format!("{literal} is no number"))),
            }
        } else if first == '"' || first == '\'' {
            quoted(rest, first).map_err(wrong)?
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
            (Token::Word(rest.get(..length).unwrap_or("").to_owned()), length)
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(*sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            return Err(wrong(format!("{first:?} has no meaning here")));
        };
        tokens.push((token, at));
        rest = rest.get(length..).unwrap_or("");
    }
    tokens.push((Token::End, column("")));
    Ok(tokens)
}

/// A text and its length with quotes. `\` takes the next character for what it is, but for `\n` and `\t`.
fn quoted(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((Token::Text(text), at + 1));
        }
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some((_, 'n')) => text.push('\n'),
            Some((_, 't')) => text.push('\t'),
            Some((_, other)) => text.push(other),
            None => break,
        }
    }
    Err("the text that starts here is not closed".into())
}

struct Parser {
    /// The last one is the end.
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// Whether the next token is this word or sign; it is taken if so.
    fn takes(&mut self, what: &str) -> bool {
        let found = match self.peek() {
            Token::Word(word) => word == what,
            Token::Sign(sign) => *sign == what,
            Token::Text(_) | Token::Number(_) | Token::End => false,
        };
        self.at += usize::from(found);
        found
    }

    fn expects(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.takes(sign) {
            return Ok(());
        }
        let message = format!("expected {sign}, found {}", self.peek());
        self.wrong(message)
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        let end = self.tokens.last().map_or(1, |(_, column)| *column);
        let column = self.tokens.get(self.at).map_or(end, |(_, column)| *column);
        Err(ParseError { column, message: message.into() })
    }

    fn either(&mut self) -> Result<Node, ParseError> {
        let first = self.both()?;
        let mut nodes = vec![first];
        while self.takes("or") || self.takes("||") {
            nodes.push(self.both()?);
        }
        Ok(one_or(nodes, Node::Or))
    }

    fn both(&mut self) -> Result<Node, ParseError> {
        let first = self.negation()?;
        let mut nodes = vec![first];
        while self.takes("and") || self.takes("&&") {
            nodes.push(self.negation()?);
        }
        Ok(one_or(nodes, Node::And))
    }

    fn negation(&mut self) -> Result<Node, ParseError> {
        let mut negated = false;
        let mut any = false;
        while self.takes("not") || self.takes("!") {
            negated = !negated;
            any = true;
        }
        let inner = self.comparison()?;
        Ok(match (any, negated) {
            (false, _) => inner,
            (true, true) => Node::Not(Box::new(inner)),
            // Twice is not nothing: what comes out is true or false.
            (true, false) => Node::Not(Box::new(Node::Not(Box::new(inner)))),
        })
    }

    fn comparison(&mut self) -> Result<Node, ParseError> {
        let left = self.operand()?;
        let Some(how) = self.comparator()? else { return Ok(left) };
        let right = self.operand()?;
        let again = self.at;
        if self.comparator()?.is_some() {
            self.at = again;
            return self.wrong("one comparison at a time: join two with and");
        }
        Ok(Node::Compare(Box::new(left), how, Box::new(right)))
    }

    fn comparator(&mut self) -> Result<Option<Compare>, ParseError> {
        const ALL: [(&str, Compare); 7] = [
            ("==", Compare::Equal),
            ("!=", Compare::Unequal),
            ("<", Compare::Less),
            ("<=", Compare::AtMost),
            (">", Compare::More),
            (">=", Compare::AtLeast),
            ("in", Compare::In),
        ];
        if let Some((_, how)) = ALL.into_iter().find(|(sign, _)| self.takes(sign)) {
            return Ok(Some(how));
        }
        if !self.takes("not") {
            return Ok(None);
        }
        self.expects("in").map(|()| Some(Compare::NotIn))
    }

    fn operand(&mut self) -> Result<Node, ParseError> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return self.wrong(format!("more than {MOST_DEPTH} parentheses in one another"));
        }
        let node = self.operand_inside()?;
        self.depth -= 1;
        Ok(node)
    }

    fn operand_inside(&mut self) -> Result<Node, ParseError> {
        let start = self.at;
        match self.next() {
            Token::Text(text) => Ok(Node::Literal(Value::String(text))),
            Token::Number(number) => Ok(Node::Literal(number)),
            Token::Sign("(") => {
                let inner = self.either()?;
                self.expects(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                let mut items = Vec::new();
                while !self.takes("]") {
                    items.push(self.operand()?);
                    if !self.takes(",") {
                        self.expects("]")?;
                        break;
                    }
                }
                Ok(Node::List(items))
            }
            Token::Word(word) => match word.as_str() {
                "true" => Ok(Node::Literal(Value::Bool(true))),
                "false" => Ok(Node::Literal(Value::Bool(false))),
                "null" => Ok(Node::Literal(Value::Null)),
                "exists" => {
                    self.expects("(")?;
                    let start = self.at;
                    let Token::Word(word) = self.next() else {
                        self.at = start;
                        return self.wrong("exists(…) takes a key");
                    };
                    let path = self.path(word, start)?;
                    self.expects(")")?;
                    Ok(Node::Exists(path))
                }
                "len" => {
                    self.expects("(")?;
                    let inner = self.operand()?;
                    self.expects(")")?;
                    Ok(Node::Len(Box::new(inner)))
                }
                _ => self.path(word, start).map(Node::Path),
            },
            other @ (Token::Sign(_) | Token::End) => {
                self.at = start;
                self.wrong(format!("expected a key, a text, a number or a parenthesis, found {other}"))
            }
        }
    }

    /// `start` is where the first word stands, for the error.
    fn path(&mut self, first: String, start: usize) -> Result<Path, ParseError> {
        let mut steps = Vec::new();
        loop {
            if self.takes(".") {
                match self.next() {
                    Token::Word(word) => steps.push(Step::Key(word)),
                    other @ (Token::Text(_) | Token::Number(_) | Token::Sign(_) | Token::End) => {
                        self.at -= 1;
                        return self.wrong(format!("expected a key behind the dot, found {other}"));
                    }
                }
            } else if self.takes("[") {
                match self.next() {
                    Token::Text(text) => steps.push(Step::Key(text)),
                    Token::Number(Value::Number(number)) if number.is_u64() => {
                        let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
                        steps.push(Step::Index(index.unwrap_or(usize::MAX)));
                    }
                    other @ (Token::Word(_) | Token::Number(_) | Token::Sign(_) | Token::End) => {
                        self.at -= 1;
                        return self
                            .wrong(format!("expected a place such as [0] or [\"key\"], found {other}"));
                    }
                }
                self.expects("]")?;
            } else {
                break;
            }
        }
        if first == "state" {
            let Some(Step::Key(key)) = (!steps.is_empty()).then(|| steps.remove(0)) else {
                self.at = start;
                return self.wrong("state needs a key: state.KEY");
            };
            return Ok(Path { key, steps });
        }
        if RESERVED.contains(&first.as_str()) {
            self.at = start;
            return self.wrong(format!("expected a key, found {first}; a key of that name is state.{first}"));
        }
        if *self.peek() == Token::Sign("(") {
            self.at = start;
            return self.wrong(format!("there is no function {first}; there are exists and len"));
        }
        Ok(Path { key: first, steps })
    }
}

fn one_or(mut nodes: Vec<Node>, all: fn(Vec<Node>) -> Node) -> Node {
    match (nodes.len(), nodes.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            nodes.extend(last);
            all(nodes)
        }
    }
}
