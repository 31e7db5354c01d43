//! Colour and width of what is printed to.

use crate::cli::Color;
use rustix::termios::tcgetwinsize;
use std::io::IsTerminal;

/// How to print to standard output.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Whether to use colour.
    pub color: bool,
    /// Columns.
    pub width: usize,
    /// Whether a terminal is looking.
    pub terminal: bool,
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Strong,
    /// Less important.
    Faint,
    /// All is well.
    Good,
    /// A note.
    Note,
    /// A warning.
    Warn,
    /// Critical.
    Bad,
}

impl Style {
    /// Of standard output.
    pub fn stdout(color: Color) -> Style {
        let out = std::io::stdout();
        let terminal = out.is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse::<usize>().ok());
        let width = match tcgetwinsize(&out) {
            Ok(size) if terminal && size.ws_col > 0 => usize::from(size.ws_col),
            _ => columns.unwrap_or(100),
        };
        Style {
            color: match color {
                Color::Auto => terminal && !no_color && !dumb,
                Color::Always => true,
                Color::Never => false,
            },
            width: width.clamp(40, 400),
            terminal,
        }
    }

    /// The text in a tone.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "1;32",
            Tone::Note => "36",
            Tone::Warn => "1;33",
            Tone::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Width for running text: long lines are hard to read.
    pub fn prose(&self) -> usize {
        self.width.min(120)
    }
}
