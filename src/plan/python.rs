//! What can be said of a Python text without running it: whether it is surely no Python, and what it imports.
//!
//! Not a parser: the text is cut into tokens, and what may follow what is asked of neighbours. So nothing recurses, whatever
//! a model nests, and Python of a later version is not refused for what is new in it. A text that passes may still be
//! refused by an interpreter; one that is refused is refused by every Python 3. Source: The Python Language Reference,
//! chapters 2 (lexical analysis) and 10 (full grammar).

use std::fmt;

/// Why a text is no Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxProblem {
    /// The line, from one.
    pub(super) line: usize,
    /// What is wrong in it.
    pub(super) what: String,
}

impl fmt::Display for SyntaxProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// The modules that a Python text imports, as written and without those relative to its own, in the order of the text.
///
/// # Errors
/// When the text is surely no Python.
pub(super) fn imports(text: &str) -> Result<Vec<String>, SyntaxProblem> {
    let tokens = Lexer::new(text).tokens()?;
    check(&tokens)?;
    Ok(imported(&tokens))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Number,
    Text,
    /// An operator, a bracket or another mark.
    Mark,
    /// The end of a line that is not inside brackets.
    Newline,
    Indent,
    Dedent,
}

#[derive(Debug, Clone, Copy)]
struct Token<'t> {
    kind: Kind,
    text: &'t str,
    line: usize,
}

impl Token<'_> {
    fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Name | Kind::Mark) && self.text == text
    }

    fn ends_statement(&self) -> bool {
        self.kind == Kind::Newline || self.is(";")
    }
}

