//! Counters: decimal text, as upstream's providers and Redis store them.

use super::{Error, too_large};

/// The sum of what is stored and `delta`.
///
/// # Errors
/// [`Error::Other`] if the value is no decimal number or the sum leaves the range.
pub(super) fn add(stored: Option<&[u8]>, delta: u64) -> Result<u64, Error> {
    parse::<u64>(stored)?
        .checked_add(delta)
        .ok_or_else(too_large)
}

/// As [`add`], for counters that go below zero.
///
/// # Errors
/// As [`add`].
pub(super) fn add_signed(stored: Option<&[u8]>, delta: i64) -> Result<i64, Error> {
    parse::<i64>(stored)?
        .checked_add(delta)
        .ok_or_else(too_large)
}

fn parse<N: std::str::FromStr + Default>(stored: Option<&[u8]>) -> Result<N, Error> {
    let Some(stored) = stored else {
        return Ok(N::default());
    };
    str::from_utf8(stored)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Error::Other("the value is not a decimal number in range".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stay_in_range() {
        assert_eq!(add(None, 3), Ok(3));
        assert_eq!(add(Some(b"40"), 2), Ok(42));
        assert_eq!(add_signed(Some(b"1"), -3), Ok(-2));
        assert_eq!(add(Some(b"18446744073709551615"), 1), Err(too_large()));
        assert!(add(Some(b"ten"), 1).is_err());
        assert!(add(Some(b"-1"), 1).is_err());
        assert!(add(Some(&[0xff]), 1).is_err());
    }
}
