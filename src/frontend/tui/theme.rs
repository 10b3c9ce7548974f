//! What things look like: a style for each [`Ink`], read from `assets/themes/*.json` or a file like these, fitted to what
//! the terminal can do; and the glyphs. It must not know what is drawn with them.

use std::collections::BTreeMap;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use crate::domain::view::RunnerStatus;
use crate::frontend::text::{Tone, tone};

/// What a piece of text is, not what it looks like. Status is never told by ink alone: a glyph and a word stand beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ink {
    Text,
    Strong,
    /// Labels, what is over, what matters least.
    Quiet,
    /// Headings and what can be acted on.
    Accent,
    Good,
    Waiting,
    Bad,
    Border,
    /// Of the pane that has the keyboard.
    BorderFocus,
    /// The selected line of the pane that has the keyboard.
    Selection,
    /// The selected line of another pane.
    SelectionIdle,
    /// What was searched for.
    Match,
    MatchCurrent,
    /// A line across the screen that cannot be overlooked.
    Banner,
    /// A key in footer and help.
    Key,
    /// The ground of what lies above the screen: dialogs, palette, toasts.
    Dialog,
}

const INKS: [Ink; 16] = [
    Ink::Text,
    Ink::Strong,
    Ink::Quiet,
    Ink::Accent,
    Ink::Good,
    Ink::Waiting,
    Ink::Bad,
    Ink::Border,
    Ink::BorderFocus,
    Ink::Selection,
    Ink::SelectionIdle,
    Ink::Match,
    Ink::MatchCurrent,
    Ink::Banner,
    Ink::Key,
    Ink::Dialog,
];

/// How many colours the terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// `NO_COLOR`: bold, dim, underline and reverse do the work.
    None,
    Sixteen,
    Indexed,
    True,
}

/// Immutable once made, and cheap to look up.
#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    styles: [Style; INKS.len()],
    depth: Depth,
    /// Whether glyphs beyond ASCII may be used.
    pub ascii: bool,
}

/// The themes that are part of the program; `auto` chooses among them.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("dark", include_str!("../../../assets/themes/dark.json")),
    ("light", include_str!("../../../assets/themes/light.json")),
    ("colour-blind", include_str!("../../../assets/themes/colour-blind.json")),
    ("sixteen", include_str!("../../../assets/themes/sixteen.json")),
];

/// A theme file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "name")]
    _name: Option<String>,
    ink: BTreeMap<Ink, Look>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Look {
    #[serde(deserialize_with = "colour")]
    fg: Option<Color>,
    #[serde(deserialize_with = "colour")]
    bg: Option<Color>,
    attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Attribute {
    Bold,
    Dim,
    Italic,
    Underline,
    Reverse,
}

impl From<Attribute> for Modifier {
    fn from(attribute: Attribute) -> Self {
        match attribute {
            Attribute::Bold => Self::BOLD,
            Attribute::Dim => Self::DIM,
            Attribute::Italic => Self::ITALIC,
            Attribute::Underline => Self::UNDERLINED,
            Attribute::Reverse => Self::REVERSED,
        }
    }
}

/// `#rrggbb`, a name such as `lightred`, or a number of the 256 colours as text.
fn colour<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Color>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let bad = |_| serde::de::Error::custom(format!("{text:?} is no colour; write \"#rrggbb\" or a name"));
    text.parse().map(Some).map_err(bad)
}

impl Theme {
    /// One of [`BUILT_IN`].
    pub fn built_in(name: &str, depth: Depth, ascii: bool) -> Option<Self> {
        let text = BUILT_IN.iter().find(|(known, _)| *known == name)?.1;
        Self::parse(text, depth, ascii).ok()
    }

    /// From the text of a theme file. What it leaves out looks as in the dark theme. The error is what is wrong with it.
    pub fn parse(text: &str, depth: Depth, ascii: bool) -> Result<Self, String> {
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let base: File = serde_json::from_str(BUILT_IN[0].1).map_err(|error| error.to_string())?;
        let style = |ink: Ink| {
            let look = file.ink.get(&ink).or_else(|| base.ink.get(&ink)).cloned().unwrap_or_default();
            look.style(ink, depth)
        };
        Ok(Self { styles: INKS.map(style), depth, ascii })
    }