/// Marks, the longer ones first.
const MARKS: [&str; 48] = [
    "...", "**=", "//=", ">>=", "<<=", "==", "!=", "<=", ">=", "->", ":=", "+=", "-=", "*=", "/=", "%=", "@=", "&=",
    "|=", "^=", "**", "//", "<<", ">>", "+", "-", "*", "/", "%", "@", "&", "|", "^", "~", "<", ">", "(", ")", "[", "]",
    "{", "}", ",", ":", ".", ";", "=", "<>",
];

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    tokens: Vec<Token<'t>>,
    /// Widths of the blocks that are open.
    indents: Vec<usize>,
    /// Brackets that are open.
    open: Vec<(char, usize)>,
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str) -> Self {
        Lexer {
            text,
            at: 0,
            line: 1,
            tokens: Vec::new(),
            indents: vec![0],
            open: Vec::new(),
        }
    }

    fn problem(&self, what: impl Into<String>) -> SyntaxProblem {
        SyntaxProblem {
            line: self.line,
            what: what.into(),
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let text = &self.rest()[..length];
        self.tokens.push(Token {
            kind,
            text,
            line: self.line,
        });
        self.line += text.matches('\n').count();
        self.at += length;
    }

    fn tokens(mut self) -> Result<Vec<Token<'t>>, SyntaxProblem> {
        loop {
            if self.open.is_empty() && self.is_line_start() && !self.indentation()? {
                break;
            }
            let Some(character) = self.peek() else { break };
            self.token(character)?;
        }
        if let Some((bracket, line)) = self.open.last() {
            let what = format!("the bracket `{bracket}` is not closed");
            return Err(SyntaxProblem { line: *line, what });
        }
        if !self.is_line_start() {
            self.push(Kind::Newline, 0);
        }
        self.close_blocks(0)?;
        Ok(self.tokens)
    }

    fn is_line_start(&self) -> bool {
        let last = self.tokens.last().map(|token| token.kind);
        matches!(last, None | Some(Kind::Newline | Kind::Dedent))
    }

    /// Measures the blanks before the first token of a line; false at the end of the text. Lines without a token do not
    /// count.
    fn indentation(&mut self) -> Result<bool, SyntaxProblem> {
        loop {
            let mut width = 0;
            for byte in self.rest().bytes() {
                match byte {
                    b' ' => width += 1,
                    // To the next multiple of eight.
                    b'\t' => width = (width / 8 + 1) * 8,
                    b'\x0c' => width = 0,
                    _ => break,
                }
                self.at += 1;
            }
            if self.rest().starts_with('#') {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            }
            match self.peek() {
                None => return Ok(false),
                Some('\n') => (self.at, self.line) = (self.at + 1, self.line + 1),
                Some('\r') => self.at += 1,
                Some(_) => return self.open_block(width).map(|()| true),
            }
        }
    }

    fn open_block(&mut self, width: usize) -> Result<(), SyntaxProblem> {
        if width > self.indents.last().copied().unwrap_or(0) {
            self.indents.push(width);
            self.push(Kind::Indent, 0);
            return Ok(());
        }
        self.close_blocks(width)
    }

    fn close_blocks(&mut self, width: usize) -> Result<(), SyntaxProblem> {
        while self.indents.last().is_some_and(|open| *open > width) {
            self.indents.pop();
            self.push(Kind::Dedent, 0);
        }
        match self.indents.last() == Some(&width) {
            true => Ok(()),
            false => Err(self.problem("the indentation is that of no block around it")),
        }
    }

    fn token(&mut self, character: char) -> Result<(), SyntaxProblem> {
        match character {
            ' ' | '\t' | '\r' | '\x0c' => self.at += 1,
            '#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
            '\n' if self.open.is_empty() => self.push(Kind::Newline, 1),
            '\n' => (self.at, self.line) = (self.at + 1, self.line + 1),
            '\\' => {
                let length = ["\\\n", "\\\r\n"].iter().find(|end| self.rest().starts_with(**end));
                let length = length.ok_or_else(|| self.problem("a backslash outside of a text has to end its line"))?;
                (self.at, self.line) = (self.at + length.len(), self.line + 1);
            }
            '"' | '\'' => self.string(0)?,
            _ if is_name_start(character) => self.name()?,
            _ if character.is_ascii_digit() || self.is_fraction() => self.number(),
            _ => self.mark(character)?,
        }
        Ok(())
    }

    fn is_fraction(&self) -> bool {
        let mut characters = self.rest().chars();
        characters.next() == Some('.') && characters.next().is_some_and(|next| next.is_ascii_digit())
    }

    fn name(&mut self) -> Result<(), SyntaxProblem> {
        let length = self
            .rest()
            .find(|character| !is_name_part(character))
            .unwrap_or(self.rest().len());
        let is_prefix = length <= 2
            && self.rest()[..length]
                .chars()
                .all(|letter| "rRbBuUfFtT".contains(letter));
        match self.rest()[length..].chars().next() {
            Some('"' | '\'') if is_prefix => self.string(length),
            _ => {
                self.push(Kind::Name, length);
                Ok(())
            }
        }
    }

    /// A number with whatever letters it has: which are right is not asked.
    fn number(&mut self) {
        let bytes = self.rest().as_bytes();
        let is_hexadecimal = matches!(bytes, [b'0', b'x' | b'X', ..]);
        let mut length = 0;
        while let Some(byte) = bytes.get(length) {
            let is_exponent_sign = matches!(byte, b'+' | b'-')
                && !is_hexadecimal
                && length > 0
                && matches!(bytes[length - 1], b'e' | b'E');
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || is_exponent_sign) {
                break;
            }
            length += 1;
        }
        // `1if x else y` is legal, and the letters are those of a keyword.
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let keyword = ["if", "else", "and", "or", "in", "is", "for", "not"];
        let is_glued = !is_hexadecimal && keyword.iter().any(|word| self.rest()[digits..length].starts_with(word));
        self.push(Kind::Number, if is_glued { digits } else { length });
    }

    fn mark(&mut self, character: char) -> Result<(), SyntaxProblem> {
        let found = MARKS.iter().find(|mark| self.rest().starts_with(**mark));
        let mark = found
            .ok_or_else(|| self.problem(format!("the character {character:?} has no meaning outside of a text")))?;
        match character {
            '(' | '[' | '{' => self.open.push((character, self.line)),
            ')' | ']' | '}' => {
                let opening = self.open.pop().map(|(opening, _)| opening);
                if opening != Some(opposite(character)) {
                    return Err(self.problem(format!("the bracket `{character}` closes nothing")));
                }
            }
            _ => {}
        }
        self.push(Kind::Mark, mark.len());
        Ok(())
    }

    fn string(&mut self, prefix: usize) -> Result<(), SyntaxProblem> {
        let body = &self.rest()[prefix..];
        let quote = body.chars().next().unwrap_or('"');
        let triple = quote.to_string().repeat(3);
        let mark = if body.starts_with(&triple) {
            &triple[..]
        } else {
            &triple[..1]
        };
        let is_formatted = self.rest()[..prefix].chars().any(|letter| "fFtT".contains(letter));
        let length = string_length(body, mark, is_formatted)
            // A brace that is not closed: then it is no place for an expression after all.
            .or_else(|| string_length(body, mark, false))
            .ok_or_else(|| self.problem(format!("the text that begins with {mark} does not end")))?;
        self.push(Kind::Text, prefix + length);
        Ok(())
    }
}

