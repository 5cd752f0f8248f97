//! Boot loaders that print a line on the console, and then wait for ever.
//!
//! They stand in for `pxeboot.0` and `bootmgfw.efi`, which cannot be shipped.

use anyhow::{Context, Result, ensure};

/// The length of each: many TFTP blocks of any size that fits in a frame.
const LENGTH: usize = 0x5000;

/// A network bootstrap program of BIOS (PXE 2.1, section 4.4.5): loaded to 0000:7C00 and called
/// there in real mode.
pub(crate) fn bios(line: &str) -> Result<Vec<u8>> {
    const CODE: [u8; 25] = [
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xbe, 0x19, 0x7c, // mov si, 7C19h: the text, behind this code
        0xfc, // cld
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x09, // jz wait
        0xb4, 0x0e, // mov ah, 0Eh: write as a teletype
        0xbb, 0x07, 0x00, // mov bx, 7
        0xcd, 0x10, // int 10h
        0xeb, 0xf2, // jmp next
        0xf4, // wait: hlt
        0xeb, 0xfd, // jmp wait
    ];
    let mut program = CODE.to_vec();
    program.extend(line.bytes());
    program.extend(b"\r\n\0");
    filled(program)
}

fn filled(mut program: Vec<u8>) -> Result<Vec<u8>> {
    ensure!(program.len() < LENGTH, "the line is too long");
    // No two blocks alike, so that none can stand in for another.
    let rest = (program.len()..LENGTH).map(|at| (at % 251).to_le_bytes()[0]);
    program.extend(rest);
    Ok(program)
}

/// An application of UEFI x64: a PE image with one section (PE format; UEFI 2.10, section 4.3).
pub(crate) fn uefi(line: &str) -> Result<Vec<u8>> {
    const HEADERS: usize = 0x200;
    const CODE: [u8; 22] = [
        0x48, 0x83, 0xec, 0x28, // sub rsp, 28h: the call's shadow space, aligned
        0x48, 0x8b, 0x4a, 0x40, // mov rcx, [rdx+40h]: SystemTable->ConOut
        0x48, 0x8d, 0x15, 0x07, 0x00, 0x00,
        0x00, // lea rdx, [rip+7]: the text, behind this code
        0xff, 0x51, 0x08, // call [rcx+8]: ConOut->OutputString
        0xf4, // wait: hlt
        0xeb, 0xfd, // jmp wait
        0x90, // nop
    ];
    let mut section = CODE.to_vec();
    for unit in line.encode_utf16().chain([13, 10, 0]) {
        section.extend(unit.to_le_bytes());
    }
    let length = u32::try_from(LENGTH.checked_sub(HEADERS).context("no room")?)?;

    let mut image = Vec::new();
    image.extend(b"MZ");
    image.resize(0x3c, 0);
    image.extend(0x40_u32.to_le_bytes());
    image.extend(b"PE\0\0");
    half(&mut image, &[0x8664, 1]); // machine, sections
    word(&mut image, &[0, 0, 0]); // time stamp, no symbols
    half(&mut image, &[240, 0x0022]); // optional header's size; executable, large addresses
    half(&mut image, &[0x020b, 0]); // PE32+, linker version
    word(&mut image, &[length, 0, 0]); // sizes of code and data
    word(&mut image, &[0x1000, 0x1000]); // entry point, base of code
    word(&mut image, &[0, 0]); // image base (8 bytes)
    word(&mut image, &[0x1000, 0x200]); // alignment of sections and file
    word(&mut image, &[0, 0, 0, 0]); // versions
    word(
        &mut image,
        &[0x1000 + length.next_multiple_of(0x1000), 0x200, 0],
    ); // image, headers, sum
    half(&mut image, &[10, 0]); // subsystem: UEFI application
    word(&mut image, &[0; 8]); // stack and heap (8 bytes each)
    word(&mut image, &[0, 16]); // flags, number of data directories
    word(&mut image, &[0; 32]); // data directories: none; nothing is to be relocated
    image.extend(b".text\0\0\0");
    word(&mut image, &[length, 0x1000, length, 0x200]); // in memory, in the file
    word(&mut image, &[0, 0, 0, 0x6000_0020]); // code: execute and read
    image.resize(HEADERS, 0);
    image.append(&mut section);
    filled(image)
}

fn half(image: &mut Vec<u8>, values: &[u16]) {
    image.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn word(image: &mut Vec<u8>, values: &[u32]) {
    image.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
