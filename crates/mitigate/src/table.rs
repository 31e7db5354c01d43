//! What is in force: linger's table, as `nft -j` prints it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Error;
use crate::limit::{INPUT, MARK, PORTS, Per, Rate, TABLE, chain, sets};

/// The table of linger's name.
#[derive(Debug, Clone, PartialEq)]
pub enum Present {
    /// There is none, or it is linger's.
    Own(Table),
    /// It is somebody else's, and why that is known.
    Foreign(String),
}

/// Linger's own table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Whether there is one.
    pub is_there: bool,
    /// Its limits, by port; those that have expired are among them.
    pub limits: Vec<Active>,
    /// The names of its sets.
    pub(crate) sets: BTreeSet<String>,
}

/// A limit, as it is in force.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Active {
    /// The port.
    pub port: u16,
    /// Only connections to this address.
    pub addr: Option<String>,
    /// Seconds until it ends; none when it has.
    pub expires_s: Option<u64>,
    /// What a source may make; none where that can't be read.
    pub rate: Option<Rate>,
    /// How many at once beyond that.
    pub burst: u32,
    /// Whether it only counts.
    pub preview: bool,
    /// Sources that are remembered at most, of each family.
    pub sources: u32,
    /// SYNs it looked at.
    pub seen: u64,
    /// SYNs beyond the limit.
    pub over: u64,
    /// SYNs of allowed sources.
    pub allowed: u64,
    /// SYNs let through because their source found no place in the set.
    pub no_place: u64,
    /// The rules that lead to its chain.
    pub(crate) jumps: Vec<u64>,
}

impl Active {
    /// Whether it is in force.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.expires_s.is_some()
    }
}

impl Table {
    /// The limit of a port, if it is in force.
    #[must_use]
    pub fn active(&self, port: u16) -> Option<&Active> {
        self.limits.iter().find(|it| it.port == port && it.is_active())
    }
}

fn objects<'a>(listing: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    listing["nftables"].as_array().into_iter().flatten().filter_map(move |it| it.get(kind))
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or("")
}

/// Whether `nft -j list tables` names one like linger's.
pub(crate) fn is_listed(tables: &Value) -> bool {
    objects(tables, "table").any(|it| text(it, "family") == "inet" && text(it, "name") == TABLE)
}

/// Reads `nft -j -t list table inet linger`, and `nft -j list set inet linger ports` where it has that set.
///
/// A table is linger's if everything in it has a name that linger gives, and every rule linger's mark.
///
/// # Errors
/// When a text is no JSON of nft's.
pub(crate) fn read(listing: &Value, ports: Option<&Value>) -> Result<Present, Error> {
    if !listing["nftables"].is_array() {
        return Err(Error::Malformed("nft -j list table: no \"nftables\" in it".into()));
    }
    let foreign = |what: String| Ok(Present::Foreign(what));
    let mut table = Table { is_there: true, ..Table::default() };
    let mut has_input = false;
    for it in objects(listing, "chain") {
        let name = text(it, "name");
        match name.strip_prefix("port_").and_then(|it| it.parse::<u16>().ok()) {
            Some(port) if chain(port) == name => table.limits.push(Active { port, ..Active::default() }),
            _ if name == INPUT => has_input = true,
            _ => return foreign(format!("it has a chain {name:?}")),
        }
    }
    for it in objects(listing, "set").chain(objects(listing, "map")) {
        let name = text(it, "name");
        let port = name.rsplit_once('_').and_then(|(_, port)| port.parse::<u16>().ok());
        if name != PORTS && !port.is_some_and(|port| sets(port).iter().any(|it| it == name)) {
            return foreign(format!("it has a set {name:?}"));
        }
        let size = it["size"].as_u64().and_then(|it| u32::try_from(it).ok());
        let limit = table.limits.iter_mut().find(|it| Some(it.port) == port && name.starts_with("sources4_"));
        if let (Some(limit), Some(size)) = (limit, size) {
            limit.sources = size;
        }
        table.sets.insert(name.to_owned());
    }
    for kind in [
        "counter",
        "quota",
        "limit",
        "flowtable",
        "ct helper",
        "ct timeout",
        "ct expectation",
        "secmark",
        "synproxy",
    ] {
        if objects(listing, kind).next().is_some() {
            return foreign(format!("it has a {kind}"));
        }
    }
    if !has_input || !table.sets.contains(PORTS) {
        return foreign("it has not what linger's has".into());
    }
    for it in objects(listing, "rule") {
        if !text(it, "comment").starts_with(MARK) {
            return foreign(format!("it has a rule in chain {:?} without linger's mark", text(it, "chain")));
        }
        rule(&mut table, it);
    }
    for element in ports.into_iter().flat_map(|it| objects(it, "set")).filter(|it| text(it, "name") == PORTS)
    {
        for it in element["elem"].as_array().into_iter().flatten() {
            let port = it["elem"]["val"].as_u64().and_then(|it| u16::try_from(it).ok());
            // nft rounds down.
            let expires = it["elem"]["expires"].as_u64();
            if let Some(limit) = table.limits.iter_mut().find(|it| Some(it.port) == port) {
                limit.expires_s = expires;
            }
        }
    }
    table.limits.sort_by_key(|it| it.port);
    Ok(Present::Own(table))
}

