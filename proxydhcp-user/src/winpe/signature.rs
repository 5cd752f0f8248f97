//! Who has signed an EFI program: firmware with Secure Boot starts only what somebody has signed whom
//! it trusts.
//!
//! The signatures are in the program's certificate table: Authenticode, which is CMS (RFC 5652). They
//! are read, not verified, for only the firmware knows whom it trusts.

use cms::cert::CertificateChoices;
use cms::cert::x509::der::asn1::ObjectIdentifier;
use cms::cert::x509::der::{Decode, SliceReader};
use cms::cert::x509::name::Name;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier};
use object::LittleEndian;
use object::pe::{IMAGE_DIRECTORY_ENTRY_SECURITY, ImageDosHeader, ImageNtHeaders64};
use object::read::pe::ImageNtHeaders;
use serde::Serialize;

use crate::text::printable;

/// The length of what precedes each entry of the certificate table, in bytes.
const ENTRY_HEADER: usize = 8;
/// The type of an entry that is a signature in CMS.
const IS_CMS: u16 = 2;
/// The attribute of a name that people read (RFC 4519, section 2.3).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The CAs of Microsoft, which firmware comes with, and the year in their names.
const MICROSOFT: [(&str, u16); 5] = [
    ("Microsoft Windows Production PCA 2011", 2011),
    ("Microsoft Corporation UEFI CA 2011", 2011),
    ("Windows UEFI CA 2023", 2023),
    ("Microsoft UEFI CA 2023", 2023),
    ("Microsoft Option ROM UEFI CA 2023", 2023),
];

/// The CA that Microsoft's revocations of 2023 revoke (KB5025885, for CVE-2023-24932), on machines to
/// which they were applied.
const REVOKED: &str = "Microsoft Windows Production PCA 2011";

/// A signature of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// The name in the signer's certificate.
    pub signer: String,
    /// The name of the certificate authority (CA) that has issued it.
    pub ca: String,
    /// The day on which the CA's certificate expires, or the signer's if the CA's is not there, as
    /// year-month-day. Firmware does not look at it.
    pub until: String,
    /// Whether firmware with Microsoft's revocations of 2023 refuses the program because of it.
    pub revoked_2023: bool,
}

impl Signature {
    /// The year in the CA's name, if it is one of Microsoft's.
    pub fn year(&self) -> Option<u16> {
        let known = MICROSOFT.iter().find(|(ca, _)| *ca == self.ca);
        known.map(|&(_, year)| year)
    }
}

