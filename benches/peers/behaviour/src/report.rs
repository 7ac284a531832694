//! One table for each scenario.

use std::fmt::Write as _;

use peers::scenario::Figure;

/// The figures of one scenario, a library a row, as Markdown. One that is not as
/// it ought to be is set in bold.
pub(crate) struct Table {
    text: String,
    empty: bool,
}

impl Table {
    pub(crate) fn new(title: &str) -> Self {
        Self {
            text: format!("### {title}\n\n"),
            empty: true,
        }
    }

    /// Adds what `figures` were for `name`. All rows have the same figures.
    pub(crate) fn add(&mut self, name: &str, note: &str, figures: &[Figure]) {
        if self.empty {
            self.empty = false;
            self.row("library", figures, |figure| figure.what.to_owned());
            self.row("---", figures, |_| "--:".to_owned());
            self.row("*target*", figures, |figure| figure.ideal.to_string());
        }
        let name = [name, note].join(" ");
        self.row(name.trim_end(), figures, |figure| {
            let text = figure.text();
            if figure.holds() {
                text
            } else {
                format!("**{text}**")
            }
        });
    }

    fn row(&mut self, name: &str, figures: &[Figure], cell: impl Fn(&Figure) -> String) {
        let cells: Vec<_> = figures.iter().map(cell).collect();
        let _ = writeln!(self.text, "| {name} | {} |", cells.join(" | "));
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}
