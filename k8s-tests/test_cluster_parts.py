"""The cluster tool's own logic, without a cluster: nothing here needs root or Linux."""

import json
import re
import tarfile
import threading
import tomllib
from pathlib import Path

import pytest
from cluster import archive, cli, configs, pki, preflight
from cluster.archive import Entry, Image, ImageConfig
from cluster.errors import ClusterError
from cluster.images import NODE_IMAGES, RECIPES, reference
from cluster.layout import NETWORKS, Cluster, free_network
from cluster.programs import HERE, PARTS, kubernetes_version, version_flags
from cluster.project import names, subset
from cluster.record import Process, Record, read_record
from cluster.status import Status
from cluster.store import KEPT_PER_NAME, Store, fingerprint
from hypothesis import given
from hypothesis import strategies as st

CLUSTER = Cluster("tests", "10.203", Path("/somewhere/tests"))


class TestLayout:
    @given(st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True))
    def test_every_allowed_name_gives_a_link_name_the_kernel_takes(self, name: str) -> None:
        assert len(Cluster(name, "10.199", Path("/x")).link) <= 15

    @pytest.mark.parametrize("name", ["", "Upper", "1st", "much-too-long-a-name", "a/b"])
    def test_other_names_are_refused_with_the_rule(self, name: str) -> None:
        with pytest.raises(ClusterError, match="small letter"):
            Cluster(name, "10.199", Path("/x"))

    @pytest.mark.parametrize("folder", ["/run/x", "/var/tmp/x"])
    def test_a_cache_the_node_could_not_see_is_refused_with_the_way_out(self, folder: str) -> None:
        with pytest.raises(ClusterError, match="METERPIPE_CACHE"):
            Cluster("tests", "10.199", Path(folder))

    def test_the_first_network_without_a_route_is_taken(self) -> None:
        routes = "default via 10.0.0.1 dev eth0\n10.199.0.0/24 dev mpk-a\n10.200.128.0/18 via 10.200.0.2 dev mpk-b\n"
        assert free_network("") == "10.199"
        assert free_network(routes) == "10.201"

    def test_no_free_network_is_an_error(self) -> None:
        with pytest.raises(ClusterError, match="in use"):
            free_network("\n".join(f"{network}.0.0/16 dev x" for network in NETWORKS))