/// The length of a literal with its quotes. In the braces of a formatted one, quotes belong to the expression there.
fn string_length(body: &str, mark: &str, is_formatted: bool) -> Option<usize> {
    let bytes = body.as_bytes();
    let (mut at, mut braces) = (mark.len(), 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'\n' if mark.len() == 1 => return None,
            b'{' if is_formatted && braces == 0 && bytes.get(at + 1) == Some(&b'{') => at += 1,
            b'{' if is_formatted => braces += 1,
            b'}' if is_formatted => braces = braces.saturating_sub(1),
            quote @ (b'"' | b'\'') if braces > 0 => {
                let inner = bytes[at + 1..].iter().position(|byte| *byte == quote)?;
                at += inner + 1;
            }
            _ if braces == 0 && bytes[at..].starts_with(mark.as_bytes()) => return Some(at + mark.len()),
            _ => {}
        }
        at += 1;
    }
    None
}

fn is_name_start(character: char) -> bool {
    character == '_' || character.is_alphabetic()
}

fn is_name_part(character: char) -> bool {
    // Marks that join a letter are part of a name too, and which is no question here.
    character == '_' || character.is_alphanumeric() || (!character.is_ascii() && !character.is_whitespace())
}

fn opposite(closing: char) -> char {
    match closing {
        ')' => '(',
        ']' => '[',
        _ => '{',
    }
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// An operand has to.
    Operand,
    /// An operand may; what is there is complete without.
    Maybe,
    /// An operand is complete: an operator, or the end.
    Operator,
    /// A name has to, after a dot.
    Name,
}

/// Words that begin a statement with a block. They stand first in their line.
const COMPOUND: [&str; 13] = [
    "if", "elif", "else", "for", "while", "try", "except", "finally", "with", "def", "class", "match", "case",
];
/// Those that need no operand before their colon.
const BARE: [&str; 4] = ["else", "try", "except", "finally"];
/// Words before an operand.
const PREFIX: [&str; 9] = [
    "not", "await", "del", "assert", "import", "global", "nonlocal", "lambda", "from",
];
/// Words before which nothing is needed and after which an operand may come.
const OPTIONAL: [&str; 3] = ["return", "raise", "yield"];
/// Words between operands.
const INFIX: [&str; 11] = [
    "and", "or", "in", "is", "if", "else", "for", "from", "as", "import", "async",
];
/// Words that are operands, or whole statements.
const WHOLE: [&str; 6] = ["None", "True", "False", "pass", "break", "continue"];

/// One statement as it is read.
struct Reader<'a, 't> {
    tokens: &'a [Token<'t>],
    at: usize,
    next: Next,
    /// For each open bracket and the statement itself: functions whose colon is still to come.
    lambdas: Vec<usize>,
    /// Whether a colon at the outermost level opens a block.
    awaits_block: bool,
}

