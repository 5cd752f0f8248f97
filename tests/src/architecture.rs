//! Architectures of PXE clients, by the numbers that DHCP option 93 carries (RFC 4578, section 2.1,
//! with its errata: 7 is x64, 9 is byte code).

/// x86 with a BIOS.
pub const BIOS: u16 = 0;
/// x86 with UEFI, of 32 bits.
pub const UEFI_IA32: u16 = 6;
/// x64 with UEFI.
pub const UEFI_X64: u16 = 7;
/// EFI byte code. In the RFC as first printed this was x64, so the clients that send it are served
/// as such.
pub const UEFI_BC: u16 = 9;
/// ARM of 64 bits with UEFI.
pub const UEFI_ARM64: u16 = 11;
/// x64 with UEFI that boots from HTTP.
pub const HTTP_X64: u16 = 16;
