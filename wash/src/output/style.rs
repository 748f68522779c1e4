//! Colour, where somebody sees it.

/// What a piece of text means; the colour follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As wanted.
    Good,
    /// Not yet as wanted.
    Warning,
    /// Wrong.
    Bad,
    /// Headings and names.
    Strong,
    /// Less important.
    Faint,
}

/// Whether to paint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// A style with or without colour.
    pub fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Text in the colour of its meaning.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Warning => "33",
            Paint::Bad => "31",
            Paint::Strong => "1",
            Paint::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