fn check(tokens: &[Token<'_>]) -> Result<(), SyntaxProblem> {
    let mut at = 0;
    let mut is_line_start = true;
    let mut needs_block = false;
    while let Some(token) = tokens.get(at) {
        match token.kind {
            Kind::Indent if !needs_block => return Err(problem(token, "is indented, and no block begins there")),
            Kind::Indent | Kind::Dedent => at += 1,
            Kind::Newline => return Err(problem(token, "a statement is missing")),
            _ => {
                if needs_block && is_line_start && at > 0 && tokens[at - 1].kind != Kind::Indent {
                    return Err(problem(token, "an indented block is missing"));
                }
                let mut reader = Reader {
                    tokens,
                    at,
                    next: Next::Maybe,
                    lambdas: vec![0],
                    awaits_block: false,
                };
                let end = reader.statement(is_line_start)?;
                at = reader.at;
                (is_line_start, needs_block) = match end {
                    End::Line => (true, false),
                    End::BlockBelow => (true, true),
                    End::Statement => (false, false),
                };
                continue;
            }
        }
        needs_block = needs_block && token.kind == Kind::Indent;
    }
    match needs_block {
        true => Err(problem(tokens.last().unwrap_or(&END), "an indented block is missing")),
        false => Ok(()),
    }
}

const END: Token<'static> = Token {
    kind: Kind::Newline,
    text: "",
    line: 1,
};

/// How a statement ended.
enum End {
    /// With its line.
    Line,
    /// With its line, and its block comes below.
    BlockBelow,
    /// Before another statement in the same line.
    Statement,
}

fn problem(token: &Token<'_>, what: &str) -> SyntaxProblem {
    let shown = match token.kind {
        Kind::Newline | Kind::Indent | Kind::Dedent => what.to_owned(),
        _ => format!("`{}`: {what}", token.text.chars().take(40).collect::<String>()),
    };
    SyntaxProblem {
        line: token.line,
        what: shown,
    }
}

impl Reader<'_, '_> {
    fn statement(&mut self, is_line_start: bool) -> Result<End, SyntaxProblem> {
        let first = self.at;
        self.opening(is_line_start)?;
        while let Some(token) = self.tokens.get(self.at) {
            if token.ends_statement() {
                return self.end(token, first);
            }
            let opens_block = token.is(":") && self.lambdas == [0] && self.awaits_block;
            self.take(token, first)?;
            self.at += 1;
            if opens_block {
                self.awaits_block = false;
                return match self.tokens.get(self.at) {
                    Some(token) if token.kind == Kind::Newline => {
                        self.at += 1;
                        Ok(End::BlockBelow)
                    }
                    _ => Ok(End::Statement),
                };
            }
        }
        Ok(End::Line)
    }

    fn end(&mut self, token: &Token<'_>, first: usize) -> Result<End, SyntaxProblem> {
        if matches!(self.next, Next::Operand | Next::Name) {
            return Err(problem(token, "the statement ends where something has to follow"));
        }
        if self.awaits_block {
            return Err(problem(&self.tokens[first], "the colon is missing"));
        }
        self.at += 1;
        if token.kind == Kind::Newline {
            return Ok(End::Line);
        }
        // A line may end in a semicolon.
        match self.tokens.get(self.at) {
            Some(token) if token.kind == Kind::Newline => {
                self.at += 1;
                Ok(End::Line)
            }
            _ => Ok(End::Statement),
        }
    }

    /// The word that a statement begins with, when it is one of its own.
    fn opening(&mut self, is_line_start: bool) -> Result<(), SyntaxProblem> {
        let mut token = &self.tokens[self.at];
        if token.is("async") {
            self.at += 1;
            token = self.tokens.get(self.at).unwrap_or(&END);
        }
        if token.is("@") {
            self.at += 1;
            self.next = Next::Operand;
            return Ok(());
        }
        if token.is("from") {
            self.at += 1;
            while self
                .tokens
                .get(self.at)
                .is_some_and(|token| token.is(".") || token.is("..."))
            {
                self.at += 1;
            }
            self.next = Next::Maybe;
            return Ok(());
        }
        if !COMPOUND.contains(&token.text) || token.kind != Kind::Name || !self.is_opening(token) {
            return Ok(());
        }
        if !is_line_start {
            return Err(problem(token, "has to stand first in its line"));
        }
        self.awaits_block = true;
        self.at += 1;
        self.next = match BARE.contains(&token.text) {
            true => Next::Maybe,
            false => Next::Operand,
        };
        Ok(())
    }

