//! Boot configuration data (BCD): what Windows' boot manager reads to find out what to boot.
//!
//! A BCD is a registry hive, `Objects\{guid}\Elements\XXXXXXXX`: objects, which are named by a GUID,
//! and elements, which are named by a number that also says what data they have.

pub mod device;
pub mod element;
pub mod guid;
pub mod hive;
pub mod network;
mod utf16;

use std::path::Path;

use self::device::Device;
use self::guid::Guid;
use self::hive::{BINARY, HiveError, Key, NUMBER, TEXT, TEXTS, Value};

/// The name of the value that has an element's data.
const ELEMENT: &str = "Element";
/// The number of the list of what the boot manager displays.
const DISPLAY_ORDER: u32 = 0x2400_0001;
/// The number of what the boot manager boots after its timeout.
const DEFAULT: u32 = 0x2300_0003;
/// The type of the boot manager.
const BOOT_MANAGER: u32 = 0x1010_0002;
/// The type of a loader of Windows.
const LOADER: u32 = 0x1020_0003;
/// The type of the options of a device.
const DEVICE_OPTIONS: u32 = 0x3000_0000;

/// What a BCD says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bcd {
    /// Its objects, in the order of the file.
    pub objects: Vec<Object>,
}

/// An object of a BCD: a program to boot, or settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub id: Guid,
    /// Its type.
    pub kind: u32,
    /// Its elements, in the order of the file.
    pub elements: Vec<Element>,
}

/// An element of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its number.
    pub number: u32,
    /// Its data.
    pub data: Data,
}

/// The data of an element. The fifth digit from the right of its number says which they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A device.
    Device(Device),
    /// A text.
    Text(String),
    /// The name of an object.
    Object(Guid),
    /// Names of objects.
    Objects(Vec<Guid>),
    /// A number.
    Integer(u64),
    /// Yes or no.
    Boolean(bool),
    /// What is none of these, or not written as it should be.
    Other(Vec<u8>),
}

/// Why a file cannot be read as a BCD.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BcdError {
    /// It is no sound registry hive.
    #[error(transparent)]
    Hive(#[from] HiveError),
    /// It is another registry hive.
    #[error("a registry hive, but not a BCD: it has no key Objects")]
    NoObjects,
}

impl Bcd {
    /// Reads the bytes of a BCD.
    ///
    /// # Errors
    /// If they are no sound registry hive, or another one: see [`BcdError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BcdError> {
        let root = hive::read(bytes)?;
        let objects = root.key("Objects").ok_or(BcdError::NoObjects)?;
        Ok(Self {
            objects: objects.keys.iter().filter_map(Object::of_key).collect(),
        })
    }

    /// The bytes of a BCD, the same each time.
    pub fn bytes(&self) -> Vec<u8> {
        let description = Key {
            name: "Description".to_owned(),
            values: vec![value("KeyName", TEXT, utf16::bytes("BCD00000001"))],
            keys: Vec::new(),
        };
        let objects = Key {
            name: "Objects".to_owned(),
            keys: self.objects.iter().map(Object::key).collect(),
            values: Vec::new(),
        };
        hive::write(&Key {
            name: "NewStoreRoot".to_owned(),
            keys: vec![description, objects],
            values: Vec::new(),
        })
    }

    /// The object of this name.
    pub fn object(&self, id: Guid) -> Option<&Object> {
        self.objects.iter().find(|object| object.id == id)
    }

    /// The loader that is booted unless somebody at the screen chooses another: the default one, or
    /// else the first that is displayed, or else the first that there is.
    pub fn loader(&self) -> Option<&Object> {
        let manager = self.object(Guid::BOOT_MANAGER);
        let default = manager.and_then(|manager| match manager.element(DEFAULT)? {
            Data::Object(id) => Some(*id),
            _ => None,
        });
        let displayed = manager.and_then(|manager| match manager.element(DISPLAY_ORDER)? {
            Data::Objects(ids) => ids.first().copied(),
            _ => None,
        });
        let mut named = [default, displayed].into_iter().flatten();
        let any = || self.objects.iter().find(|object| object.kind == LOADER);
        named.find_map(|id| self.object(id)).or_else(any)
    }

    /// The image that the loader boots from the network, as its path; `None` if it boots anything else.
    pub fn image(&self) -> Option<&str> {
        self.ramdisk().map(|(_, image)| image)
    }

    /// The path of the format file of the ramdisk that the image gets into.
    pub fn sdi(&self) -> Option<&str> {
        let (options, _) = self.ramdisk()?;
        match self.object(options)?.element(network::SDI_PATH)? {
            Data::Text(path) => Some(path),
            _ => None,
        }
    }

    /// The folder with the boot manager's fonts, if it names one.
    pub fn fonts(&self) -> Option<&str> {
        let manager = self.object(Guid::BOOT_MANAGER)?;
        match manager.element(network::FONT_PATH)? {
            Data::Text(path) => Some(path),
            _ => None,
        }
    }

    fn ramdisk(&self) -> Option<(Guid, &str)> {
        match self.loader()?.element(network::DEVICE)? {
            Data::Device(Device::Ramdisk { options, path }) => Some((*options, path)),
            _ => None,
        }
    }
}

