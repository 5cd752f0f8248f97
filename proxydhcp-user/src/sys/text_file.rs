//! Text files as people and their editors leave them: with a byte order mark, with the line ends of
//! another system, or in UTF-16. All of them are read as the same text.

use std::path::Path;

use crate::sys::file::{self, FileError};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads the text file at `path`: its lines end in line feeds, and whatever was UTF-16 is UTF-8. Other
/// encodings are left as they are, so the bytes need not be UTF-8.
///
/// # Errors
/// If the file cannot be read, or is UTF-32: see [`FileError`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    plain(file::read(path)?, path)
}

/// Reads the text file at `path` like [`read`]; `None` if there is no such file.
///
/// # Errors
/// If the file exists and cannot be read, or is UTF-32: see [`FileError`].
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    if_there(read(path))
}

/// Reads the text file at `path` like [`read_if_there`]. If it is empty or its last line has no line
/// feed, as when its writer is not done, it is given time until it has not changed for 2 seconds.
///
/// # Errors
/// If the file exists and cannot be read, is UTF-32, or goes on changing: see [`FileError`].
pub(crate) fn read_at_rest(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    // In UTF-16, a line feed has a NUL before or after it.
    let is_ended = |bytes: &[u8]| is_ended(bytes.strip_suffix(&[0]).unwrap_or(bytes));
    let is_done = |bytes: &[u8]| !bytes.is_empty() && is_ended(bytes);
    if_there(file::read_at_rest(path, is_done).and_then(|bytes| plain(bytes, path)))
}

fn if_there(read: Result<Vec<u8>, FileError>) -> Result<Option<Vec<u8>>, FileError> {
    match read {
        Err(FileError::Missing(_)) => Ok(None),
        read => read.map(Some),
    }
}

/// Whether the last line ends in a line feed, if there is any line.
pub(crate) fn is_ended(text: &[u8]) -> bool {
    text.last()
        .is_none_or(|&last| matches!(last, b'\n' | b'\r'))
}

/// The text of a file's bytes, as [`read`] returns it; errors refer to the file as `path`.
///
/// # Errors
/// If it is UTF-32: [`FileError::Encoding`].
pub fn plain(bytes: Vec<u8>, path: &Path) -> Result<Vec<u8>, FileError> {
    let text = match encoding(&bytes) {
        Encoding::Utf16(unit) => utf8(&bytes, unit),
        Encoding::Utf32 => {
            return Err(FileError::Encoding {
                path: path.to_owned(),
                found: "UTF-32",
            });
        }
        Encoding::Bytes => bytes,
    };
    Ok(with_line_feeds(without_marks(text)))
}

/// How two bytes make a number.
type Unit = fn([u8; 2]) -> u16;

enum Encoding {
    /// UTF-8, or an encoding of single bytes.
    Bytes,
    Utf16(Unit),
    Utf32,
}

fn encoding(bytes: &[u8]) -> Encoding {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Encoding::Utf32,
        [0xff, 0xfe, ..] => Encoding::Utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => Encoding::Utf16(u16::from_be_bytes),
        _ => without_mark(bytes),
    }
}

/// The encoding of bytes that begin with no mark: nearly all characters of the files that are read
/// here are ASCII, and have a NUL for their other byte in UTF-16.
fn without_mark(bytes: &[u8]) -> Encoding {
    let (units, _) = bytes.as_chunks::<2>();
    let count = |which: fn(&[u8; 2]) -> bool| units.iter().filter(|unit| which(unit)).count();
    let most = |number: usize| !units.is_empty() && number > units.len() / 4 * 3;
    if !bytes.contains(&0) {
        Encoding::Bytes
    } else if most(count(|unit| unit[0] != 0 && unit[1] == 0)) {
        Encoding::Utf16(u16::from_le_bytes)
    } else if most(count(|unit| unit[0] == 0 && unit[1] != 0)) {
        Encoding::Utf16(u16::from_be_bytes)
    } else {
        Encoding::Bytes
    }
}

fn utf8(bytes: &[u8], unit: Unit) -> Vec<u8> {
    let (units, rest) = bytes.as_chunks::<2>();
    let chars = char::decode_utf16(units.iter().copied().map(unit));
    let mut text: String = chars
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    // Half a character is no line's end.
    text.extend(rest.iter().map(|_| char::REPLACEMENT_CHARACTER));
    text.into_bytes()
}