    /// `match`, `case` and `type` are words only where a statement cannot go on otherwise.
    fn is_opening(&self, token: &Token<'_>) -> bool {
        if !matches!(token.text, "match" | "case") {
            return true;
        }
        let line = self.tokens[self.at..]
            .iter()
            .take_while(|token| !token.ends_statement());
        let ends_in_colon = line.clone().any(|token| token.is(":"));
        let follows = self.tokens.get(self.at + 1);
        let goes_on =
            follows.is_none_or(|next| next.kind == Kind::Mark && !matches!(next.text, "(" | "[" | "{" | "-" | "*"));
        ends_in_colon && !goes_on
    }

    fn take(&mut self, token: &Token<'_>, first: usize) -> Result<(), SyntaxProblem> {
        match token.kind {
            Kind::Number => self.operand(token),
            Kind::Text if self.at > 0 && self.tokens[self.at - 1].kind == Kind::Text => Ok(()),
            Kind::Text => self.operand(token),
            Kind::Name => self.word(token, first),
            _ => self.mark(token, first),
        }
    }

    fn operand(&mut self, token: &Token<'_>) -> Result<(), SyntaxProblem> {
        match self.next {
            Next::Operator => Err(problem(
                token,
                "an operator, a comma or a new line is missing before it",
            )),
            Next::Name => Err(problem(token, "a name has to follow the dot")),
            Next::Operand | Next::Maybe => {
                self.next = Next::Operator;
                Ok(())
            }
        }
    }

    fn word(&mut self, token: &Token<'_>, first: usize) -> Result<(), SyntaxProblem> {
        let text = token.text;
        let is = |words: &[&str]| words.contains(&text);
        let is_keyword = is(&PREFIX) || is(&OPTIONAL) || is(&INFIX) || is(&WHOLE);
        let is_compound = is(&COMPOUND) && !is(&["match", "case"]) && !is(&INFIX);
        if self.next == Next::Name {
            self.next = Next::Operator;
            return match is_keyword || is_compound {
                true => Err(problem(token, "is a word of the language and no name")),
                false => Ok(()),
            };
        }
        let complete = self.next == Next::Operator;
        if complete && text == "not" {
            // Only as `not in`.
            self.at += 1;
            self.next = Next::Operand;
            return match self.tokens.get(self.at).is_some_and(|token| token.is("in")) {
                true => Ok(()),
                false => Err(problem(token, "an operator is missing before it")),
            };
        }
        let begins_with = |word| self.tokens[first].is(word);
        if complete && ((text == "from" && !begins_with("raise")) || (text == "import" && !begins_with("from"))) {
            return Err(problem(token, "cannot stand here"));
        }
        if complete && is(&INFIX) {
            self.next = if text == "async" { Next::Operator } else { Next::Operand };
            return Ok(());
        }
        // After a comma or a `yield`: `for x, in y`, `yield from x`, `from . import x`.
        if self.next == Next::Maybe && is(&["in", "from", "import"]) && self.at > first {
            self.next = Next::Operand;
            return Ok(());
        }
        if !complete && text == "lambda" {
            *self.innermost() += 1;
            self.next = Next::Maybe;
            return Ok(());
        }
        let is_first = self.at == first;
        if !complete && is(&PREFIX) && (is_first || is(&["not", "await"])) {
            self.next = Next::Operand;
            return Ok(());
        }
        if !complete && is(&OPTIONAL) {
            self.next = Next::Maybe;
            return Ok(());
        }
        if is_compound || (is_keyword && !is(&WHOLE)) {
            return Err(problem(token, "is a word of the language and cannot stand here"));
        }
        // `type X = int` and the like: a word that means something only at the beginning.
        if complete && self.at == first + 1 && self.tokens[first].is("type") {
            return Ok(());
        }
        self.operand(token)
    }