impl Object {
    /// The data of the element with this number.
    pub fn element(&self, number: u32) -> Option<&Data> {
        let mut elements = self.elements.iter();
        let element = elements.find(|element| element.number == number);
        element.map(|element| &element.data)
    }

    /// The object of a key; `None` if its name is no GUID.
    fn of_key(key: &Key) -> Option<Self> {
        let kind = key
            .key("Description")
            .and_then(|description| description.value("Type"))
            .and_then(|kind| kind.data.first_chunk());
        let elements = key.key("Elements");
        let elements = elements.map_or(&[][..], |elements| &elements.keys);
        Some(Self {
            id: key.name.parse().ok()?,
            kind: kind.map_or(0, |kind| u32::from_le_bytes(*kind)),
            elements: elements.iter().filter_map(Element::of_key).collect(),
        })
    }

    fn key(&self) -> Key {
        let description = Key {
            name: "Description".to_owned(),
            values: vec![value("Type", NUMBER, self.kind.to_le_bytes().to_vec())],
            keys: Vec::new(),
        };
        let elements = Key {
            name: "Elements".to_owned(),
            keys: self.elements.iter().map(Element::key).collect(),
            values: Vec::new(),
        };
        Key {
            name: self.id.to_string(),
            keys: vec![description, elements],
            values: Vec::new(),
        }
    }
}

impl Element {
    /// The element of a key; `None` if its name is no number.
    fn of_key(key: &Key) -> Option<Self> {
        let number = u32::from_str_radix(&key.name, 16).ok()?;
        let data = key.value(ELEMENT).map_or(&[][..], |value| &value.data);
        Some(Self {
            number,
            data: Data::of_element(number, data),
        })
    }

    fn key(&self) -> Key {
        let (kind, data) = self.data.value();
        Key {
            name: format!("{:08x}", self.number),
            values: vec![value(ELEMENT, kind, data)],
            keys: Vec::new(),
        }
    }
}

impl Data {
    /// The data of the element with this number.
    fn of_element(number: u32, bytes: &[u8]) -> Self {
        let guid = |text: String| text.parse::<Guid>().ok();
        let data = match (number >> 24) & 0xf {
            1 => Some(Self::Device(Device::parse(bytes))),
            2 => Some(Self::Text(utf16::text(bytes))),
            3 => guid(utf16::text(bytes)).map(Self::Object),
            4 => {
                let ids = utf16::texts(bytes).into_iter().map(guid);
                ids.collect::<Option<_>>().map(Self::Objects)
            }
            // Windows writes eight bytes, and reads fewer, too.
            5 if (1..=8).contains(&bytes.len()) => {
                let mut number = [0; 8];
                for (to, from) in number.iter_mut().zip(bytes) {
                    *to = *from;
                }
                Some(Self::Integer(u64::from_le_bytes(number)))
            }
            6 => match bytes {
                [byte] => Some(Self::Boolean(*byte != 0)),
                _ => None,
            },
            _ => None,
        };
        data.unwrap_or_else(|| Self::Other(bytes.to_vec()))
    }

    /// The type and the bytes of a value that has these data.
    fn value(&self) -> (u32, Vec<u8>) {
        match self {
            Self::Device(device) => (BINARY, device.bytes()),
            Self::Text(text) => (TEXT, utf16::bytes(text)),
            Self::Object(id) => (TEXT, utf16::bytes(&id.to_string())),
            Self::Objects(ids) => {
                let mut bytes: Vec<_> = ids
                    .iter()
                    .flat_map(|id| utf16::bytes(&id.to_string()))
                    .collect();
                bytes.extend([0, 0]);
                (TEXTS, bytes)
            }
            Self::Integer(number) => (BINARY, number.to_le_bytes().to_vec()),
            Self::Boolean(is_set) => (BINARY, vec![u8::from(*is_set)]),
            Self::Other(bytes) => (BINARY, bytes.clone()),
        }
    }
}

fn value(name: &str, kind: u32, data: Vec<u8>) -> Value {
    Value {
        name: name.to_owned(),
        kind,
        data,
    }
}

/// The path in a BCD, as a path below the TFTP root.
pub fn below_root(path: &str) -> String {
    let parts = path.split(['\\', '/']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("/")
}

/// A path below the TFTP root, as a BCD has it.
pub fn with_backslashes(path: &Path) -> String {
    let mut told = String::new();
    for part in path.iter().filter(|&part| part != "/") {
        told.push('\\');
        told.push_str(&part.to_string_lossy());
    }
    told
}

#[cfg(test)]
mod tests;
