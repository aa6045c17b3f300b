//! Disks that lie or are full: the gateway says so and stops, the mesh goes on.