    fn innermost(&mut self) -> &mut usize {
        if self.lambdas.is_empty() {
            self.lambdas.push(0);
        }
        let last = self.lambdas.len() - 1;
        &mut self.lambdas[last]
    }

    fn mark(&mut self, token: &Token<'_>, first: usize) -> Result<(), SyntaxProblem> {
        let refused = |what| Err(problem(token, what));
        if self.next == Next::Name {
            return refused("a name has to follow the dot");
        }
        let complete = self.next == Next::Operator;
        self.next = match token.text {
            "(" | "[" | "{" => {
                self.lambdas.push(0);
                Next::Maybe
            }
            ")" | "]" | "}" if self.next == Next::Operand => return refused("something is missing before it"),
            ")" | "]" | "}" => {
                self.lambdas.pop();
                Next::Operator
            }
            "..." => return self.operand(token),
            "+" | "-" | "~" if !complete => Next::Operand,
            // Before arguments, and alone between parameters.
            "*" | "**" if !complete => Next::Maybe,
            "/" if self.next == Next::Maybe => Next::Operator,
            "," if complete || self.is_after_star() => Next::Maybe,
            ":" if self.next == Next::Operand => return refused("something is missing before it"),
            ":" => self.colon(),
            "~" => return refused("an operator is missing before it"),
            "." if complete => Next::Name,
            "=" if self.is_constant(first) => return refused("a constant cannot be assigned to"),
            "<>" => return refused("is written `!=`"),
            _ if complete => Next::Operand,
            // `(x, *a) = …` ends in an operand, but `x, = …` in a comma.
            "=" if self.next == Next::Maybe && self.at > first => Next::Operand,
            _ => return refused("something is missing before it"),
        };
        Ok(())
    }

    fn colon(&mut self) -> Next {
        let inside = self.lambdas.len() > 1;
        let pending = self.innermost();
        if *pending > 0 {
            *pending -= 1;
            return Next::Operand;
        }
        match inside {
            // A slice has nothing after its colon.
            true => Next::Maybe,
            false if self.awaits_block => Next::Maybe,
            false => Next::Operand,
        }
    }

    fn is_after_star(&self) -> bool {
        self.at > 0 && (self.tokens[self.at - 1].is("*") || self.tokens[self.at - 1].is("**"))
    }

    /// Whether all that stands before an assignment is a constant.
    fn is_constant(&self, first: usize) -> bool {
        let token = &self.tokens[first];
        let constant =
            matches!(token.kind, Kind::Number | Kind::Text) || ["None", "True", "False"].contains(&token.text);
        self.lambdas.len() == 1 && self.at == first + 1 && constant
    }
}

