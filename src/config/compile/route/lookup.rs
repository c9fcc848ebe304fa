//! Which requests find which route or grant: by host, path and method. Who has the same host, path and method as another
//! is found out here.

use http::Method;

use crate::config::compile::Compiler;
use crate::config::problem::At;
use crate::config::walk::{Item, Slot};
use crate::gate::route::{HostTable, Pattern, RouteTable};

/// What a realm's requests may find, until all of it is known.
#[derive(Default)]
pub(in crate::config::compile) struct Lookup {
    /// The realm's hosts, in lower case.
    hosts: Vec<String>,
    /// Whether owners bring further hosts; they count as one more, behind the others.
    owned: bool,
    entries: Vec<Entry>,
}

struct Entry {
    at: At,
    pattern: Pattern,
    methods: Vec<Method>,
    index: usize,
    /// Positions of hosts; none = all of them.
    hosts: Option<Vec<usize>>,
}

impl Lookup {
    /// For a realm with these hosts.
    pub(in crate::config::compile) fn new(hosts: &[Item<String>], owned: bool) -> Self {
        let hosts = hosts.iter().map(|host| plain(&host.value)).collect();
        Self { hosts, owned, entries: Vec::new() }
    }

    /// Enters a route or grant with the number `index`.
    pub(in crate::config::compile) fn add(
        &mut self,
        work: &mut Compiler<'_>,
        at: &At,
        hosts: &Slot<Vec<Item<String>>>,
        (pattern, methods): (&Pattern, &[Method]),
        index: usize,
    ) {
        let hosts = match hosts {
            Slot::Given(list) => Some(self.positions(work, list)),
            Slot::Absent(_) | Slot::Bad => None,
        };
        let (pattern, methods) = (pattern.clone(), methods.to_vec());
        self.entries.push(Entry { at: at.clone(), pattern, methods, index, hosts });
    }

    fn positions(&self, work: &mut Compiler<'_>, list: &Item<Vec<Item<String>>>) -> Vec<usize> {
        work.not_empty(list);
        let mut positions = Vec::new();
        for item in &list.value {
            let host = plain(&item.value);
            match self.hosts.iter().position(|known| *known == host) {
                Some(position) if positions.contains(&position) => {
                    work.fault(&item.at, format!("{:?} stands here twice", item.value));
                }
                Some(position) => positions.push(position),
                // Without hosts the realm has a problem already.
                None if self.hosts.is_empty() => {}
                None => work.unknown(&item.at, "host of the realm", &item.value, self.hosts.iter().map(String::as_str)),
            }
        }
        let wildcard = |position: &usize| self.hosts.get(*position).is_some_and(|host| host.starts_with('*'));
        if self.owned && positions.iter().any(wildcard) {
            positions.push(self.hosts.len());
        }
        positions
    }

    /// The table of what every host has, and one for each set of hosts that have more. Such a table has what every host
    /// has, too, so that the path is chosen among all that a host has.
    pub(in crate::config::compile) fn tables(
        self,
        work: &mut Compiler<'_>,
    ) -> (RouteTable, Vec<(HostTable, RouteTable)>) {
        let table = self.table(work, &[]);
        // Hosts with the same routes of their own belong together.
        let mut groups: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        for host in 0..self.hosts.len() + usize::from(self.owned) {
            let has = |entry: &Entry| entry.hosts.as_ref().is_some_and(|hosts| hosts.contains(&host));
            let own: Vec<_> = (0..).zip(&self.entries).filter(|(_, entry)| has(entry)).map(|(n, _)| n).collect();
            match groups.iter_mut().find(|(known, _)| *known == own) {
                _ if own.is_empty() => {}
                Some((_, hosts)) => hosts.push(host),
                None => groups.push((own, vec![host])),
            }
        }
        let each = groups.iter().map(|(own, hosts)| (self.host_table(hosts), self.table(work, own)));
        let tables = each.collect();
        (table, tables)
    }

    fn table(&self, work: &mut Compiler<'_>, own: &[usize]) -> RouteTable {
        let mut table = RouteTable::default();
        let entries = (0..).zip(&self.entries).filter(|(n, entry)| entry.hosts.is_none() || own.contains(n));
        for (_, Entry { at, pattern, methods, index, .. }) in entries {
            let inserted = table.insert(pattern, methods, *index);
            work.good(at, inserted);
        }
        table
    }

    /// What is wrong with a host has been said when the realm got it.
    fn host_table(&self, members: &[usize]) -> HostTable {
        let mut table = HostTable::default();
        for (position, host) in self.hosts.iter().enumerate() {
            let entered = if members.contains(&position) { table.insert(host, 0) } else { table.except(host) };
            entered.unwrap_or_default();
        }
        if members.contains(&self.hosts.len()) {
            table.take_owned();
        }
        table
    }
}

/// A host as it is compared.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}