    /// No look at all.
    pub fn plain() -> Self {
        Self { styles: [Style::new(); INKS.len()], depth: Depth::None, ascii: true }
    }

    pub const fn depth(&self) -> Depth {
        self.depth
    }

    pub fn style(&self, ink: Ink) -> Style {
        self.styles[ink as usize]
    }

    /// What a runner painted itself, as far as the terminal can show it.
    pub fn painted(&self, own: Style) -> Style {
        let fit = |colour: Option<Color>| colour.map(|colour| fitted(colour, self.depth));
        match self.depth {
            Depth::None => Style { fg: None, bg: None, underline_color: None, ..own },
            Depth::Sixteen | Depth::Indexed | Depth::True => {
                Style { fg: fit(own.fg), bg: fit(own.bg), underline_color: None, ..own }
            }
        }
    }

    pub fn status_ink(status: RunnerStatus) -> Ink {
        Self::ink(tone(status))
    }

    pub const fn ink(tone: Tone) -> Ink {
        match tone {
            Tone::Good => Ink::Good,
            Tone::Waiting => Ink::Waiting,
            Tone::Bad => Ink::Bad,
            Tone::Quiet => Ink::Quiet,
            Tone::Plain => Ink::Text,
        }
    }

    /// One of two, by what the terminal can show.
    pub fn glyph(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii { ascii } else { unicode }
    }
}

impl Look {
    fn style(&self, ink: Ink, depth: Depth) -> Style {
        let mut style = Style::new();
        for attribute in &self.attributes {
            style = style.add_modifier(Modifier::from(*attribute));
        }
        if depth == Depth::None {
            return without_colour(style, ink, self.bg.is_some());
        }
        let fit = |colour| fitted(colour, depth);
        style.fg = self.fg.map(fit);
        style.bg = self.bg.map(fit);
        style
    }
}

/// What colour said is said otherwise.
fn without_colour(style: Style, ink: Ink, had_ground: bool) -> Style {
    match ink {
        Ink::Quiet | Ink::Border => style.add_modifier(Modifier::DIM),
        Ink::Waiting | Ink::BorderFocus | Ink::Key | Ink::Accent => style.add_modifier(Modifier::BOLD),
        Ink::Bad => style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
        Ink::SelectionIdle => style.add_modifier(Modifier::UNDERLINED),
        Ink::Selection | Ink::Match | Ink::Banner => style.add_modifier(Modifier::REVERSED),
        Ink::MatchCurrent => style.add_modifier(Modifier::REVERSED | Modifier::BOLD),
        // A dialog stands out by its border.
        Ink::Dialog => style.remove_modifier(Modifier::REVERSED),
        Ink::Text | Ink::Strong | Ink::Good if had_ground => style.add_modifier(Modifier::REVERSED),
        Ink::Text | Ink::Strong | Ink::Good => style,
    }
}

fn fitted(colour: Color, depth: Depth) -> Color {
    if let (Color::Indexed(index @ 16..), Depth::Sixteen | Depth::None) = (colour, depth) {
        return nearest_of_sixteen(rgb_of(index));
    }
    let Color::Rgb(r, g, b) = colour else { return colour };
    match depth {
        Depth::True => colour,
        Depth::Indexed => Color::Indexed(nearest_indexed([r, g, b])),
        Depth::Sixteen | Depth::None => nearest_of_sixteen([r, g, b]),
    }
}

/// In the 6×6×6 cube and the greys of the 256 colours.
fn nearest_indexed(rgb: [u8; 3]) -> u8 {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let nearest =
        |value: u8| (0u8..6).min_by_key(|step| STEPS[usize::from(*step)].abs_diff(value)).unwrap_or_default();
    let steps = rgb.map(nearest);
    let cube = steps.map(|step| STEPS[usize::from(step)]);
    let grey_step = (0u8..24).min_by_key(|step| distance([8 + step * 10; 3], rgb)).unwrap_or_default();
    if distance([8 + grey_step * 10; 3], rgb) < distance(cube, rgb) {
        return 232 + grey_step;
    }
    steps.iter().fold(0, |sum, step| sum * 6 + step) + 16
}

