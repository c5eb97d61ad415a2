"""Embedded schema registry: Apicurio Registry over a database of files, spoken to by Confluent's REST API.

It is started only where a pipeline takes Avro and names no registry: it needs a newer Java than the others.
"""

from collections.abc import Mapping

from meterpipe.local import artifacts, tools
from meterpipe.local.paths import DataDir
from meterpipe.local.probes import http_ok
from meterpipe.local.process import Command
from meterpipe.local.program import Program
from meterpipe.spec.connections import RegistryConnection

NAME = "registry"
PORTS = ("registry", "registry-management")
PATIENCE = 15.0  # seconds between SIGTERM and SIGKILL
API = "/apis/ccompat/v7"
HEAP = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+PerfDisableSharedMem")


def connection(data: DataDir, ports: Mapping[str, int]) -> RegistryConnection:
    """Where it answers."""
    return RegistryConnection(url=f"http://127.0.0.1:{ports['registry']}{API}", cache=data.schemas)


def prepare(data: DataDir, ports: Mapping[str, int]) -> Program:
    """Fetch the archive, make the folder of the database."""
    java, app = tools.java(tools.REGISTRY_JAVA_VERSIONS), artifacts.registry_app()
    home = data.service(NAME)
    home.mkdir(exist_ok=True)
    argv = (
        *(str(java), *HEAP),
        "-Dquarkus.http.host=127.0.0.1",
        f"-Dquarkus.http.port={ports['registry']}",
        "-Dquarkus.management.host=127.0.0.1",
        f"-Dquarkus.management.port={ports['registry-management']}",
        *("-jar", str(app / "quarkus-run.jar")),
    )
    env = {
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "h2",
        "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{home / 'schemas'}",
    }
    return Program(Command(NAME, argv, env), lambda: http_ok(ports["registry"], f"{API}/subjects"))
