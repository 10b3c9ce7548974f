//! Lines out of a byte stream, with a cap: what does not end in time is told apart from what ends the stream.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// What came of reading one line into a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The buffer holds a line, without its newline.
    Complete,
    /// The stream ended; what followed the last newline is nobody's.
    End,
    /// The line is longer than the cap. The buffer has its beginning; only with a higher cap it can be read on.
    TooLong,
}

/// Reads up to the next newline. Not to be cancelled half-way: what was read would be lost.
pub async fn read_line<R>(reader: &mut R, line: &mut Vec<u8>, cap: usize) -> io::Result<Line>
where
    R: AsyncBufRead + Unpin,
{
    line.clear();
    read_on(reader, line, cap).await
}

/// Goes on with a line that was too long for the cap before.
pub async fn read_on<R>(reader: &mut R, line: &mut Vec<u8>, cap: usize) -> io::Result<Line>
where
    R: AsyncBufRead + Unpin,
{
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(Line::End);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(chunk.len());
        if line.len() + taken > cap {
            return Ok(Line::TooLong);
        }
        line.extend_from_slice(&chunk[..taken]);
        reader.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Line::Complete);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cuts_caps_and_ends() {
        let mut reader = tokio::io::BufReader::with_capacity(3, &b"one\n\nthree\nlong enough\nrest"[..]);
        let mut line = Vec::new();
        let mut seen = Vec::new();
        loop {
            let got = read_line(&mut reader, &mut line, 5).await.unwrap();
            seen.push((got, String::from_utf8(line.clone()).unwrap()));
            if got != Line::Complete {
                break;
            }
        }
        assert_eq!(seen[..3].iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["one", "", "three"]);
        assert_eq!(seen[3].0, Line::TooLong);
        assert_eq!(read_on(&mut reader, &mut line, 11).await.unwrap(), Line::Complete);
        assert_eq!(line, b"long enough");
        let mut reader = &b"no newline"[..];
        assert_eq!(read_line(&mut reader, &mut line, 100).await.unwrap(), Line::End);
    }
}
