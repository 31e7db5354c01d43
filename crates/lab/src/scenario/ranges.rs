//! Many addresses in few words: `10.77.0.2:8000-8059`, `10.77.0.101-160/24`, `40000-40194`.

use toml::Value;

/// The longest range.
const MOST: u64 = 4096;

/// Writes out the ranges; everything else stays as it is, to be refused where it is used.
pub(super) fn expanded(values: &[Value]) -> Vec<Value> {
    values
        .iter()
        .flat_map(|value| value.as_str().and_then(written_out).unwrap_or_else(|| vec![value.clone()]))
        .collect()
}

/// The last number before `-`, counted up to the number behind it.
fn written_out(text: &str) -> Option<Vec<Value>> {
    let (before, after) = text.split_once('-')?;
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (head, low) = before.split_at(before.len() - digits);
    let (high, tail) = match after.split_once('/') {
        Some((high, length)) => (high, format!("/{length}")),
        None => (after, String::new()),
    };
    let (low, high) = (low.parse::<u64>().ok()?, high.parse::<u64>().ok()?);
    if high < low || high - low >= MOST {
        return None;
    }
    let each = |number: u64| match head {
        // Plain ports.
        "" => i64::try_from(number).map_or(Value::String(text.to_owned()), Value::Integer),
        head => Value::String(format!("{head}{number}{tail}")),
    };
    Some((low..=high).map(each).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let texts = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        expanded(&[Value::String(text.into())]).iter().map(texts).collect()
    }

    #[test]
    fn ranges_are_written_out() {
        assert_eq!(texts("10.77.0.2:80-82"), ["10.77.0.2:80", "10.77.0.2:81", "10.77.0.2:82"]);
        assert_eq!(texts("[fd00::1]:8-9"), ["[fd00::1]:8", "[fd00::1]:9"]);
        assert_eq!(texts("10.77.0.9-10/24"), ["10.77.0.9/24", "10.77.0.10/24"]);
        assert_eq!(texts("7-8"), ["7", "8"]);
    }

    #[test]
    fn what_is_none_stays() {
        for text in
            ["10.77.0.2:80", "10.77.0.2:82-80", "1-2-3", "-", "a-b", "0-99999999", "18446744073709551615-1"]
        {
            assert_eq!(texts(text), [text], "{text}");
        }
    }
}
