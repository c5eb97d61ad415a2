"""Pods: what they may do, how they are exchanged, and what they find in their files."""

import pytest
from meterpipe_operator import kinds
from meterpipe_operator.facts import Live
from meterpipe_operator.workers import WORKERS

from tests.unit.operator.world import EXTRAS, by_ref, deployment, names, pipeline, ref, wanted

FROM_ALL = [one for one in wanted(EXTRAS).objects if one["kind"] in ("Deployment", "Job")]


@pytest.fixture(params=FROM_ALL, ids=lambda one: one["metadata"]["name"])
def pod(request):
    return request.param["spec"]["template"]["spec"]


def test_a_pod_has_no_privilege_and_writes_to_tmp_alone(pod):
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"]


def test_a_pod_has_no_token_of_the_api_server(pod):
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] != "default"


def test_a_pod_says_what_it_needs(pod):
    (container,) = pod["containers"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    assert "cpu" not in container["resources"]["limits"]


def test_a_pod_mounts_the_keys_it_uses_and_no_others(pod):
    volume = next(one for one in pod["volumes"] if "projected" in one)
    mounted = {
        s["secret"]["name"]: [i["key"] for i in s["secret"]["items"]] for s in volume["projected"]["sources"][1:]
    }
    keys = {"city-kafka": ["password"], "store": ["password"], "s3": ["accessKey", "secretKey"], "gates": ["tokens"]}
    assert mounted
    assert all(keys[name] == used for name, used in mounted.items())


@pytest.mark.parametrize(
    ("worker", "secrets"),
    [("aggregator", {"city-kafka"}), ("sink", {"city-kafka", "store"}), ("archiver", {"city-kafka", "s3"})],
)
def test_a_worker_mounts_the_secrets_of_its_own_services(worker, secrets):
    volume = deployment(wanted(), worker)["spec"]["template"]["spec"]["volumes"][0]
    assert {one["secret"]["name"] for one in volume["projected"]["sources"][1:]} == secrets


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_is_started_on_its_file_and_probed_at_its_port(worker):
    made = deployment(wanted({**EXTRAS, "monitoring": {"port": 9100}}), worker)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["worker", worker, "--config", "/etc/meterpipe/worker.json"]
    assert {"name": "metrics", "containerPort": 9100, "protocol": "TCP"} in container["ports"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_a_sink_has_more_time_to_finish_than_it_takes():
    from meterpipe.adapters.archiver import CLOSE_SECONDS
    from meterpipe.adapters.sink import FINISH_SECONDS
    from meterpipe.adapters.transaction import CALL_SECONDS

    assert WORKERS["sink"].grace > FINISH_SECONDS
    assert WORKERS["archiver"].grace > CLOSE_SECONDS
    assert WORKERS["aggregator"].grace > CALL_SECONDS


def test_pods_are_exchanged_all_at_once_and_without_a_gap():
    for worker in WORKERS:
        rolling = deployment(wanted(EXTRAS), worker)["spec"]["strategy"]
        assert rolling == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}


def recreated(live: Live, spec=None) -> bool:
    return deployment(wanted(spec, live={"aggregator": live}), "aggregator")["spec"]["strategy"] == {"type": "Recreate"}


def test_aggregators_of_old_and_new_window_sizes_never_run_side_by_side():
    old = Live(2, windows="60,600,3600,86400")
    assert not recreated(old)
    assert recreated(old, {"aggregator": {"windows": [60, 3600]}})


def test_they_stay_apart_until_the_exchange_is_through():
    spec = {"aggregator": {"windows": [60, 3600]}}
    assert recreated(Live(2, windows="60,3600", recreate=True, settled=False), spec)
    assert not recreated(Live(2, windows="60,3600", recreate=True, settled=True), spec)


def test_what_the_user_says_of_pods_is_in_them():
    said = {
        "image": "mine:3", "pullPolicy": "Always", "pullSecrets": ["regcred"], "labels": {"team": "grid"},
        "annotations": {"note": "x"}, "nodeSelector": {"disk": "ssd"}, "priorityClass": "high",
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}], "topologyKey": "zone",
    }  # fmt: skip
    template = deployment(wanted({"pods": said}), "sink")["spec"]["template"]
    pod = template["spec"]
    assert (pod["containers"][0]["image"], pod["containers"][0]["imagePullPolicy"]) == ("mine:3", "Always")
    assert pod["imagePullSecrets"] == [{"name": "regcred"}]
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert (pod["nodeSelector"], pod["priorityClassName"]) == ({"disk": "ssd"}, "high")
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "zone"
    assert template["metadata"]["labels"]["team"] == "grid"
    assert template["metadata"]["annotations"]["note"] == "x"