class TestStore:
    def test_a_fingerprint_tells_content_names_and_order_apart_but_not_places(self, tmp_path: Path) -> None:
        for place in ("one", "two"):
            (tmp_path / place / "src").mkdir(parents=True)
            (tmp_path / place / "src" / "a.txt").write_text("a")
        one, two = tmp_path / "one" / "src", tmp_path / "two" / "src"
        assert fingerprint([one]) == fingerprint([two])
        (two / "a.txt").write_text("b")
        assert fingerprint([one]) != fingerprint([two])
        assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
        assert fingerprint(["a", "b"]) != fingerprint(["b", "a"])
        assert fingerprint([one / "a.txt"]) != fingerprint(["a.txt", "a"])

    def test_a_result_is_made_once_for_its_inputs_by_many_at_the_same_time(self, tmp_path: Path) -> None:
        made: list[Path] = []
        barrier = threading.Barrier(4)

        def ask() -> None:
            barrier.wait()
            Store(tmp_path).get("thing", ["v1"], made.append)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1

    def test_a_failed_build_leaves_nothing_that_looks_done(self, tmp_path: Path) -> None:
        def fail(folder: Path) -> None:
            (folder / "half").touch()
            raise ClusterError("no compiler")

        with pytest.raises(ClusterError):
            Store(tmp_path).get("thing", ["v1"], fail)
        folder = Store(tmp_path).get("thing", ["v1"], lambda made: (made / "whole").touch())
        assert [path.name for path in folder.iterdir()] == ["whole"]

    def test_old_results_go_and_those_of_longer_names_stay(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        other = store.get("thing-else", ["v0"], lambda _: None)
        made = [store.get("thing", [f"v{n}"], lambda _: None) for n in range(4)]
        assert [path.exists() for path in made] == [n >= 4 - KEPT_PER_NAME for n in range(4)]
        assert other.exists()


class TestArchive:
    def write(self, folder: Path, out: str) -> Path:
        (folder / "site").mkdir(exist_ok=True)
        (folder / "site" / "index.html").write_text("<h1>hello</h1>")
        (folder / "run.sh").write_text("#!/bin/sh\n")
        (folder / "run.sh").chmod(0o700)
        entries = [Entry("/srv/site/", folder / "site"), Entry("run.sh", folder / "run.sh"), Entry("data")]
        archive.pack(entries, folder / "layer.tar")
        config = ImageConfig(("/run.sh",), ("--fast",), ("A=1",), "1000:1000", "/srv")
        archive.write(Image([folder / "layer.tar"], config), "localhost/site:1", folder / out)
        return folder / out

    def test_the_same_files_give_the_same_bytes(self, tmp_path: Path) -> None:
        first = self.write(tmp_path, "a.tar").read_bytes()
        (tmp_path / "site" / "index.html").touch()
        assert self.write(tmp_path, "b.tar").read_bytes() == first

    def test_an_archive_reads_back_as_it_was_written(self, tmp_path: Path) -> None:
        image = archive.read(self.write(tmp_path, "a.tar"), tmp_path)
        assert archive.references(tmp_path / "a.tar") == ["localhost/site:1"]
        assert image.config == ImageConfig(("/run.sh",), ("--fast",), ("A=1",), "1000:1000", "/srv")
        with tarfile.open(image.layers[0]) as layer:
            found = {member.name: oct(member.mode) for member in layer}
        assert found == {
            "srv": "0o755",
            "srv/site": "0o755",
            "srv/site/index.html": "0o644",
            "run.sh": "0o755",
            "data": "0o777",
        }

    def test_the_manifest_names_what_is_in_the_archive(self, tmp_path: Path) -> None:
        with tarfile.open(self.write(tmp_path, "a.tar")) as tar:
            names = tar.getnames()
            text = tar.extractfile("manifest.json")
            assert text is not None
            (manifest,) = json.load(text)
        assert manifest["RepoTags"] == ["localhost/site:1"]
        assert {manifest["Config"], *manifest["Layers"], "manifest.json"} == set(names)

    def test_layers_that_are_there_already_are_left_out(self, tmp_path: Path) -> None:
        file = self.write(tmp_path, "a.tar")
        with tarfile.open(file) as tar:
            (layer,) = {name.partition("/")[0] for name in tar.getnames() if name.endswith("/layer.tar")}
        assert archive.own_layout(file)
        blobs = {}
        for present in ((), (layer,)):
            archive.write_missing(file, present, tmp_path / "slim.tar")
            with tarfile.open(tmp_path / "slim.tar") as tar:
                blobs[present] = set(tar.getnames())
        assert blobs[()] - blobs[(layer,)] == {f"blobs/sha256/{layer}"}
        assert {"oci-layout", "index.json"} < blobs[(layer,)]

    def test_a_file_that_is_no_archive_is_refused_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "x.tar").write_text("hello")
        with pytest.raises(ClusterError, match=re.escape(f"{tmp_path}/x.tar is no docker-archive")):
            archive.read(tmp_path / "x.tar", tmp_path)

    @pytest.mark.parametrize("text", ["", "only-source", ":/target", "source:", "source:/", "missing:/target"])
    def test_what_cannot_be_added_is_refused_with_the_words_given(self, text: str) -> None:
        with pytest.raises(ClusterError, match=re.escape(repr(text))):
            archive.parse_entry(text)


class TestConfigs:
    def test_every_configuration_file_can_be_parsed(self) -> None:
        for path, text in configs.files(CLUSTER).items():
            if path.suffix == ".toml":
                tomllib.loads(text)
            elif path.suffix != ".conf":
                json.loads(text)

    def test_the_address_of_dns_is_the_one_pods_are_told_and_lies_among_the_services(self) -> None:
        assert configs.kubelet(CLUSTER)["clusterDNS"] == [CLUSTER.dns_ip]
        assert CLUSTER.service_cidr == "10.203.128.0/18"
        assert CLUSTER.dns_ip == "10.203.128.10"

    def test_what_needs_the_api_server_waits_for_it_and_the_rest_does_not(self) -> None:
        waiting = {program.name for program in configs.programs(CLUSTER) if program.after_api}
        assert waiting == {"kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"}

    def test_the_api_server_has_a_certificate_for_each_way_it_is_called(self) -> None:
        (api,) = (c for c in pki.certificates(CLUSTER) if c.name == "apiserver")
        for name in ("IP:10.203.0.2", "IP:10.203.128.1", "IP:127.0.0.1", "DNS:kubernetes.default.svc"):
            assert name in api.valid_for.split(",")


