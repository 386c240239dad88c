"""What comes in to the processes of an installation: Services, and the policies that keep everything else out."""

from trimtab.api.installed import labelled
from trimtab.manifests.refs import Body


def service(name: str, port: str, namespace: str, pod: dict[str, str]) -> Body:
    """The Service `name`, which leads to the port `port` of `pod`."""
    return labelled("v1", "Service", name, namespace) | {
        "spec": {
            "type": "ClusterIP",
            "selector": dict(pod),
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": port}],
        }
    }


def network_policy(name: str, pod: dict[str, str], public: tuple[str, ...], namespace: str) -> Body:
    """Artifacts and events for the pods of this namespace, what is public for any pod; nothing else comes in."""
    return labelled("networking.k8s.io/v1", "NetworkPolicy", name, namespace) | {
        "spec": {
            "podSelector": {"matchLabels": dict(pod)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": "http"}]},
                {
                    "from": [{"namespaceSelector": {}}],
                    "ports": [{"protocol": "TCP", "port": port} for port in public],
                },
            ],
        }
    }


def metrics_policy(name: str, pod: dict[str, str], namespace: str) -> Body:
    """Metrics for any pod; nothing else comes in."""
    return labelled("networking.k8s.io/v1", "NetworkPolicy", name, namespace) | {
        "spec": {
            "podSelector": {"matchLabels": dict(pod)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": "http-prom"}]},
            ],
        }
    }
