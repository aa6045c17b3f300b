//! The folder of a gateway that joins a running mesh: what `init` writes for a founder, with the id that the mesh gave and a
//! certificate of the mesh's authority. The authority's key stays where this runs.

use super::certificates::Authority;
use super::{BasePorts, InitError, InitOptions, Place, Planned, SiteReport, SiteSpec, check, places, template};
use crate::members::Joined;
use spalla_shared::id::SiteId;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// Made when it is not there; holds the new gateway's files alone.
    pub folder: PathBuf,
    pub site: SiteSpec,
    pub ports: BasePorts,
}

/// An authority that was read, before the mesh is asked.
pub struct Signer {
    authority: Authority,
    pub pem: String,
}

impl Signer {
    /// From the folder `mesh-ca` that `init` wrote.
    pub fn read(folder: &Path) -> Result<Self, InitError> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|error| InitError::Read { path, error })
        };
        let pem = read("ca.pem")?;
        let authority = Authority::read(&pem, &read("ca.key")?)?;
        Ok(Self { authority, pem })
    }
}

impl JoinOptions {
    /// host:port as the others dial the new gateway. Checks the options, so that no invitation is used up in vain.
    pub fn address(&self) -> Result<String, InitError> {
        if let Some(there) = Some(self.folder.join("spalla.toml")).filter(|path| path.symlink_metadata().is_ok()) {
            return Err(InitError::Exists(there));
        }
        Ok(self.place()?.mesh_address())
    }

    /// Writes the files.
    pub fn write(&self, signer: &Signer, joined: &Joined) -> Result<SiteReport, InitError> {
        let mut place = self.place()?;
        place.node = joined.node;
        let options = InitOptions {
            organisation: joined.organisation.clone(),
            mesh: joined.mesh.clone(),
            cloud_url: joined.cloud_url.clone(),
            ..self.as_init()
        };
        let (certificate, key) = signer.authority.node(place.node, &place.host)?;
        let settings = template::config(&options, &place, &joined.gateways, Some(joined.timing));
        let (config, token_file) = (self.folder.join("spalla.toml"), self.folder.join("api.token"));
        let plan = [
            Planned::open(self.folder.join("tls/ca.pem"), signer.pem.clone()),
            Planned::open(self.folder.join("tls/node.pem"), certificate),
            Planned::secret(self.folder.join("tls/node.key"), key),
            Planned::secret(token_file.clone(), joined.api_token.clone()),
            Planned::secret(self.folder.join("credentials.key"), joined.credentials_key.clone()),
            Planned::open(config.clone(), settings),
        ];
        plan.iter().try_for_each(Planned::write)?;
        Ok(SiteReport {
            site: SiteId::new(&self.site.name),
            node: joined.node,
            config,
            token_file,
            mesh_address: place.mesh_address(),
            devices_port: place.devices_port,
            api_url: format!("http://127.0.0.1:{}", place.api_port),
        })
    }

    fn place(&self) -> Result<Place, InitError> {
        let options = self.as_init();
        check(&options)?;
        places(&options)?.pop().ok_or_else(|| InitError::Option { what: "no site".into(), mend: "name one" })
    }

    fn as_init(&self) -> InitOptions {
        InitOptions {
            folder: self.folder.clone(),
            sites: vec![self.site.clone()],
            organisation: "mesh".into(),
            mesh: "mesh".into(),
            ports: self.ports,
            cloud_url: None,
        }
    }
}