class TestPrograms:
    def test_the_version_is_read_from_go_mod_and_told_to_the_linker(self) -> None:
        version = kubernetes_version("require (\n\tk8s.io/kubernetes v1.34.4\n\tk8s.io/kubectl v0.0.0\n)\n")
        assert version == "v1.34.4"
        assert "-X k8s.io/component-base/version.gitVersion=v1.34.4" in version_flags(version)
        assert "-X k8s.io/client-go/pkg/version.gitMinor=34" in version_flags(version)

    def test_a_go_mod_without_kubernetes_is_an_error(self) -> None:
        with pytest.raises(ClusterError, match="does not name a version"):
            kubernetes_version("module x\n")

    @pytest.mark.parametrize("module", sorted((HERE / "go").iterdir()), ids=lambda path: path.name)
    def test_every_module_is_pinned_by_sums_and_the_parts_of_kubernetes_agree(self, module: Path) -> None:
        assert module.name in PARTS
        assert (module / "go.sum").stat().st_size > 0
        pinned = set(re.findall(r"=> k8s\.io/\S+ (v\S+)", (module / "go.mod").read_text()))
        version = kubernetes_version((HERE / "go" / "kubernetes" / "go.mod").read_text())
        assert pinned <= {version.replace("v1.", "v0.", 1)}

    def test_coredns_has_every_plugin_its_configuration_names(self) -> None:
        built = set(re.findall(r"coredns/plugin/(\w+)", (HERE / "go" / "coredns" / "main.go").read_text()))
        corefile = (HERE / "addons" / "coredns.yaml").read_text().split(".:53 {")[1].split("kind: Deployment")[0]
        named = set(re.findall(r"(?m)^ {8}(\w+)", corefile)) - {"prometheus"} | {"metrics"}
        assert named == built


class TestImages:
    def test_addons_ask_for_images_by_the_names_they_are_loaded_under(self) -> None:
        known = {reference(name) for name in RECIPES}
        manifests = [*(HERE / "addons").glob("*.yaml"), *(HERE.parent / "services").glob("*.yaml")]
        for manifest in manifests:
            asked = re.findall(r"image: (\S+)", manifest.read_text())
            assert asked, manifest
            assert set(asked) <= known
        assert set(NODE_IMAGES) <= set(RECIPES)

    def test_scripts_that_start_services_can_be_run(self) -> None:
        for script in (HERE / "images").glob("*/start.sh"):
            assert script.stat().st_mode & 0o111 == 0o111


class TestProject:
    LOCK = """# made by a tool
aiohttp==3.14.5 \\
    --hash=sha256:01 \\
    --hash=sha256:02
    # via kopf
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:03
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:04
    # via
    #   meterpipe (pyproject.toml)
ruff==0.17.6 \\
    --hash=sha256:05
"""

    def test_the_image_takes_what_it_needs_from_the_lock_with_its_hashes(self) -> None:
        pinned = subset(self.LOCK, {"aiohttp", "numpy"})
        assert re.findall(r"sha256:(\d+)", pinned) == ["01", "02", "03", "04"]
        assert "#" not in pinned
        assert names(pinned) == {"aiohttp", "numpy"}

    def test_a_package_the_lock_does_not_name_is_an_error(self) -> None:
        with pytest.raises(ClusterError, match="does not name kopf"):
            subset(self.LOCK, {"aiohttp", "kopf"})


class TestPreflight:
    def test_who_is_not_root_is_told_what_else_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        monkeypatch.setattr("sys.platform", "linux")
        assert "root" in str(preflight.problem())
        assert "kind" in str(preflight.problem())

    def test_another_system_is_told_what_else_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.platform", "darwin")
        assert "needs Linux, this is darwin" in str(preflight.problem())


class TestRecord:
    def test_a_record_reads_back_as_it_was_saved(self, tmp_path: Path) -> None:
        record = Record("tests", "10.199", Process(1, 2), Process(3, 4), {"kernel/panic": "0"})
        record.save(tmp_path)
        assert read_record(tmp_path) == record
        assert read_record(tmp_path / "elsewhere") is None


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def _own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("METERPIPE_CACHE", str(tmp_path))

    def test_a_cluster_that_is_not_up_is_told_by_exit_code_3(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["status"]) == 3
        assert "is not up" in capsys.readouterr().out

    @pytest.mark.parametrize("verb", ["kubeconfig", "env", "exec true"])
    def test_asking_a_cluster_that_is_not_up_names_the_way_out(
        self, verb: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(verb.split()) == 1
        assert "try: `cluster up`" in capsys.readouterr().err

    def test_down_of_nothing_is_no_failure(self) -> None:
        assert cli.main(["down"]) == 0

    @pytest.mark.parametrize("words", [["images", "nginx"], ["load-image", "nginx"], ["build", "nginx"]])
    def test_an_unknown_name_is_refused_with_the_names_there_are(
        self, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(words) == 1
        error = capsys.readouterr().err
        assert "'nginx'" in error
        assert "coredns" in error

    def test_the_status_of_a_stopped_program_says_that_it_comes_back(self) -> None:
        status = Status(
            "tests", up=True, programs={"etcd": {"pid": None, "starts": 1}, "kubelet": {"pid": 7, "starts": 3}}
        )
        assert "down, starts again" in status.as_text()
        assert "pid 7, started 3 times" in status.as_text()
