//! Which summaries the cloud was shown, so that each is published once.

use spalla_shared::id::{NodeId, SiteId};
use spalla_shared::summary::SiteSummary;
use std::collections::BTreeMap;

/// Sites on the board; as many as a mesh has gateways.
const SITES_MAX: usize = crate::config::GATEWAYS_MAX;

#[derive(Default)]
pub struct Board {
    shown: BTreeMap<SiteId, (NodeId, u64, u64)>,
    waiting: BTreeMap<SiteId, SiteSummary>,
}

impl Board {
    /// A new speaker shows everything once.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Puts up what was not shown yet. Of two gateways of one site the lower node speaks for it.
    pub fn put(&mut self, summaries: Vec<SiteSummary>) {
        let mut sites: BTreeMap<SiteId, SiteSummary> = BTreeMap::new();
        for summary in summaries {
            let site = SiteId::new(&summary.site);
            if sites.get(&site).is_none_or(|there| summary.node < there.node) {
                sites.insert(site, summary);
            }
        }
        for (site, summary) in sites {
            let room = self.shown.len() < SITES_MAX || self.shown.contains_key(&site);
            if room && self.shown.get(&site) != Some(&key(&summary)) {
                self.waiting.insert(site, summary);
            }
        }
    }

    /// The next one to publish.
    pub fn take(&mut self) -> Option<(SiteId, SiteSummary)> {
        let (site, summary) = self.waiting.pop_first()?;
        self.shown.insert(site.clone(), key(&summary));
        Some((site, summary))
    }

    /// It could not be published: the next look shows it again.
    pub fn failed(&mut self, site: &SiteId) {
        self.shown.remove(site);
    }
}

fn key(summary: &SiteSummary) -> (NodeId, u64, u64) {
    (summary.node, summary.boot, summary.seq)
}