/// Takes in what a rule says.
fn rule(table: &mut Table, it: &Value) {
    let chain_name = text(it, "chain");
    let parts = || it["expr"].as_array().into_iter().flatten();
    if chain_name == INPUT {
        let target = parts().find_map(|part| part["jump"]["target"].as_str());
        let limit = table.limits.iter_mut().find(|limit| Some(chain(limit.port).as_str()) == target);
        if let (Some(limit), Some(handle)) = (limit, it["handle"].as_u64()) {
            limit.jumps.push(handle);
        }
        return;
    }
    let Some(limit) = table.limits.iter_mut().find(|limit| chain(limit.port) == chain_name) else { return };
    let packets = parts().find_map(|part| part["counter"]["packets"].as_u64()).unwrap_or(0);
    let what = text(it, "comment").strip_prefix(MARK).and_then(|it| it.strip_prefix(": ")).unwrap_or("");
    match what {
        "allowed" => limit.allowed = limit.allowed.saturating_add(packets),
        "seen" => limit.seen = limit.seen.saturating_add(packets),
        "no place" => limit.no_place = limit.no_place.saturating_add(packets),
        "another address" => {
            let daddr = parts().find(|part| part["match"]["left"]["payload"]["field"] == "daddr");
            if let Some(addr) = daddr.and_then(|part| part["match"]["right"].as_str()) {
                limit.addr = Some(addr.to_owned());
            }
        }
        "over" => {
            limit.over = limit.over.saturating_add(packets);
            limit.preview = !parts().any(|part| part.get("drop").is_some());
            let bucket = parts().find_map(|part| part["set"]["stmt"].as_array()?.first()?.get("limit"));
            let Some(bucket) = bucket else { return };
            let per = match text(bucket, "per") {
                "second" => Some(Per::Second),
                "minute" => Some(Per::Minute),
                _ => None,
            };
            let count = bucket["rate"].as_u64().and_then(|it| u32::try_from(it).ok());
            limit.rate = count.zip(per).map(|(count, per)| Rate { count, per });
            // nft leaves its own default out.
            limit.burst = bucket["burst"].as_u64().map_or(5, |it| u32::try_from(it).unwrap_or(u32::MAX));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn own() -> Value {
        json!({"nftables": [
            {"table": {"family": "inet", "name": "linger"}},
            {"set": {"name": "ports"}}, {"set": {"name": "sources4_443", "size": 7}}, {"set": {"name": "allow6_443"}},
            {"chain": {"name": "input"}}, {"chain": {"name": "port_443"}},
            {"rule": {"chain": "input", "handle": 9, "comment": MARK, "expr": [{"jump": {"target": "port_443"}}]}},
            {"rule": {"chain": "port_443", "comment": "linger mitigate: over", "expr": [
                {"set": {"stmt": [{"limit": {"rate": 5, "burst": 10, "per": "second", "inv": true}}]}},
                {"counter": {"packets": 3}}, {"drop": null}]}},
        ]})
    }

    #[test]
    fn linger_knows_its_own_table() {
        let ports =
            json!({"nftables": [{"set": {"name": "ports", "elem": [{"elem": {"val": 443, "expires": 9}}]}}]});
        let Present::Own(table) = read(&own(), Some(&ports)).unwrap() else { panic!() };
        let [limit] = table.limits.as_slice() else { panic!("{table:?}") };
        assert_eq!((limit.port, limit.expires_s, limit.over, limit.preview), (443, Some(9), 3, false));
        assert_eq!((limit.rate, limit.burst), (Some("5/s".parse().unwrap()), 10));
        assert_eq!((limit.sources, limit.jumps.as_slice()), (7, &[9u64][..]));
        let Present::Own(table) = read(&own(), None).unwrap() else { panic!() };
        assert!(table.active(443).is_none());
    }

    #[test]
    fn another_table_of_the_name_is_left_alone() {
        for foreign in [
            json!({"chain": {"name": "mine"}}),
            json!({"chain": {"name": "port_0443"}}),
            json!({"set": {"name": "sources4_x"}}),
            json!({"map": {"name": "m"}}),
            json!({"counter": {"name": "c"}}),
            json!({"rule": {"chain": "input", "expr": []}}),
            json!({"rule": {"chain": "port_443", "comment": "mine", "expr": []}}),
        ] {
            let mut listing = own();
            listing["nftables"].as_array_mut().unwrap().push(foreign.clone());
            assert!(matches!(read(&listing, None).unwrap(), Present::Foreign(_)), "{foreign}");
        }
        let empty = json!({"nftables": [{"table": {"family": "inet", "name": "linger"}}]});
        assert!(matches!(read(&empty, None).unwrap(), Present::Foreign(_)));
        assert!(read(&json!({}), None).is_err() && read(&json!([]), None).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let word = prop_oneof![
            Just("ports"),
            Just("input"),
            Just("port_443"),
            Just("sources4_443"),
            Just("linger mitigate: over"),
            Just("x")
        ];
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            word.clone().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            let key = prop_oneof![
                Just("nftables"),
                Just("chain"),
                Just("set"),
                Just("rule"),
                Just("expr"),
                Just("name"),
                Just("comment"),
                Just("elem"),
                Just("val"),
                Just("limit"),
                Just("stmt"),
                Just("counter")
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((key, inner), 0..6)
                    .prop_map(|all| all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_listing_is_read_or_refused(objects in prop::collection::vec(any_json(), 0..8), ports in any_json()) {
            let _ = read(&ports, None);
            let _ = read(&json!({"nftables": objects}), Some(&ports));
        }
    }
}