/// The signatures of an EFI program for 64 bits; empty if nobody has signed it.
///
/// # Errors
/// If it is no such program, or a signature cannot be read; says why.
pub fn signatures(program: &[u8]) -> Result<Vec<Signature>, String> {
    let mut table = table(program)?;
    let mut signatures = Vec::new();
    while let Some((header, _)) = table.split_first_chunk::<ENTRY_HEADER>() {
        let [a, b, c, d, _, _, e, f] = *header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let entry = table.get(ENTRY_HEADER..len);
        let entry = entry.ok_or("an entry of its certificate table is too long or too short")?;
        if u16::from_le_bytes([e, f]) == IS_CMS {
            let signature = signature(entry).map_err(|error| error.to_string())?;
            signatures.push(signature.ok_or("a signature has no certificate of its signer")?);
        }
        // Entries begin at multiples of 8 bytes.
        table = table.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(signatures)
}

/// What the signatures mean for where the program starts.
pub fn meaning(signatures: &[Signature]) -> String {
    if signatures.is_empty() {
        return "not signed: it starts only where Secure Boot is off".to_owned();
    }
    let by: Vec<_> = signatures
        .iter()
        .map(|signature| format!("{} (until {})", signature.ca, signature.until))
        .collect();
    let has = |year| signatures.iter().any(|of| of.year() == Some(year));
    let starts = match (has(2011), has(2023)) {
        (true, true) => "starts on firmware that trusts a CA of 2011 or of 2023",
        (true, false) => {
            "starts on firmware that trusts the CA of 2011, not where that is revoked or missing"
        }
        (false, true) => "starts only on firmware that trusts the CA of 2023",
        (false, false) => "starts only on firmware to which this CA was added",
    };
    // Firmware refuses a program if any of its signatures is revoked (UEFI, "Secure Boot").
    let revoked = if signatures.iter().any(|of| of.revoked_2023) {
        "; Microsoft's revocations of 2023 (KB5025885) hit it on machines that have them"
    } else {
        ""
    };
    format!("signed by {}: {starts}{revoked}", by.join(" and "))
}

/// The certificate table.
fn table(program: &[u8]) -> Result<&[u8], String> {
    let no_program = |error: object::read::Error| format!("not an EFI program: {error}");
    let header = ImageDosHeader::parse(program).map_err(no_program)?;
    let mut offset = header.nt_headers_offset().into();
    let (_, directories) = ImageNtHeaders64::parse(program, &mut offset).map_err(no_program)?;
    let Some(entry) = directories.get(IMAGE_DIRECTORY_ENTRY_SECURITY) else {
        return Ok(&[]);
    };
    // Unlike those of all other directories, this address is an offset in the file.
    let at = entry.virtual_address.get(LittleEndian) as usize;
    let len = entry.size.get(LittleEndian) as usize;
    let table = program.get(at..at.saturating_add(len));
    table.ok_or_else(|| "truncated: its certificate table is behind its end".to_owned())
}

/// The signature in an entry; `None` if it has no certificate of its signer.
fn signature(entry: &[u8]) -> Result<Option<Signature>, cms::cert::x509::der::Error> {
    // Padding may follow.
    let content = ContentInfo::decode(&mut SliceReader::new(entry)?)?;
    let signed: SignedData = content.content.decode_as()?;
    let Some(signer) = signed.signer_infos.0.iter().next() else {
        return Ok(None);
    };
    let SignerIdentifier::IssuerAndSerialNumber(id) = &signer.sid else {
        return Ok(None);
    };
    let all = || {
        let all = signed.certificates.iter().flat_map(|all| all.0.iter());
        all.filter_map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => Some(&certificate.tbs_certificate),
            CertificateChoices::Other(_) => None,
        })
    };
    let own = all().find(|certificate| {
        certificate.issuer == id.issuer && certificate.serial_number == id.serial_number
    });
    let Some(own) = own else { return Ok(None) };
    let issuer = all().find(|certificate| certificate.subject == id.issuer);
    let until = issuer.unwrap_or(own).validity.not_after.to_date_time();
    let ca = common_name(&own.issuer);
    Ok(Some(Signature {
        signer: common_name(&own.subject),
        revoked_2023: ca == REVOKED,
        ca,
        until: format!("{}-{:02}-{:02}", until.year(), until.month(), until.day()),
    }))
}

fn common_name(name: &Name) -> String {
    let mut attributes = name.0.iter().flat_map(|part| part.0.iter());
    let common = attributes.find(|attribute| attribute.oid == COMMON_NAME);
    common.map_or_else(
        || name.to_string(),
        |attribute| printable(attribute.value.value()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(ca: &str) -> Signature {
        Signature {
            signer: "Microsoft Windows".to_owned(),
            ca: ca.to_owned(),
            until: "2026-10-19".to_owned(),
            revoked_2023: ca == REVOKED,
        }
    }

    #[test]
    fn signatures_are_told_by_where_they_start() {
        let old = by("Microsoft Windows Production PCA 2011");
        let new = by("Windows UEFI CA 2023");
        let own = by("Our own CA");
        let cases: [(&[&Signature], &str); 5] = [
            (&[], "not signed"),
            (&[&old], "not where that is revoked"),
            (&[&new], "only on firmware that trusts the CA of 2023"),
            (&[&old, &new], "of 2011 or of 2023"),
            (
                &[&own],
                "signed by Our own CA (until 2026-10-19): starts only",
            ),
        ];
        for (signatures, part) in cases {
            let signatures: Vec<_> = signatures.iter().copied().cloned().collect();
            let told = meaning(&signatures);
            assert!(told.contains(part), "{told}");
            let is_hit = signatures.iter().any(|of| of.ca == old.ca);
            assert_eq!(told.contains("revocations of 2023"), is_hit, "{told}");
        }
    }
}
