//! The table.

use std::fmt::Write as _;

use crate::scenario::Figure;

/// Figures side by side, as Markdown. One that is not as it ought to be is set
/// in bold.
#[derive(Debug)]
pub struct Table {
    text: String,
}

impl Table {
    /// A table with one column for each of `peers`.
    #[must_use]
    pub fn new(peers: &[String]) -> Self {
        let mut text = format!(
            "| scenario | what is counted | ideal | {} |\n",
            peers.join(" | ")
        );
        text.push_str("| --- | --- | --: |");
        text.push_str(&" --: |".repeat(peers.len()));
        text.push('\n');
        Self { text }
    }

    /// Adds a scenario: for each peer the figures that it has, in one order.
    pub fn add(&mut self, id: &str, title: &str, peers: &[Vec<Figure>]) {
        let Some((first, _)) = peers.split_first() else {
            return;
        };
        for (row, figure) in first.iter().enumerate() {
            let scenario = if row == 0 {
                format!("**{id}** {title}")
            } else {
                String::new()
            };
            let _ = write!(
                self.text,
                "| {scenario} | {} | {} |",
                figure.what, figure.ideal
            );
            for figures in peers {
                let cell = figures.get(row).map_or_else(String::new, |figure| {
                    let text = figure.text();
                    if figure.holds() {
                        text
                    } else {
                        format!("**{text}**")
                    }
                });
                let _ = write!(self.text, " {cell} |");
            }
            self.text.push('\n');
        }
    }

    /// The Markdown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