fn imported(tokens: &[Token<'_>]) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let begins = before.is_none_or(|before| {
            before.ends_statement() || before.is(":") || matches!(before.kind, Kind::Indent | Kind::Dedent)
        });
        let statement = || tokens[at + 1..].iter().take_while(|token| !token.ends_statement());
        if begins && token.is("import") {
            let names: Vec<_> = statement().copied().collect();
            let each = names.split(|token| token.is(","));
            modules.extend(each.map(|name| dotted(name.iter().take_while(|token| !token.is("as")))));
        }
        if begins && token.is("from") {
            let module = dotted(statement().take_while(|token| !token.is("import")));
            // One that begins with a dot is relative to the module itself.
            modules.extend(Some(module).filter(|module| !module.starts_with('.')));
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

fn dotted<'a>(tokens: impl Iterator<Item = &'a Token<'a>>) -> String {
    tokens.map(|token| token.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_no_python_reads_is_refused_with_its_line() {
        for (text, expected) in [
            ("def f(", "line 1: the bracket `(` is not closed"),
            ("1 +", "line 1: the statement ends where something has to follow"),
            ("x = = 1", "line 1: `=`: something is missing before it"),
            (
                "x = 1\nprint 'x'",
                "line 2: `'x'`: an operator, a comma or a new line is missing before it",
            ),
            (
                "import os; for x in y: pass",
                "line 1: `for`: has to stand first in its line",
            ),
            ("if x\n  y", "line 1: `if`: the colon is missing"),
            ("if x:\ny", "line 2: `y`: an indented block is missing"),
            ("if x:", "line 1: an indented block is missing"),
            ("x\n  y", "line 2: is indented, and no block begins there"),
            (
                "if x:\n    y\n  z",
                "line 3: the indentation is that of no block around it",
            ),
            (
                "a.1",
                "line 1: `.1`: an operator, a comma or a new line is missing before it",
            ),
            ("a.if", "line 1: `if`: is a word of the language and no name"),
            ("'abc", "line 1: the text that begins with ' does not end"),
            ("a)", "line 1: the bracket `)` closes nothing"),
            ("(a]", "line 1: the bracket `]` closes nothing"),
            ("a ? b", "line 1: the character '?' has no meaning outside of a text"),
            ("class = 1", "line 1: `=`: something is missing before it"),
            ("1 = x", "line 1: `=`: a constant cannot be assigned to"),
            (" x", "line 1: is indented, and no block begins there"),
            ("f(,)", "line 1: `,`: something is missing before it"),
        ] {
            let refused = imports(text).map_err(|problem| problem.to_string());
            assert_eq!(refused, Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn python_is_left_alone() {
        for text in [
            "",
            "x = 1 if y else -2; z, = w; print(*a, **b, sep='')",
            "lambda: 0\nlambda *a, k=1, **b: (a, b)",
            "def f(a, /, b: int = 1, *, c) -> None:\n  return\n",
            "@d\nasync def f():\n  async with a as b, c: await b\n  return [x async for x in y if x]",
            "for x, in y: yield_ = 1\nelse: pass",
            "try: pass\nexcept* (A, B) as e: raise\nfinally: del e",
            "match x:\n  case [a, *rest] if a: pass\n  case {'k': v, **r}: pass\n  case _: pass",
            "match = re.match(a, b); match.group(1); match[1]; case: int = 1",
            "a[1:2, ::3, ...] = b[:] = c[-1]",
            "x: int = 3; x: 'a'; (y): int",
            "f'{a[\"b\"]:>{w}} {{' f\"{x!r}\" b'' 'c'",
            "f\"{a[\"b\"]}\"",
            "from . import a\nfrom ..b import (c as d, e,)\nfrom f import *",
            "with (open(a) as b, c as d,): pass",
            "print(0x1F, 1e-5, 1_000, .5, 1., 2j, 1if x else 2)",
            "x = (yield)\ny = yield from z\nwhile (n := f()): pass",
            "global a, b; nonlocal c; assert x, 'y'; raise A from B",
            "s = 'a\\\nb'; t = \"\"\"x\ny\"\"\"\nu = \\\n  1",
            "type X = int\ntype = 1\nprint(type)",
            "not a is not b not in c",
        ] {
            assert_eq!(imports(text).err(), None, "{text}");
        }
    }

    #[test]
    fn imports_are_found_wherever_they_stand() {
        let text = "import a, b.c as d; from e.f import (g,\n h)\ndef k():\n import l\nif x: import m\nfrom . import n\nfrom .o import p";
        assert_eq!(imports(text).unwrap(), ["a", "b.c", "e.f", "l", "m"]);
        assert_eq!(
            imports("'import x'; x.importer; # import y").unwrap(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn nesting_without_end_is_no_danger() {
        for text in [
            "(".repeat(200_000),
            "-".repeat(200_000),
            "lambda:".repeat(100_000),
            "f'{".repeat(1_000),
        ] {
            assert!(imports(&text).is_err());
        }
        assert!(imports(&format!("{}1", "not ".repeat(200_000))).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = imports(&text);
        }

        #[test]
        fn no_row_of_words_panics(words in proptest::collection::vec(
            proptest::sample::select(vec![
                "if", "else", ":", "\n", "  ", "(", ")", "[", "{", "}", "x", "1", "'", "\"\"\"", "f'{", "lambda", "=", ",", "*",
                ".", "import", "from", "match", "async", ";", "\\", "#", "é",
            ]),
            0..40,
        )) {
            let _ = imports(&words.concat());
            let _ = imports(&words.join(" "));
        }
    }
}
