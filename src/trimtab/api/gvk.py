"""Groups, versions and kinds of our own, and the few foreign ones we install or lean on."""

from typing import Final

from trimtab.manifests.refs import Gvk

SOURCE_GROUP: Final = "source.toolkit.fluxcd.io"
EXTENSIONS_GROUP: Final = "source.extensions.fluxcd.io"
KUSTOMIZE_GROUP: Final = "kustomize.toolkit.fluxcd.io"
HELM_GROUP: Final = "helm.toolkit.fluxcd.io"
NOTIFICATION_GROUP: Final = "notification.toolkit.fluxcd.io"
IMAGE_GROUP: Final = "image.toolkit.fluxcd.io"

GIT_REPOSITORY: Final = Gvk(SOURCE_GROUP, "v1", "GitRepository")
OCI_REPOSITORY: Final = Gvk(SOURCE_GROUP, "v1", "OCIRepository")
BUCKET: Final = Gvk(SOURCE_GROUP, "v1", "Bucket")
HELM_REPOSITORY: Final = Gvk(SOURCE_GROUP, "v1", "HelmRepository")
HELM_CHART: Final = Gvk(SOURCE_GROUP, "v1", "HelmChart")
EXTERNAL_ARTIFACT: Final = Gvk(SOURCE_GROUP, "v1", "ExternalArtifact")
ARTIFACT_GENERATOR: Final = Gvk(EXTENSIONS_GROUP, "v1beta1", "ArtifactGenerator")
KUSTOMIZATION: Final = Gvk(KUSTOMIZE_GROUP, "v1", "Kustomization")
HELM_RELEASE: Final = Gvk(HELM_GROUP, "v2", "HelmRelease")
RECEIVER: Final = Gvk(NOTIFICATION_GROUP, "v1", "Receiver")
PROVIDER: Final = Gvk(NOTIFICATION_GROUP, "v1beta3", "Provider")
ALERT: Final = Gvk(NOTIFICATION_GROUP, "v1beta3", "Alert")
IMAGE_REPOSITORY: Final = Gvk(IMAGE_GROUP, "v1", "ImageRepository")
IMAGE_POLICY: Final = Gvk(IMAGE_GROUP, "v1", "ImagePolicy")
IMAGE_UPDATE_AUTOMATION: Final = Gvk(IMAGE_GROUP, "v1", "ImageUpdateAutomation")

SOURCE_KINDS: Final = (GIT_REPOSITORY, OCI_REPOSITORY, BUCKET, EXTERNAL_ARTIFACT)
"""What a Kustomization may name in its `sourceRef`."""

CRD: Final = Gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
