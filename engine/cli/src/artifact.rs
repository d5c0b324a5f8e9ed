//! What a component is in a registry: a manifest, whose config and whose one layer are of the types for WebAssembly.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow, bail};
use heddle_host::ComponentSummary;
use heddle_json::object::clip;
use heddle_kernel::Digest;
use oci_client::manifest::{
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest,
};
use serde_json::json;

/// The type of a component in a registry.
const LAYER_TYPE: &str = "application/wasm";
/// The type of the config that stands beside it.
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// When every artifact was made, as its config says: then the same component has the same digest whoever pushes it.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// The one component that a manifest names.
pub(crate) fn layer_of(manifest: &[u8]) -> anyhow::Result<OciDescriptor> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = serde_json::from_slice(manifest).context("its manifest cannot be read")?;
    if kind.manifests.is_some() || kind.media_type.as_deref() == Some(OCI_IMAGE_INDEX_MEDIA_TYPE) {
        bail!("it is an index of several artifacts: name one of them by its digest");
    }
    let manifest: OciImageManifest =
        serde_json::from_slice(manifest).context("its manifest cannot be read")?;
    let [layer] = <[OciDescriptor; 1]>::try_from(manifest.layers)
        .map_err(|layers| anyhow!("it has {} layers, and a component is one", layers.len()))?;
    for (what, is, should_be) in [
        ("layer", &layer.media_type, LAYER_TYPE),
        ("config", &manifest.config.media_type, CONFIG_TYPE),
    ] {
        if is != should_be {
            bail!(
                "its {what} is of the type {} and not {should_be}; `heddle plugin push` and `wkg oci push` make \
                 components what they must be",
                clip(is, 100)
            );
        }
    }
    if !layer.digest.starts_with("sha256:") {
        bail!(
            "its component is named by {}, which is no SHA-256",
            clip(&layer.digest, 100)
        );
    }
    Ok(layer)
}

pub(crate) fn config_of(component: &[u8], outline: &ComponentSummary) -> Vec<u8> {
    let config = json!({
        "created": CREATED,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [digest_of(component)],
        "component": {"exports": outline.exports, "imports": outline.imports, "target": null},
    });
    config.to_string().into_bytes()
}

pub(crate) fn manifest_of(component: &[u8], config: &[u8], outline: &ComponentSummary) -> Vec<u8> {
    let annotations: BTreeMap<&str, &str> = [
        ("org.opencontainers.image.title", &*outline.name),
        ("org.opencontainers.image.version", &*outline.version),
    ]
    .into();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE_MEDIA_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest_of(config), "size": config.len()},
        "layers": [{"mediaType": LAYER_TYPE, "digest": digest_of(component), "size": component.len()}],
        "annotations": annotations,
    });
    manifest.to_string().into_bytes()
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_refused_by_its_types() {
        let layer = |layers: serde_json::Value, config: &str| {
            let config = json!({"mediaType": config, "digest": "sha256:0", "size": 1});
            let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
            format!(
                "{:#}",
                layer_of(manifest.to_string().as_bytes()).map_or_else(|error| error, |_| anyhow!("fits"))
            )
        };
        let of_type = |kind: &str| json!([{"mediaType": kind, "digest": "sha256:0", "size": 1}]);
        assert_eq!(layer(of_type(LAYER_TYPE), CONFIG_TYPE), "fits");
        assert!(
            layer(of_type("application/zip"), CONFIG_TYPE).contains("layer is of the type application/zip")
        );
        assert!(layer(of_type(LAYER_TYPE), "text/plain").contains("config is of the type text/plain"));
        assert!(layer(json!([]), CONFIG_TYPE).contains("0 layers"));
        let index = br#"{"schemaVersion": 2, "manifests": []}"#;
        assert!(layer_of(index).unwrap_err().to_string().contains("index"));
        assert!(
            layer_of(b"<html>")
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
    }

    #[test]
    fn the_same_component_has_the_same_manifest_always() {
        let outline = ComponentSummary {
            name: "shout".to_owned(),
            version: "1.2.0".to_owned(),
            imports: vec!["wasi:cli/environment@0.2.0".to_owned()],
            exports: vec!["heddle:plugin/tool@0.1.0".to_owned()],
        };
        let config = config_of(b"component", &outline);
        let manifest = manifest_of(b"component", &config, &outline);
        assert_eq!(layer_of(&manifest).unwrap().digest, digest_of(b"component"));
        expect_test::expect!["sha256:48bebd4c671a790718b2431d4194a82ffe346451c9d675db9bd5b90b81db5a7e"]
            .assert_eq(&digest_of(&manifest));
    }
}
