//! The token, as `norma-collector pki token` prints it: `norma-token-1.ID.SECRET.AUTHORITY`.

/// A token.
pub struct Token {
    /// All of it, which the collector is shown.
    pub(super) text: String,
    /// SHA-256 of the certificate (DER) of the collector's authority.
    pub(super) authority: [u8; 32],
}

/// It is no token.
#[derive(Debug, thiserror::Error)]
#[error(
    "this is no token: it has the form norma-token-1.ID.SECRET.AUTHORITY, as `norma-collector pki token` prints it"
)]
pub struct TokenError;

impl std::str::FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let parts: Vec<&str> = text.split('.').collect();
        let ["norma-token-1", _, _, digits] = parts[..] else {
            return Err(TokenError);
        };
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(TokenError);
        }
        let mut authority = [0; 32];
        for (byte, at) in authority.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| TokenError)?;
        }
        Ok(Self {
            text: text.to_owned(),
            authority,
        })
    }
}
