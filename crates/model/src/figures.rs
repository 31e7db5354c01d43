//! How figures are written.

/// `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_threes() {
        let written: Vec<String> = [0, 999, 1_000, 28_232, 1_000_000].map(thousands).into();
        assert_eq!(written, ["0", "999", "1,000", "28,232", "1,000,000"]);
    }
}
