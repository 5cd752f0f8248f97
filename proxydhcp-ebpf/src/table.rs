//! A table that userspace makes, fills, and puts into a map of maps.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr;

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use aya_ebpf::helpers::generated::bpf_map_lookup_elem;

/// BPF_F_MMAPABLE: the map's memory is pages of its own.
pub(crate) const MAPPABLE: usize = 0x400;

/// Mappable, so that userspace fills a table by writing memory, and BPF_F_INNER_MAP, so that tables
/// of any size take each other's place (Linux 5.10).
const FLAGS: usize = MAPPABLE | 0x1000;

/// The definition of a table's map, which the loader reads: an array of values of `SIZE` bytes, the
/// size of `V`.
///
/// Unlike aya's, it gives sizes without types. Linux 5.15 to 6.1 takes maps with and without types
/// for different ones, and userspace makes its own without.
#[repr(C)]
pub(crate) struct Table<V, const SIZE: usize> {
    r#type: *const [i32; BPF_MAP_TYPE_ARRAY as usize],
    key_size: *const [i32; size_of::<u32>()],
    value_size: *const [i32; SIZE],
    max_entries: *const [i32; 1],
    map_flags: *const [i32; FLAGS],
    values_are: PhantomData<V>,
}

impl<V, const SIZE: usize> Table<V, SIZE> {
    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> Option<&V> {
        const { assert!(SIZE == size_of::<V>()) };
        let map: *const Self = self;
        // SAFETY: a reference to a table is what the look-up in a map of maps returned: a map, which
        // stays as long as the program runs. So do its values, which are of this type: it is one
        // that any bytes are.
        unsafe {
            let value = bpf_map_lookup_elem(
                map.cast_mut().cast::<c_void>(),
                ptr::from_ref(&index).cast(),
            );
            value.cast::<V>().as_ref()
        }
    }
}