def test_the_users_labels_cannot_take_a_pod_out_of_its_deployment():
    made = deployment(wanted({"pods": {"labels": {"app.kubernetes.io/component": "mine"}}}), "sink")
    template = made["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["selector"]["matchLabels"].items() <= template.items()


def test_the_adapters_service_has_an_address_and_lets_gateways_in():
    made = by_ref(wanted(EXTRAS))
    service = made[ref(kinds.SERVICE, "city-ingest")]["spec"]
    assert "clusterIP" not in service
    assert {one["name"]: one["port"] for one in service["ports"]} == {"http": 8090, "metrics": 8080}
    (inward,) = made[ref(kinds.NETWORK_POLICY, "city-ingest")]["spec"]["ingress"]
    assert {one["port"] for one in inward["ports"]} == {8080, 8090}


def test_a_long_name_is_cut_and_stays_a_name():
    from meterpipe_operator.desired import desired
    from meterpipe_operator.labels import Owner

    from tests.unit.operator.world import bare, facts

    long = "a" * 63
    made = desired(bare({}, name=long), Owner(long, "energy", "u"), facts())
    for one in made.objects:
        assert len(one["metadata"]["name"]) <= 63
    assert len(set(names(made.objects, kinds.DEPLOYMENT))) == 3


def test_everything_in_the_namespace_belongs_to_the_pipeline_and_says_so():
    for one in wanted({"aggregator": {"replicas": 2}}).objects:
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("MeterPipeline", "uid-1", True)
        assert one["metadata"]["labels"]["meterpipe.io/pipeline"] == "city"
        assert one["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "meterpipe"


def test_the_service_finds_the_pods():
    made = by_ref(wanted())
    service = made[ref(kinds.SERVICE, "city-sink")]["spec"]
    pod = made[ref(kinds.DEPLOYMENT, "city-sink")]["spec"]["template"]
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["ports"][0]["targetPort"] == pod["spec"]["containers"][0]["ports"][0]["name"]


def test_a_budget_is_there_for_several_pods_only():
    def budgets(spec):
        return names(wanted(spec).objects, kinds.DISRUPTION_BUDGET)

    assert budgets({}) == []
    assert budgets({"aggregator": {"replicas": 2}}) == ["city-aggregator"]
    assert budgets({"lake": {"autoscaling": {"mode": "operator", "max": 3}}}) == ["city-archiver"]


def test_pods_reach_dns_and_their_services_and_are_reached_for_metrics():
    made = by_ref(wanted({"network": {"extraPorts": [9999]}}))

    def ports(worker):
        spec = made[ref(kinds.NETWORK_POLICY, f"city-{worker}")]["spec"]
        (inward,) = spec["ingress"]
        assert [one["port"] for one in inward["ports"]] == [8080]
        return {one["port"] for rule in spec["egress"] for one in rule["ports"]}

    assert ports("aggregator") == {53, 9094, 9999}
    assert ports("sink") == {53, 9094, 9999, 9042}
    assert ports("archiver") == {53, 9094, 9999, 7070}


def test_pods_of_jobs_are_reached_by_nobody():
    policy = by_ref(wanted())[ref(kinds.NETWORK_POLICY, "city-tasks")]["spec"]
    assert policy["ingress"] == []
    assert policy["podSelector"]["matchExpressions"][0]["values"] == ["replay", "schema", "topics"]


def test_policies_can_be_left_to_the_user():
    assert names(wanted({"network": {"policies": False}}).objects, kinds.NETWORK_POLICY) == []


def test_a_new_release_with_new_defaults_leaves_the_files_alone():
    """Defaults are not written: the file of a plain pipeline names what the user gave, and connections."""
    import json

    text = by_ref(wanted())[ref(kinds.CONFIG_MAP, "city-sink")]["data"]["worker.json"]
    assert json.loads(text)["pipeline"].get("spec", {}) == {}
    assert pipeline().spec.cassandra.secret_name == "store"
