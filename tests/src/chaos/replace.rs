//! A gateway that is removed, because it is dead for good or while it works, and another one of a new number that joins in its building at
//! the same ports, as an operator does it.
//!
//! What a dead one's building alone had would be lost with it, so a mesh that is hit like this is whole before: all vote and have the
//! history, and the building's copies lack nothing. From then on it is not waited for: what comes next may hit it while it catches up and begins the building's new life.

use super::link::Link;
use super::{World, patiently};
use crate::mesh::lacks_history;
use serde_json::Value;
use std::sync::Arc;

impl World {
    pub(super) async fn replace(&mut self, place: usize, dead: bool) {
        self.whole(place).await;
        let by = (place + 1) % self.mesh.nodes.len();
        let number = self.mesh.nodes[place].number;
        if dead {
            self.mesh.nodes[place].kill();
        }
        self.remove(by, number).await;
        if !dead {
            // It hears that it was removed, and stops by itself.
            self.mesh.nodes[place].ended().await;
        }
        self.join(by, place).await;
        self.replaced += 1;
        self.start_again(place);
    }

    /// All are voters of the mesh and have its whole history, and the building's group has all that it should have wherever it should be.
    async fn whole(&self, place: usize) {
        self.mesh.ready().await;
        let node = &self.mesh.nodes[place];
        let mut numbers: Vec<u64> = self.mesh.nodes.iter().map(|node| node.number).collect();
        numbers.sort_unstable();
        patiently("the mesh is whole", async || {
            let mesh = node.api.try_get("/mesh?group=mesh").await?;
            let building = node.api.try_get(&format!("/mesh?group=site:{}", node.site)).await?;
            let level = building.data()["members"].as_array()?.iter().all(|member| member["node"] == node.number || member["lag"] == 0);
            let here = building.data()["leader"] == node.number && numbers_of(building.data(), false)? == numbers;
            let status = node.api.try_get("/mesh/status").await?;
            (level && here && numbers_of(mesh.data(), true)? == numbers && !lacks_history(status.data())).then_some(())
        })
        .await;
    }

    async fn remove(&self, by: usize, number: u64) {
        let wish = number.to_string();
        patiently("the gateway is removed", async || {
            // Whether it was done, it says itself; and it may have to be asked for again.
            self.mesh.nodes[by].cli_meanwhile(&["mesh", "remove", &wish, "--json"]).await;
            let mesh = self.mesh.nodes[by].api.try_get("/mesh?group=mesh").await?;
            (!numbers_of(mesh.data(), false)?.contains(&number)).then_some(())
        })
        .await;
    }

    /// The others dial it by one link, and it dials them by those of the one before it.
    async fn join(&mut self, by: usize, place: usize) {
        let (mut listens, mut cloud) = (None, None);
        self.mesh.configure(place, |config| (listens, cloud) = (Some((config.peers.listen, config.api.listen)), config.cloud.clone()));
        let (mesh_listens, api_listens) = listens.expect("settings");
        let link = Arc::new(Link::open(mesh_listens).await.expect("a link"));
        let site = self.mesh.nodes[place].site.clone();
        let ports = [self.mesh.nodes[place].devices_port, link.address.port(), api_listens.port()];
        let mut node = self.mesh.joined(by, &site, &["--site", &site], ports).await;
        std::mem::swap(&mut node, &mut self.mesh.nodes[place]);
        self.broken.extend(node.panics());
        let places: Vec<(usize, u64)> = self.mesh.nodes.iter().map(|node| node.number).enumerate().collect();
        let links = &self.links;
        self.mesh.configure(place, |config| {
            config.peers.listen = mesh_listens;
            config.cloud = cloud;
            for gateway in &mut config.peers.gateways {
                let to = places.iter().find(|(_, number)| *number == gateway.node.0).map(|(to, _)| (place, *to));
                if let Some(link) = to.and_then(|ends| links.get(&ends)) {
                    gateway.address = link.address.to_string();
                }
            }
        });
        for from in (0..places.len()).filter(|from| *from != place) {
            self.links.insert((from, place), link.clone());
        }
        // Runs of hours would fill the disk with them.
        std::fs::remove_dir_all(&node.data).expect("its folder");
    }
}

/// The members of a group, or those of them that vote, in order.
fn numbers_of(group: &Value, voters: bool) -> Option<Vec<u64>> {
    let members = group["members"].as_array()?.iter().filter(|member| !voters || member["voter"] == true);
    let mut numbers: Vec<u64> = members.filter_map(|member| member["node"].as_u64()).collect();
    numbers.sort_unstable();
    Some(numbers)
}
