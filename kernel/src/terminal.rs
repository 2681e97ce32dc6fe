//! Text that others wrote (a notebook, a value, an error), made fit for a terminal.
//!
//! A terminal obeys what is printed on it: titles, the clipboard, keys that are typed for the user. Of all that only
//! colours are let through, and only where the terminal is to have colours.

use std::iter::Peekable;
use std::str::Chars;

/// The text without control characters and escape sequences, but for line feeds, tabs and (if wanted) colours.
pub fn harmless(text: &str, colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut coloured = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => out.push(c),
            '\x1b' => match chars.peek() {
                Some('[') => {
                    chars.next();
                    coloured |= control_sequence(&mut chars, &mut out, colours);
                }
                Some(']' | 'P' | 'X' | '^' | '_') => control_string(&mut chars),
                Some(' '..='~') => {
                    chars.next();
                }
                _ => {}
            },
            // The same as one character.
            '\u{9b}' => coloured |= control_sequence(&mut chars, &mut out, colours),
            '\u{9d}' | '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}' => control_string(&mut chars),
            _ if c.is_control() => {}
            _ => out.push(c),
        }
    }
    if coloured && !out.ends_with("\x1b[0m") {
        // Nothing after it takes its colour.
        out.push_str("\x1b[0m");
    }
    out
}

/// Reads a sequence behind its introducer; keeps one that sets colours. Whether it was kept.
fn control_sequence(chars: &mut Peekable<Chars<'_>>, out: &mut String, colours: bool) -> bool {
    let mut parameters = String::new();
    while let Some(&c) = chars.peek() {
        match c {
            ' '..='?' => parameters.push(c),
            '@'..='~' => {
                chars.next();
                let kept = colours && c == 'm' && are_colours(&parameters);
                if kept {
                    out.push_str(&format!("\x1b[{parameters}m"));
                }
                return kept;
            }
            _ => return false,
        }
        chars.next();
    }
    false
}

/// Reads a title, a clipboard or the like to its end, at the latest to that of the line.
fn control_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(&c) = chars.peek() {
        if c == '\n' {
            return;
        }
        chars.next();
        match c {
            '\x07' | '\u{9c}' => return,
            '\x1b' if chars.peek() == Some(&'\\') => {
                chars.next();
                return;
            }
            _ => {}
        }
    }
}

/// Colours and weights; not what hides text or makes it blink.
fn are_colours(parameters: &str) -> bool {
    let extended = parameters.starts_with("38;5;") || parameters.starts_with("38;2;");
    let known = |number: &str| {
        let number = number.parse().unwrap_or(u8::MAX);
        matches!(number, 0..=4 | 22..=24 | 30..=37 | 39 | 90..=97)
    };
    let numbers = |text: &str| text.split(';').all(|number| number.parse::<u8>().is_ok());
    parameters.is_empty() || extended && numbers(parameters) || parameters.split(';').all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_where_they_are_wanted() {
        let text = "\x1b[1;31merror\x1b[0m: \x1b[38;5;9mé\tx\n";
        assert_eq!(harmless(text, true), format!("{text}\x1b[0m"));
        assert_eq!(harmless(text, false), "error: é\tx\n");
        assert_eq!(harmless("\x1b[mx\x1b[0m", true), "\x1b[mx\x1b[0m");
    }

    #[test]
    fn nothing_else_reaches_the_terminal() {
        for sequence in [
            "\x1b]0;title\x07",
            "\x1b]52;c;Zm9v\x1b\\",
            "\x1bPq#0\x1b\\",
            "\x1b_x\u{9c}",
            "\u{9d}0;title\u{9c}",
            "\x1b[2J",
            "\x1b[6n",
            "\x1b[?1049h",
            "\u{9b}2J",
            "\x1b[8m",
            "\x1b[5;31m",
            "\x1b[38;2;1;2;3J",
            "\x1bc",
            "\x1b(0",
            "\x07",
            "\x08",
            "\r",
            "\0",
            "\x7f",
            "\u{85}",
        ] {
            let clean = harmless(&format!("a{sequence}b"), true);
            let rest = clean.replace('0', "");
            assert_eq!(rest, "ab", "{sequence:?} became {clean:?}");
        }
        for cut in ["\x1b", "\x1b[", "\x1b[3", "\x1b]0;x", "\u{9b}"] {
            assert_eq!(harmless(&format!("a{cut}"), true), "a");
        }
        assert_eq!(harmless("\x1b]0;no end\nnext", true), "\nnext");
    }
}
