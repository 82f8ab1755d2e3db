//! Shared by several oracles: small limits, and input that is cut anywhere.

use crate::proto::http::head::HeadLimits;

/// Limits small enough that short inputs reach them.
pub(crate) const LIMITS: HeadLimits = HeadLimits { head_size_max: 512, target_size_max: 96, headers_max: 12 };

/// Feeds a reader byte by byte and all at once, and asserts that both give the same result.
pub(crate) fn cut_anywhere<'b, T: PartialEq + std::fmt::Debug, F: PartialEq + std::fmt::Debug>(
    bytes: &'b [u8],
    read: impl Fn(&'b [u8], usize) -> Result<Option<(T, usize)>, F>,
) {
    let whole = read(bytes, 0);
    for cut in 1..=bytes.len() {
        let part = read(&bytes[..cut], cut - 1);
        if part != Ok(None) {
            assert_eq!(part, whole, "cut at {cut}");
            return;
        }
    }
    assert_eq!(whole, Ok(None), "byte by byte it gave no result");
}
