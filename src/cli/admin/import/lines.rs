//! Lines of a file of any size, each with its number, in bounded memory.

use std::io::{self, BufRead, Read};

use zeroize::Zeroizing;

/// Longest line, in bytes; an entry with the largest attributes is shorter.
const LONGEST: usize = 64 * 1024;

/// See the module.
pub(in crate::cli) struct Lines<R> {
    input: R,
    /// Of the line that was read last; the first is 1.
    pub(in crate::cli) number: u64,
    /// Bytes read so far.
    pub(in crate::cli) bytes: u64,
}

impl<R: BufRead> Lines<R> {
    pub(in crate::cli) fn new(input: R) -> Self {
        Self { input, number: 0, bytes: 0 }
    }

    /// The next line without its end and the blanks around it, or what is wrong with it; none at the end.
    pub(in crate::cli) fn next(&mut self) -> io::Result<Option<Result<Zeroizing<String>, String>>> {
        let mut line = Zeroizing::new(Vec::new());
        let read = (&mut self.input).take(LONGEST as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += read as u64;
        if read > LONGEST && !line.ends_with(b"\n") {
            self.skip_line()?;
            return Ok(Some(Err(format!("is longer than {LONGEST} bytes"))));
        }
        let Ok(text) = std::str::from_utf8(&line) else { return Ok(Some(Err("is not UTF-8".to_owned()))) };
        // Editors of some systems begin a file with this mark.
        let text = if self.number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        Ok(Some(Ok(Zeroizing::new(text.trim().to_owned()))))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let (length, ends) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.input.consume(length);
            self.bytes += length as u64;
            if ends {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Vec<(u64, Result<String, String>)> {
        let mut lines = Lines::new(input);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            seen.push((lines.number, line.map(|line| line.to_string())));
        }
        assert_eq!(lines.bytes, input.len() as u64);
        seen
    }

    #[test]
    fn lines_are_numbered_as_an_editor_numbers_them() {
        let seen = all("\u{feff}a\r\n\n  b  \nlast".as_bytes());
        let expected = [(1, "a"), (2, ""), (3, "b"), (4, "last")];
        assert_eq!(seen, expected.map(|(number, text)| (number, Ok(text.to_owned()))));
    }

    #[test]
    fn a_line_without_end_takes_no_more_room_than_any_and_the_next_is_read() {
        let long = [vec![b'x'; 3 * LONGEST], b"\nnext\n\xff\n".to_vec()].concat();
        let seen = all(&long);
        assert!(seen[0].1.as_ref().unwrap_err().contains("longer"));
        assert_eq!(seen[1], (2, Ok("next".to_owned())));
        assert!(seen[2].1.as_ref().unwrap_err().contains("UTF-8"));
        assert!(all(&vec![b'x'; LONGEST + 1])[0].1.is_err());
        assert!(all(&vec![b'x'; LONGEST])[0].1.is_ok());
    }
}
