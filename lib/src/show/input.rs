//! Questions to the person at the notebook.
//!
//! A cell that reads its standard input asks as well, for a line at a time. There an empty answer is the end
//! of the input, as Ctrl-D is at a terminal: `std::io::read_to_string` and `lines()` end with it. The next
//! reading asks again.

use std::io::Write;

use super::{Place, check_interrupt, place};
use crate::error::{Error, Result};

/// Asks for a line: in a box below the cell of a notebook, at the terminal elsewhere.
///
/// Returns the line without white space around it.
///
/// ```no_run
/// use rebit::show;
/// let epochs: usize = show::input("How many epochs?")?.parse().unwrap_or(10);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Interrupted`] when the cell was stopped instead of answered; [`Error::Invalid`] when the input of a
/// program has ended.
pub fn input(prompt: &str) -> Result<String> {
    match place() {
        Place::Text => {
            let _ = write!(std::io::stderr(), "{prompt} ");
            let mut line = String::new();
            match std::io::stdin().read_line(&mut line) {
                Ok(0) => Err(Error::invalid("input", "the standard input has ended")),
                Ok(_) => Ok(line.trim().to_string()),
                Err(e) => Err(Error::invalid("input", e)),
            }
        }
        Place::Wire(_) => asked(|prompt| ask_kernel("ask", prompt), prompt),
        Place::Evcxr => asked(evcxr_input::get_string, prompt),
    }
}

/// [`input`] for what must not be seen while it is typed.
///
/// # Errors
/// As [`input`].
pub fn password(prompt: &str) -> Result<String> {
    match place() {
        Place::Text => rpassword::prompt_password(format!("{prompt} "))
            .map_err(|e| Error::invalid("password", e)),
        Place::Wire(_) => asked(|prompt| ask_kernel("ask-password", prompt), prompt),
        Place::Evcxr => asked(evcxr_input::get_password, prompt),
    }
}

/// Asks the kernel for a line.
fn ask_kernel(word: &str, prompt: &str) -> String {
    crate::cell::say(&format!("{word} {prompt}"));
    let mut line = String::new();
    // Without an answer it is an empty one.
    let _ = std::io::stdin().read_line(&mut line);
    line.trim().to_string()
}

/// A question, which takes one line.
fn asked(ask: impl Fn(&str) -> String, prompt: &str) -> Result<String> {
    let _ = std::io::stdout().flush();
    let answer = ask(&prompt.replace('\n', " "));
    check_interrupt()?;
    Ok(answer)
}
