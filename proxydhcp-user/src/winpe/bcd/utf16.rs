//! Texts in a registry: UTF-16, little endian, with a NUL.

/// The bytes of a text, with its NUL.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

/// The text up to its NUL, or to the end.
pub(super) fn text(bytes: &[u8]) -> String {
    texts(bytes).into_iter().next().unwrap_or_default()
}

/// The texts of a list, up to the first empty one.
pub(super) fn texts(bytes: &[u8]) -> Vec<String> {
    let (units, _) = bytes.as_chunks();
    let units: Vec<_> = units.iter().map(|&unit| u16::from_le_bytes(unit)).collect();
    units
        .split(|&unit| unit == 0)
        .take_while(|text| !text.is_empty())
        .map(String::from_utf16_lossy)
        .collect()
}
