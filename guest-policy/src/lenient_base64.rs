//! Base64 as Go's JSON decoder reads it: padded, with line ends and bits left over tolerated.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The bytes that `text` stands for.
///
/// # Errors
///
/// It is not base64 with padding.
pub fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    BASE64.decode(text.replace(['\r', '\n'], ""))
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);
