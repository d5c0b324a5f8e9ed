//! The manifest of a component in a registry: one layer and a config, both with the media types for WebAssembly.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow, bail};
use heddle_host::ComponentSummary;
use heddle_json::object::clip;
use heddle_kernel::Digest;
use oci_client::manifest::{
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest,
};
use serde_json::json;

/// The media type of a component.
const LAYER_TYPE: &str = "application/wasm";
/// The media type of the config.
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// The creation time in every config. It is fixed, so that the same component always has the same digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// The descriptor of the component that a manifest names.
pub(crate) fn layer_of(manifest: &[u8]) -> anyhow::Result<OciDescriptor> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = serde_json::from_slice(manifest).context("its manifest cannot be read")?;
    if kind.manifests.is_some() || kind.media_type.as_deref() == Some(OCI_IMAGE_INDEX_MEDIA_TYPE) {
        bail!("it is an index of several artifacts: name one of the artifacts by digest");
    }
    let manifest: OciImageManifest =
        serde_json::from_slice(manifest).context("its manifest cannot be read")?;
    let [layer] = <[OciDescriptor; 1]>::try_from(manifest.layers)
        .map_err(|layers| anyhow!("it has {} layers, but a component has exactly one", layers.len()))?;
    for (what, is, should_be) in [
        ("layer", &layer.media_type, LAYER_TYPE),
        ("config", &manifest.config.media_type, CONFIG_TYPE),
    ] {
        if is != should_be {
            bail!(
                "its {what} has the type {} and not {should_be}; push components with `heddle plugin push` or `wkg oci \
                 push`",
                clip(is, 100)
            );
        }
    }
    if !layer.digest.starts_with("sha256:") {
        bail!(
            "its component is named by {}, which is not a SHA-256 digest",
            clip(&layer.digest, 100)
        );
    }
    Ok(layer)
}

pub(crate) fn config_of(component: &[u8], summary: &ComponentSummary) -> Vec<u8> {
    let config = json!({
        "created": CREATED,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [digest_of(component)],
        "component": {"exports": summary.exports, "imports": summary.imports, "target": null},
    });
    config.to_string().into_bytes()
}

pub(crate) fn manifest_of(component: &[u8], config: &[u8], summary: &ComponentSummary) -> Vec<u8> {
    let annotations: BTreeMap<&str, &str> = [
        ("org.opencontainers.image.title", &*summary.name),
        ("org.opencontainers.image.version", &*summary.version),
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
    fn an_artifact_of_another_type_is_refused() {
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
            layer(of_type("application/zip"), CONFIG_TYPE).contains("layer has the type application/zip")
        );
        assert!(layer(of_type(LAYER_TYPE), "text/plain").contains("config has the type text/plain"));
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
    fn the_same_component_always_has_the_same_manifest() {
        let summary = ComponentSummary {
            name: "shout".to_owned(),
            version: "1.2.0".to_owned(),
            imports: vec!["wasi:cli/environment@0.2.0".to_owned()],
            exports: vec!["heddle:plugin/tool@0.1.0".to_owned()],
        };
        let config = config_of(b"component", &summary);
        let manifest = manifest_of(b"component", &config, &summary);
        assert_eq!(layer_of(&manifest).unwrap().digest, digest_of(b"component"));
        expect_test::expect!["sha256:48bebd4c671a790718b2431d4194a82ffe346451c9d675db9bd5b90b81db5a7e"]
            .assert_eq(&digest_of(&manifest));
    }
}
