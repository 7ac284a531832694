//! The layer of Kubernetes' client.

use http::Uri;
use kube_client::Config;
use kube_client::client::ConfigExt as _;
use kube_client::config::AuthInfo;
use tower::{BoxError, Layer as _};

use crate::cases::subject;
use crate::client::Tower;
use crate::fallible::Fallible;
use crate::request::token;
use crate::{Case, Subject};

pub(super) fn cases() -> [Case; 2] {
    let case = |name, make| Case::library("kube-client", name, make);
    [
        case("AuthLayer, fixed token", || {
            through(AuthInfo {
                token: Some(token().into()),
                ..AuthInfo::default()
            })
        }),
        case("AuthLayer, token file", || {
            let name = format!("tower-bearer-cost-{}", std::process::id());
            let file = std::env::temp_dir().join(name);
            std::fs::write(&file, token()).unwrap();
            let subject = through(AuthInfo {
                token_file: file.to_str().map(str::to_owned),
                ..AuthInfo::default()
            });
            // It keeps the last token when there is no file to read again.
            std::fs::remove_file(&file).unwrap();
            subject
        }),
    ]
}

fn through(auth_info: AuthInfo) -> Box<dyn Subject> {
    let mut config = Config::new(Uri::from_static("https://localhost"));
    config.auth_info = auth_info;
    let layer = config.auth_layer().unwrap().unwrap();
    subject(Tower(layer.layer(Fallible::<BoxError>::new())))
}
