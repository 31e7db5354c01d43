//! The ports that connect() may take.

use serde::{Deserialize, Serialize};

/// The ports that connect() may take in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    /// First port of `ip_local_port_range`.
    pub low: u16,
    /// Last port.
    pub high: u16,
    /// `ip_local_reserved_ports` within the range, as inclusive spans in rising order that do not touch.
    pub reserved: Vec<(u16, u16)>,
}

impl PortRange {
    /// From the text of `ip_local_port_range` and of `ip_local_reserved_ports` (`1-3,8080`; empty for none).
    ///
    /// # Errors
    /// A sentence that says what was expected and found.
    pub fn parse(range: &str, reserved: &str) -> Result<PortRange, String> {
        let bad = || format!("two ports, the lower first, expected, found {:?}", clip(range));
        let mut ports = range.split_whitespace().map(str::parse::<u16>);
        let (Some(Ok(low)), Some(Ok(high))) = (ports.next(), ports.next()) else { return Err(bad()) };
        if low > high {
            return Err(bad());
        }
        let mut spans = port_list(reserved)?;
        spans.retain_mut(|(from, to)| {
            *from = (*from).max(low);
            *to = (*to).min(high);
            from <= to
        });
        Ok(PortRange { low, high, reserved: spans })
    }

    /// Whether connect() may choose this port.
    pub fn usable(&self, port: u16) -> bool {
        (self.low..=self.high).contains(&port)
            && !self.reserved.iter().any(|(from, to)| (*from..=*to).contains(&port))
    }

    /// How many ports connect() may choose from.
    pub fn usable_count(&self) -> u32 {
        let reserved: u32 =
            self.reserved.iter().map(|(from, to)| u32::from(*to) - u32::from(*from) + 1).sum();
        (u32::from(self.high).saturating_sub(u32::from(self.low)) + 1).saturating_sub(reserved)
    }

    /// How many of them have the parity of `low`, which connect() tries first.
    pub fn first_parity_count(&self) -> u32 {
        (self.low..=self.high).filter(|p| p % 2 == self.low % 2 && self.usable(*p)).count() as u32
    }
}

impl Default for PortRange {
    /// The kernel's default since 4.2.
    fn default() -> PortRange {
        PortRange { low: 32768, high: 60999, reserved: Vec::new() }
    }
}

/// `1-3,8080` as inclusive spans in rising order that do not touch.
///
/// # Errors
/// A sentence that names the part that is neither a port nor a range.
pub fn port_list(text: &str) -> Result<Vec<(u16, u16)>, String> {
    let mut spans = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        match (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
            (Ok(from), Ok(to)) if from <= to => spans.push((from, to)),
            _ => return Err(format!("{:?} is neither a port (0 to 65535) nor a range of ports", clip(part))),
        }
    }
    spans.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(spans.len());
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    Ok(merged)
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reserved_ports_are_taken_out_of_the_range() {
        let range =
            PortRange::parse("32768\t60999\n", "8080,40000-40009,40005-40019,60999-61010").expect("a range");
        assert_eq!(range.reserved, [(40000, 40019), (60999, 60999)]);
        assert_eq!(range.usable_count(), 28232 - 21);
        assert!(
            PortRange::parse("9 1", "").is_err() && port_list("1-").is_err() && port_list("70000").is_err()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(range in "[0-9 \t-]{0,20}", list in ".{0,100}") {
            let _ = PortRange::parse(&range, &list);
        }

        #[test]
        fn usable_ports_are_those_in_the_range_and_in_no_span(
            low in 1u16..60000, span in 0u16..300, spans in prop::collection::vec((0u16..60300, 0u16..50), 0..6),
        ) {
            let high = low.saturating_add(span);
            let list = spans.iter().map(|(a, n)| format!("{a}-{}", a + n)).collect::<Vec<_>>().join(",");
            let range = PortRange::parse(&format!("{low} {high}"), &list).expect("a range");
            let counted = (low..=high).filter(|p| !spans.iter().any(|(a, n)| (*a..=a + n).contains(p))).count();
            prop_assert_eq!(range.usable_count() as usize, counted);
        }
    }
}
