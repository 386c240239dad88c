"""A live object as somebody would have declared it."""

from trimtab.manifests.cleaned import cleaned

SERVER = {
    "uid": "u",
    "resourceVersion": "1",
    "generation": 3,
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "managedFields": [{"manager": "kubectl"}],
}


def live(kind, spec=None, api_version="v1", **metadata):
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "n", **SERVER, **metadata}}
    return body | ({"spec": spec} if spec is not None else {}) | {"status": {"phase": "Active"}}


def test_what_the_server_wrote_is_left_out_and_what_somebody_declared_stays():
    notes = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a"}
    labels = {"pod-template-hash": "abc", "app": "web"}
    found = cleaned(live("ConfigMap", annotations=notes, labels=labels) | {"data": {"a": "b"}})
    assert found == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": "n", "annotations": {"team": "a"}, "labels": {"app": "web"}},
        "data": {"a": "b"},
    }


def test_an_address_that_was_given_is_left_out_and_one_that_was_declared_is_not():
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    given = {
        "clusterIP": "10.0.0.7",
        "clusterIPs": ["10.0.0.7"],
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
    }
    spec = {**given, "ports": ports, "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}
    assert cleaned(live("Service", spec))["spec"] == {"ports": ports}
    headless = {"clusterIP": "None", "clusterIPs": ["None"], "ports": ports}
    assert cleaned(live("Service", headless))["spec"] == headless


def test_a_workload_keeps_what_is_no_default():
    container = {"name": "web", "image": "web:1", "terminationMessagePolicy": "File", "resources": {}}
    pod = {"containers": [container], "restartPolicy": "Always", "dnsPolicy": "Default", "schedulerName": "mine"}
    template = {"metadata": {"creationTimestamp": None, "labels": {"app": "web"}}, "spec": pod}
    spec = {"replicas": 3, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2, "template": template}
    found = cleaned(live("Deployment", spec, "apps/v1"))["spec"]
    assert found == {
        "replicas": 3,
        "revisionHistoryLimit": 2,
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [{"name": "web", "image": "web:1"}],
                "dnsPolicy": "Default",
                "schedulerName": "mine",
            },
        },
    }


def test_a_pod_is_without_its_node_and_its_token_and_a_job_without_the_selector_it_was_given():
    token = {"name": "kube-api-access-x", "projected": {}}
    mount = {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    waits = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "tolerationSeconds": 300}
    pod = {
        "nodeName": "node-1",
        "serviceAccount": "default",
        "serviceAccountName": "default",
        "containers": [{"name": "c", "image": "i", "volumeMounts": [mount, {"name": "d", "mountPath": "/d"}]}],
        "volumes": [token, {"name": "d", "emptyDir": {}}],
        "tolerations": [waits],
    }
    assert cleaned(live("Pod", pod))["spec"] == {
        "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}],
        "volumes": [{"name": "d", "emptyDir": {}}],
    }
    labels = {"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "x", "app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [], "restartPolicy": "Never"}}
    job = {"selector": {"matchLabels": {"controller-uid": "u"}}, "template": template, "backoffLimit": 6}
    assert cleaned(live("Job", job, "batch/v1"))["spec"] == {
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [], "restartPolicy": "Never"}}
    }


def test_a_volume_that_was_bound_for_a_claim_is_not_asked_for_again_and_one_that_was_chosen_is():
    bound = {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
    claim = {"volumeName": "pvc-1", "accessModes": ["ReadWriteOnce"]}
    assert cleaned(live("PersistentVolumeClaim", claim, annotations=bound))["spec"] == {
        "accessModes": ["ReadWriteOnce"]
    }
    assert cleaned(live("PersistentVolumeClaim", claim))["spec"] == claim


def test_a_default_that_somebody_has_declared_stays_where_it_was():
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    spec = {"clusterIP": "10.0.0.7", "ports": ports, "sessionAffinity": "None", "type": "ClusterIP"}
    declared = {"apiVersion": "v1", "spec": {"type": "ClusterIP", "ports": [{"name": "http", "port": 80}]}}
    found = cleaned(live("Service", spec), [declared])["spec"]
    assert (found, list(found)) == ({"ports": ports, "type": "ClusterIP"}, ["ports", "type"])
    container = {"name": "b", "image": "i", "resources": {}, "terminationMessagePolicy": "File"}
    pod = {"containers": [{"name": "injected", "image": "j"}, container], "nodeName": "n"}
    declared = {"spec": {"nodeName": "n", "containers": [{"name": "b", "resources": {}}]}}
    assert cleaned(live("Pod", pod), [declared])["spec"] == {
        "containers": [{"name": "injected", "image": "j"}, {"name": "b", "image": "i", "resources": {}}],
        "nodeName": "n",
    }


def test_the_object_that_was_given_stays_as_it_is():
    body = live("Service", {"clusterIP": "10.0.0.7"})
    cleaned(body)
    assert body == live("Service", {"clusterIP": "10.0.0.7"})


def test_the_kinds_of_others_are_not_taken_for_built_in_ones_that_are_called_alike():
    job = {"selector": {"app": "x"}, "backoffLimit": 6, "template": {"metadata": {"labels": {"job-name": "mine"}}}}
    assert cleaned(live("Job", job, "batch.volcano.sh/v1alpha1"))["spec"] == job
    odd = {"tolerations": ["all"], "type": "ClusterIP"}
    assert cleaned(live("Pod", odd, "example.org/v1"))["spec"] == odd
    assert cleaned(live("Service", odd, "example.org/v1"))["spec"] == odd
