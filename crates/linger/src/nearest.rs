//! "Did you mean …": the nearest right spelling.

/// The candidate nearest to what was written, if one is near enough.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let near = strsim::jaro_winkler(&written, &lower);
            // Part of a longer name: `tw_reuse` for `tcp_tw_reuse`.
            let part = written.len() >= 4 && lower.contains(&written);
            (if part { near.max(0.9) } else { near }, candidate)
        })
        .filter(|(near, _)| *near >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.len().cmp(&a.1.len())))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean TW001?`, or nothing.
pub fn hint<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, candidates).map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_spelling_is_found() {
        assert_eq!(nearest("TW01", ["TW001", "CW001"]), Some("TW001"));
        assert_eq!(nearest("time_wiat", ["time_wait", "close_wait"]), Some("time_wait"));
        assert_eq!(nearest("tw_reuse", ["tcp_tw_recycle", "tcp_tw_reuse"]), Some("tcp_tw_reuse"));
        assert_eq!(nearest("zzz", ["TW001"]), None);
    }
}
