"""Requirements on every manifest beyond schemas and linter."""

from typing import Any

from tests.unit.deploy.manifests import DEPLOY, Resource, Variant, variants


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def test_every_pod_meets_the_restricted_pod_security_standard(variant: Variant) -> None:
    for _, pod in variant.pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for each in [*spec.get("initContainers", []), *spec["containers"]]:
            context = each["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(each["resources"]["requests"])
            assert {"cpu", "memory"} <= set(each["resources"]["limits"])


def test_no_trainer_pod_is_taken_for_a_server(variant: Variant) -> None:
    for service in variant.of_kind("Service"):
        for kind, pod in variant.pods():
            assert selects(service["spec"]["selector"], pod["metadata"]["labels"]) is (kind == "Deployment")


def test_services_budget_policy_and_spread_select_the_servers(variant: Variant) -> None:
    selectors = [service["spec"]["selector"] for service in variant.of_kind("Service")]
    selectors += [
        budget["spec"]["selector"]["matchLabels"] for budget in variant.of_kind("PodDisruptionBudget")
    ]
    selectors += [
        constraint["labelSelector"]["matchLabels"]
        for constraint in variant.deployment()["spec"]["template"]["spec"]["topologySpreadConstraints"]
    ]
    assert len(selectors) == 5
    labels = [pod["metadata"]["labels"] for pod, _ in variant.servers()]
    assert all(selects(selector, each) for selector in selectors for each in labels)


def test_no_deployment_counts_the_pods_of_another(variant: Variant) -> None:
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in variant.of_kind("Deployment")
    }
    for each in variant.of_kind("Deployment"):
        selected = [name for name in pods if selects(each["spec"]["selector"]["matchLabels"], pods[name])]
        assert selected == [each["metadata"]["name"]]


def test_no_pod_reaches_anything_but_the_bucket_that_it_serves_from(variant: Variant) -> None:
    policies = [policy["spec"] for policy in variant.of_kind("NetworkPolicy")]
    for _, pod in variant.pods():
        labels = pod["metadata"]["labels"]
        mine = [each for each in policies if selects(each["podSelector"]["matchLabels"], labels)]
        assert any(policy["policyTypes"] == ["Ingress", "Egress"] for policy in mine)
        bucket = any(volume["name"] == "bucket" for volume in pod["spec"].get("volumes", []))
        allowed = {
            port["port"] for policy in mine for rule in policy.get("egress", []) for port in rule["ports"]
        }
        assert allowed == ({443, 53} if bucket else set())


def test_a_rollout_never_lowers_capacity(variant: Variant) -> None:
    for deployment in variant.of_kind("Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_autoscaler_alone_owns_the_number_of_pods(variant: Variant) -> None:
    deployment = variant.deployment()
    (autoscaler,) = variant.of_kind("HorizontalPodAutoscaler", "ScaledObject")
    limits = {key: value for key, value in autoscaler["spec"].items() if key.startswith(("min", "max"))}
    assert "replicas" not in deployment["spec"]
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert [key[:3] for key in sorted(limits, key=limits.__getitem__)] == ["min", "max"]


def test_volumes_and_references_name_what_is_there(variant: Variant) -> None:
    claims = {claim["metadata"]["name"] for claim in variant.of_kind("PersistentVolumeClaim")}
    accounts = {account["metadata"]["name"] for account in variant.of_kind("ServiceAccount")}
    for _, pod in variant.pods():
        spec = pod["spec"]
        assert spec["serviceAccountName"] in accounts
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        wanted = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        }
        assert wanted <= claims
        containers = [*spec.get("initContainers", []), *spec["containers"]]
        mounted = [{mount["name"] for mount in each.get("volumeMounts", [])} for each in containers]
        assert set().union(*mounted) == set(volumes)
        # The server's key is nobody else's, and the bucket's keys are none of the server's.
        assert sum("tls" in names for names in mounted) == ("tls" in volumes)
        assert not any({"tls", "bucket"} <= names for names in mounted)


def test_prometheus_scrapes_each_pod_once(variant: Variant) -> None:
    for monitor in variant.of_kind("ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        (endpoint,) = monitor["spec"]["endpoints"]
        selected = [
            service["metadata"]["name"]
            for service in variant.of_kind("Service")
            if selects(selector, service["metadata"]["labels"]) and endpoint["port"] in ports(service)
        ]
        assert selected == ["digits"]


def ports(service: Resource) -> list[Any]:
    return [port["name"] for port in service["spec"]["ports"]]


def test_one_resource_a_file() -> None:
    for path in DEPLOY.rglob("*.yaml"):
        assert "\n---" not in path.read_text(), path


def test_components_add_tolerations_and_take_none_away() -> None:
    both = next(variant for variant in variants() if {"gpu", "spot"} <= set(variant.components))
    deployment = both.deployment()
    keys = [each["key"] for each in deployment["spec"]["template"]["spec"]["tolerations"]]
    assert keys == ["nvidia.com/gpu", "cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"]


def test_the_canary_is_the_server_but_for_its_name_and_number(variant: Variant) -> None:
    for canary in variant.of_kind("Deployment"):
        if canary["metadata"]["name"] == "digits-canary":
            assert canary["spec"]["replicas"] == 1
            assert canary["spec"]["template"]["spec"] == variant.deployment()["spec"]["template"]["spec"]


def test_a_gpu_pod_has_a_gpu_and_the_image_for_it() -> None:
    gpu = next(variant for variant in variants() if variant.components == ("gpu",))
    (server,) = gpu.deployment()["spec"]["template"]["spec"]["containers"]
    assert server["image"].startswith("digit-server-gpu:")
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "1"