/// Removes byte order marks, of which files joined by `cat` have several, and the end mark of DOS.
fn without_marks(mut text: Vec<u8>) -> Vec<u8> {
    if text.last() == Some(&0x1a) {
        text.pop();
    }
    if text.contains(&0xef) {
        let mut rest = &*text;
        let mut plain = Vec::with_capacity(rest.len());
        while let Some((&byte, after)) = rest.split_first() {
            if let Some(after) = rest.strip_prefix(BYTE_ORDER_MARK) {
                rest = after;
            } else {
                plain.push(byte);
                rest = after;
            }
        }
        text = plain;
    }
    text
}

fn with_line_feeds(mut text: Vec<u8>) -> Vec<u8> {
    if !text.contains(&b'\r') {
        return text;
    }
    if text.contains(&b'\n') {
        let mut next = text.iter().copied().skip(1).collect::<Vec<_>>().into_iter();
        text.retain(|&byte| next.next() != Some(b'\n') || byte != b'\r');
    } else {
        for byte in &mut text {
            if *byte == b'\r' {
                *byte = b'\n';
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    const TEXT: &str = "n1 # größer\n\nn2\n";

    fn plain_of(bytes: &[u8]) -> String {
        let text = plain(bytes.to_vec(), Path::new("file")).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn what_editors_make_of_a_text_is_the_same_text() {
        let mark = "\u{feff}";
        let dos = TEXT.replace('\n', "\r\n");
        let marked = format!("{mark}{TEXT}");
        for (from, bytes) in [
            ("UTF-8", TEXT.as_bytes().to_vec()),
            ("a mark", marked.clone().into_bytes()),
            ("DOS", dos.clone().into_bytes()),
            ("DOS's end", format!("{mark}{dos}\u{1a}").into_bytes()),
            ("old Macs", TEXT.replace('\n', "\r").into_bytes()),
            ("UTF-16", utf16(&marked, u16::to_le_bytes)),
            ("UTF-16 of others", utf16(&marked, u16::to_be_bytes)),
            (
                "UTF-16 of DOS",
                utf16(&format!("{mark}{dos}"), u16::to_le_bytes),
            ),
            ("no mark", utf16(TEXT, u16::to_le_bytes)),
            ("no mark, others", utf16(TEXT, u16::to_be_bytes)),
        ] {
            assert_eq!(plain_of(&bytes), TEXT, "{from}");
        }
        let joined = format!("{mark}n1\r\n{mark}n2");
        assert_eq!(plain_of(joined.as_bytes()), "n1\nn2");
    }

    #[test]
    fn other_bytes_stay() {
        for bytes in [
            &b""[..],
            b"\0",
            b"\0\0\0",
            b"a",
            b"gr\xf6\xdfer\n",
            b"a\rb\n",
            b"ab\0\0\0\0",
        ] {
            assert_eq!(plain(bytes.to_vec(), Path::new("file")).unwrap(), bytes);
        }
        assert_eq!(plain_of(b"\xff\xfea\0b"), "a\u{fffd}");
        let utf32 = b"\xff\xfe\0\0a\0\0\0".to_vec();
        let error = plain(utf32, Path::new("file")).unwrap_err().to_string();
        assert_eq!(error, "file: is text in UTF-32; save it as UTF-8");
    }

    #[test]
    fn a_line_without_an_end_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        assert_eq!(read_at_rest(&path).unwrap(), None);
        for ended in ["a\n", "a\r", "\u{feff}a\r\n"] {
            fs::write(&path, ended).unwrap();
            let started = Instant::now();
            read_at_rest(&path).unwrap();
            assert!(started.elapsed() < file::REST, "{ended:?}");
        }
        fs::write(&path, "a").unwrap();
        let started = Instant::now();
        assert_eq!(read_at_rest(&path).unwrap().unwrap(), b"a");
        assert!(started.elapsed() >= file::REST * 9 / 10);
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(file::REST / 4);
                fs::write(path, "a\nb\n").unwrap();
            }
        });
        fs::write(&path, "a\nb").unwrap();
        assert_eq!(read_at_rest(&path).unwrap().unwrap(), b"a\nb\n");
        writer.join().unwrap();
    }
}
