//! What the executors of all groups of this gateway share.

use crate::consensus::GroupRef;
use crate::effects::{Acks, DeviceLink, ExecutorOptions, Executors, HttpClient, SecretFolder, Workbooks};
use crate::telemetry::Telemetry;
use std::sync::Arc;

pub struct Outside {
    pub link: Arc<dyn DeviceLink>,
    pub telemetry: Arc<Telemetry>,
    pub acks: Arc<Acks>,
    pub http: HttpClient,
    pub secrets: SecretFolder,
    pub workbooks: Option<Workbooks>,
}

impl Outside {
    /// Those of one group. `beside`: the other group that commands the same devices.
    pub fn executors(&self, options: ExecutorOptions, group: GroupRef, beside: Option<GroupRef>) -> Arc<Executors> {
        let (link, telemetry, acks) = (self.link.clone(), self.telemetry.clone(), self.acks.clone());
        let (http, secrets, workbooks) = (self.http.clone(), self.secrets.clone(), self.workbooks.clone());
        Executors::new(options, group, beside, link, telemetry, acks, http, secrets, workbooks)
    }
}
