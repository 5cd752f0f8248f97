//! Vendor classes of firmware that does not call itself `PXEClient`, as the specifications demand.

/// The beginning of a client's option 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VendorClass {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

impl VendorClass {
    /// The length of the longest class in bytes.
    pub const LONGEST: usize = 20;

    /// The class with this name; `None` if it is empty or too long.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::LONGEST];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        (!name.is_empty()).then_some(Self {
            bytes,
            len: name.len(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}
