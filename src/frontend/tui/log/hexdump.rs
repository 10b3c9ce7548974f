//! The beginning of what is no text, as numbers, and where the whole of it lies.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::LogPane;
use super::draw::put;
use crate::frontend::text::{bytes, cut, one_line};
use crate::frontend::tui::theme::{Ink, Theme};

const IN_A_ROW: usize = 16;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, pane: &LogPane, theme: &Theme) {
    let width = usize::from(area.width);
    let path = pane.shown.as_ref().map(|file| file.path.display().to_string()).unwrap_or_default();
    // Whole, so that it can be copied.
    let path: Vec<char> = one_line(&path).chars().collect();
    let path = path.chunks(width.max(1)).map(|part| part.iter().collect::<String>());
    let below = usize::from(area.height).saturating_sub(2 + path.len());
    let part = (below * IN_A_ROW).min(pane.binary.len());
    let what = match u64::try_from(part) {
        Ok(part) if part == pane.len => format!("Binary, {}:", bytes(pane.len)),
        _ => format!("Binary, {}; its first {part} bytes:", bytes(pane.len)),
    };
    let quiet = path.chain([String::new()]).map(|line| (line, Ink::Quiet));
    let lines = std::iter::once((what, Ink::Text)).chain(quiet);
    let lines = lines.chain(rows(&pane.binary).map(|row| (row, Ink::Text)));
    for (y, (line, ink)) in (area.y..area.bottom()).zip(lines) {
        let here = Rect { y, height: 1, ..area };
        put(buffer, here, &cut(&line, width, theme.ascii), theme.style(ink));
    }
}

/// `00000010  89 50 4e 47 0d 0a 1a 0a  00 00 00 0d 49 48 44 52  |.PNG........IHDR|`
fn rows(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.chunks(IN_A_ROW).enumerate().map(|(row, chunk)| {
        let half = |from: usize| {
            let numbers = (from..from + IN_A_ROW / 2)
                .map(|at| chunk.get(at).map_or_else(|| "   ".to_owned(), |byte| format!("{byte:02x} ")));
            numbers.collect::<String>()
        };
        let plain = chunk.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' });
        let plain: String = plain.collect();
        format!("{:08x}  {} {} |{plain}|", row * IN_A_ROW, half(0), half(IN_A_ROW / 2))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_numbers_and_nothing_of_them_as_a_sign() {
        let shown: Vec<String> = rows(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x1b[2J \xff").collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        00000000  89 50 4e 47 0d 0a 1a 0a  00 00 00 0d 49 48 44 52  |.PNG........IHDR|
        00000010  1b 5b 32 4a 20 ff                                 |.[2J..|
        ");
    }
}
