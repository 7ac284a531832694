//! `kube-client`'s auth layer with an exec plug-in, which is this program itself.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use kube_client::Config;
use kube_client::client::ConfigExt as _;
use kube_client::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use peers::BoxError;
use peers::peer::{Audience, Client, Servers};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _};

use super::issued::Issued;
use super::loopback::Loopback;
use super::sends::sends;
use super::with_version;
use crate::entrant::{Ageing, Entrant};

/// Refreshed in its last minute. It must not be due before the calls begin: the
/// layer is made with a token, and the first call would replace it.
const AGEING: Ageing = Ageing::of(Duration::from_secs(63), Duration::from_millis(3_100));

/// The argument with which this program is the plug-in, before the address of
/// the identity provider.
pub(crate) const PLUGIN: &str = "--exec-plugin";

type Body = String;
type Service = BoxCloneSyncService<Request<Body>, Response<()>, BoxError>;

pub(super) fn entrant() -> Entrant {
    let name = format!("{} AuthLayer, exec plug-in", with_version("kube-client"));
    Entrant {
        // The layer is made with its first token.
        starts_cold: false,
        ..Entrant::new(name, AGEING, connect)
    }
}

fn connect(servers: &Servers) -> Result<Arc<dyn Client>, BoxError> {
    let issuer = Loopback::start(servers.identity.clone())?;
    let program = std::env::current_exe()?;
    let exec = ExecConfig {
        api_version: Some("client.authentication.k8s.io/v1".to_owned()),
        command: Some(program.display().to_string()),
        args: Some(vec![PLUGIN.to_owned(), issuer.address().to_string()]),
        env: None,
        drop_env: None,
        install_hint: None,
        interactive_mode: Some(ExecInteractiveMode::Never),
        provide_cluster_info: false,
        cluster: None,
        other: BTreeMap::default(),
    };
    let mut config = Config::new("https://127.0.0.1".parse()?);
    config.auth_info = AuthInfo {
        exec: Some(exec),
        ..AuthInfo::default()
    };
    let layer = config.auth_layer()?.ok_or("no layer for an exec plug-in")?;
    Ok(Arc::new(Layered {
        service: BoxCloneSyncService::new(layer.layer(sends(servers.resource.clone()))),
        _issuer: issuer,
    }))
}

struct Layered {
    service: Service,
    _issuer: Loopback,
}

#[async_trait]
impl Client for Layered {
    async fn send(&self, audience: Audience) -> Result<StatusCode, BoxError> {
        let request = Request::get(audience.url()).body(Body::default())?;
        Ok(self.service.clone().oneshot(request).await?.status())
    }

    async fn token(&self, audience: Audience) -> Result<(), BoxError> {
        self.send(audience).await.map(drop)
    }
}

/// What the plug-in prints: a token from the identity provider at `address`.
pub(crate) fn plugin(address: &str) -> Result<String, BoxError> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /token HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.contains(" 200 ") {
        return Err("no token was issued".into());
    }
    let issued: Issued = serde_json::from_str(body)?;
    let expiry = jiff::Timestamp::now() + issued.life();
    Ok(format!(
        r#"{{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{{"token":"{}","expirationTimestamp":"{expiry}"}}}}"#,
        issued.access_token
    ))
}
