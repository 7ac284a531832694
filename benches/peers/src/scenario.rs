//! What a scenario is and what it measures.

use std::fmt;

use async_trait::async_trait;

use crate::BoxError;
use crate::peer::Peer;

/// One scenario of the catalogue.
#[async_trait]
pub trait Scenario: Send + Sync {
    /// Its id in the catalogue.
    fn id(&self) -> &'static str;

    /// What happens in it.
    fn title(&self) -> &'static str;

    /// Plays it against `peer`. Every peer gets the same figures in the same
    /// order.
    async fn run(&self, peer: &dyn Peer) -> Result<Vec<Figure>, BoxError>;
}

/// One thing that was counted or measured.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What.
    pub what: &'static str,
    /// What it ought to be.
    pub ideal: Ideal,
    /// What it was; `None` if this peer cannot be measured.
    pub value: Option<f64>,
    /// Whether it depends on how fast the machine is, and so proves nothing on
    /// one that is busy.
    pub timed: bool,
}

impl Figure {
    /// A figure that every peer has.
    #[must_use]
    pub fn new(what: &'static str, ideal: Ideal, value: f64) -> Self {
        Self {
            what,
            ideal,
            value: Some(value),
            timed: false,
        }
    }

    /// A figure for a peer that cannot be measured.
    #[must_use]
    pub fn unmeasured(what: &'static str, ideal: Ideal) -> Self {
        Self {
            what,
            ideal,
            value: None,
            timed: false,
        }
    }

    /// A number of things.
    #[must_use]
    pub fn count(what: &'static str, ideal: Ideal, count: usize) -> Self {
        Self::new(what, ideal, count as f64)
    }

    /// The same figure as one that a busy machine can spoil: a wait, or a
    /// number of things that happen while the real clock runs.
    #[must_use]
    pub fn timed(self) -> Self {
        Self {
            timed: true,
            ..self
        }
    }

    /// Whether it is as it ought to be, or could not be measured.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.value.is_none_or(|value| self.ideal.admits(value))
    }

    /// Whether it is off, and the machine cannot be to blame for that.
    #[must_use]
    pub fn fails(&self) -> bool {
        !self.timed && !self.holds()
    }

    /// The value as the table has it.
    #[must_use]
    pub fn text(&self) -> String {
        self.value.map_or_else(|| "–".to_owned(), number)
    }
}

/// What a figure ought to be.
#[derive(Clone, Copy, Debug)]
pub enum Ideal {
    /// This or more.
    AtLeast(f64),
    /// This and nothing else.
    Exactly(f64),
    /// This or less.
    AtMost(f64),
}

impl Ideal {
    fn admits(self, value: f64) -> bool {
        match self {
            Self::Exactly(ideal) => (value - ideal).abs() < f64::EPSILON,
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Ideal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(ideal) => f.write_str(&number(*ideal)),
            Self::AtMost(most) => write!(f, "≤ {}", number(*most)),
            Self::AtLeast(least) => write!(f, "≥ {}", number(*least)),
        }
    }
}

/// Whole numbers with their thousands apart, others to three places.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return "never".to_owned();
    }
    if value.fract() != 0.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        for (value, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (1_000.0, "1,000"),
            (600_005.0, "600,005"),
            (1.0034, "1.003"),
            (0.0001, "0.000"),
            (f64::INFINITY, "never"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(Ideal::AtMost(1.1).to_string(), "≤ 1.100");
    }

    #[test]
    fn a_figure_holds_when_it_is_as_it_ought_to_be() {
        assert!(Figure::count("", Ideal::Exactly(1.0), 1).holds());
        assert!(!Figure::count("", Ideal::Exactly(1.0), 0).holds());
        assert!(Figure::new("", Ideal::AtMost(1.1), 1.1).holds());
        assert!(!Figure::new("", Ideal::AtMost(1.1), 1.11).holds());
        assert!(Figure::unmeasured("", Ideal::Exactly(1.0)).holds());
    }

    #[test]
    fn a_time_that_is_off_never_fails_the_check() {
        let off = Figure::count("", Ideal::Exactly(1.0), 2);
        assert!(off.fails());
        let off = off.timed();
        assert!(!off.holds());
        assert!(!off.fails());
        assert!(!Figure::count("", Ideal::Exactly(1.0), 1).fails());
    }
}