/// Of the cube and the greys; the first sixteen are the user's own.
fn rgb_of(index: u8) -> [u8; 3] {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    if index >= 232 {
        return [8 + (index - 232) * 10; 3];
    }
    let at = index.saturating_sub(16);
    [at / 36, at / 6 % 6, at % 6].map(|step| STEPS[usize::from(step)])
}

fn nearest_of_sixteen(wanted: [u8; 3]) -> Color {
    const TABLE: [(Color, [u8; 3]); 14] = [
        (Color::Black, [0, 0, 0]),
        (Color::Red, [170, 0, 0]),
        (Color::Green, [0, 150, 0]),
        (Color::Yellow, [190, 130, 0]),
        (Color::Blue, [0, 60, 170]),
        (Color::Magenta, [170, 0, 170]),
        (Color::Cyan, [0, 160, 180]),
        (Color::Gray, [190, 190, 190]),
        (Color::DarkGray, [110, 110, 110]),
        (Color::LightRed, [255, 100, 100]),
        (Color::LightGreen, [120, 230, 120]),
        (Color::LightYellow, [255, 200, 90]),
        (Color::LightBlue, [110, 160, 255]),
        (Color::White, [255, 255, 255]),
    ];
    let nearest = TABLE.iter().min_by_key(|(_, rgb)| distance(*rgb, wanted));
    nearest.map_or(Color::Reset, |(colour, _)| *colour)
}

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_theme_of_ours_is_whole() {
        for (name, text) in BUILT_IN {
            let file: File = serde_json::from_str(text).unwrap();
            for ink in INKS {
                assert!(file.ink.contains_key(&ink), "{name} lacks {ink:?}");
            }
            assert!(Theme::built_in(name, Depth::True, false).is_some());
        }
        for (at, ink) in INKS.into_iter().enumerate() {
            assert_eq!(ink as usize, at);
        }
    }

    #[test]
    fn without_colours_there_are_none() {
        for (name, _) in BUILT_IN {
            let theme = Theme::built_in(name, Depth::None, true).unwrap();
            assert!(theme.styles.iter().all(|style| style.fg.is_none() && style.bg.is_none()), "{name}");
            assert_ne!(theme.style(Ink::Selection), theme.style(Ink::Text));
            assert_ne!(theme.style(Ink::Bad), theme.style(Ink::Good));
        }
    }

    #[test]
    fn colours_are_fitted_to_the_terminal() {
        assert_eq!(fitted(Color::Rgb(0xff, 0xaf, 0x5f), Depth::Indexed), Color::Indexed(215));
        assert_eq!(fitted(Color::Rgb(0x8a, 0x8a, 0x8a), Depth::Indexed), Color::Indexed(245));
        assert_eq!(fitted(Color::Rgb(0xff, 0x75, 0x75), Depth::Sixteen), Color::LightRed);
        assert_eq!(fitted(Color::Green, Depth::Indexed), Color::Green);
        assert_eq!(fitted(Color::Indexed(196), Depth::Sixteen), Color::Red);
        assert_eq!(fitted(Color::Indexed(3), Depth::Sixteen), Color::Indexed(3));
        let theme = Theme::built_in("light", Depth::Sixteen, false).unwrap();
        assert!(theme.styles.iter().all(|style| !matches!(style.fg, Some(Color::Rgb(..)))));
    }

    #[test]
    fn a_theme_of_ones_own_changes_what_it_names() {
        let theme =
            Theme::parse(r##"{ "ink": { "good": { "fg": "#00ff00" } } }"##, Depth::True, false).unwrap();
        assert_eq!(theme.style(Ink::Good).fg, Some(Color::Rgb(0, 255, 0)));
        assert!(theme.style(Ink::Bad).fg.is_some());
        assert!(Theme::parse(r#"{ "ink": { "god": {} } }"#, Depth::True, false).unwrap_err().contains("god"));
    }
}
