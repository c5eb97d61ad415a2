"""Container images as docker-archive files, written without an engine: layers are tar files, the rest is JSON.

The same input gives the same bytes: owners are root, times are zero, names are sorted.
"""

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cluster.errors import ClusterError
from cluster.store import files_below

EPOCH = "1970-01-01T00:00:00Z"
OCI = "application/vnd.oci.image"
MANIFEST = f"{OCI}.manifest.v1+json"
IMAGE_NAME = "io.containerd.image.name"
COPIED_AT_ONCE = 4 * 1024 * 1024  # bytes
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Entry:
    """A file or a folder with all below it, to be put at ``target``; without a source, an empty folder for anyone."""

    target: str
    source: Path | None = None


@dataclass(frozen=True)
class ImageConfig:
    """How a container of the image starts; ``env`` holds KEY=VALUE words."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""


@dataclass(frozen=True)
class Image:
    """Layers, lowest first, and how a container starts."""

    layers: Sequence[Path]
    config: ImageConfig = field(default_factory=ImageConfig)


def pack(entries: Iterable[Entry], out: Path) -> None:
    """Write one layer: a tar of the entries."""
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        known: set[str] = set()
        for entry in entries:
            _add_entry(tar, entry, known)


def write(image: Image, reference: str, out: Path) -> None:
    """Write a docker-archive with one image in it, named ``reference``."""
    digests = [_sha256(layer) for layer in image.layers]
    config = json.dumps(config_json(image.config, digests), sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    names = [f"{digest}/layer.tar" for digest in digests]
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": names}]
    with tarfile.TarFile(out, "w", copybufsize=COPIED_AT_ONCE) as tar:
        for name, layer in dict(zip(names, image.layers, strict=True)).items():
            with layer.open("rb") as file:
                _add(tar, name, file, layer.stat().st_size)
        for name, data in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
            _add(tar, name, io.BytesIO(data), len(data))


def write_missing(archive: Path, present: Collection[str], out: Path) -> None:
    """Write a docker-archive's images as an OCI archive, without the layers (sha256) that the reader has already.

    A gigabyte that has not changed need not go through containerd again: what it has, it finds by the digest.
    """
    with tarfile.open(archive) as source, tarfile.TarFile(out, "w", copybufsize=COPIED_AT_ONCE) as tar:
        known, manifests = set(present), []
        for image in json.load(_member(source, "manifest.json")):
            config = _member(source, image["Config"]).read()
            layers = []
            for name in image["Layers"]:
                digest, size = name.partition("/")[0], source.getmember(name).size
                layers.append(_descriptor(f"{OCI}.layer.v1.tar", digest, size))
                if digest not in known:
                    known.add(digest)
                    _add(tar, f"blobs/sha256/{digest}", _member(source, name), size)
            described = _put(tar, f"{OCI}.config.v1+json", config)
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers}
            placed = _put(tar, MANIFEST, json.dumps(manifest, sort_keys=True).encode())
            manifests += [placed | {"annotations": {IMAGE_NAME: name}} for name in image["RepoTags"] or ()]
        index = {"schemaVersion": 2, "manifests": manifests}
        for name, content in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
            data = json.dumps(content).encode()
            _add(tar, name, io.BytesIO(data), len(data))


def own_layout(archive: Path) -> bool:
    """Tell whether the layers of a docker-archive are named by their digests, as `write` does."""
    with tarfile.open(archive) as tar:
        names = [name for image in json.load(_member(tar, "manifest.json")) for name in image["Layers"]]
        return all(re.fullmatch(r"[0-9a-f]{64}/layer\.tar", name) for name in names)


def references(archive: Path) -> list[str]:
    """Return the names of the images in a docker-archive."""
    try:
        with tarfile.open(archive) as tar:
            return [name for image in json.load(_member(tar, "manifest.json")) for name in image["RepoTags"] or ()]
    except (tarfile.TarError, KeyError, OSError) as error:
        raise _no_archive(archive, error) from error


def read(archive: Path, folder: Path) -> Image:
    """Unpack a docker-archive's first image: its layers go to ``folder``."""
    try:
        with tarfile.open(archive) as tar:
            manifest = json.load(_member(tar, "manifest.json"))[0]
            config = json.load(_member(tar, manifest["Config"]))["config"]
            layers = []
            for number, name in enumerate(manifest["Layers"]):
                layers.append(folder / f"{number}.tar")
                with layers[-1].open("wb") as out:
                    shutil.copyfileobj(_member(tar, name), out)
    except (tarfile.TarError, KeyError, OSError) as error:
        raise _no_archive(archive, error) from error
    return Image(
        layers,
        ImageConfig(
            tuple(config.get("Entrypoint") or ()),
            tuple(config.get("Cmd") or ()),
            tuple(word for word in config.get("Env") or () if word != PATH),
            config.get("User", ""),
            config.get("WorkingDir", ""),
        ),
    )


def config_json(config: ImageConfig, digests: Sequence[str]) -> dict[str, Any]:
    """Return the image's configuration object; ``digests`` are the layers' sha256, lowest first."""
    start: dict[str, Any] = {"Env": list(config.env)}
    if not any(word.startswith("PATH=") for word in config.env):
        start["Env"].insert(0, PATH)
    if config.entrypoint:
        start["Entrypoint"] = list(config.entrypoint)
    if config.command:
        start["Cmd"] = list(config.command)
    if config.user:
        start["User"] = config.user
    if config.workdir:
        start["WorkingDir"] = config.workdir
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": EPOCH,
        "config": start,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": EPOCH} for _ in digests],
    }


def parse_entry(text: str) -> Entry:
    """Read SOURCE:TARGET, the form of --add."""
    source, colon, target = text.rpartition(":")
    if not (source and colon and target.strip("/")):
        raise ClusterError(f"--add {text!r} is not SOURCE:TARGET", "like --add ./site:/srv/site")
    if not Path(source).exists():
        raise ClusterError(f"--add {text!r}: {source} does not exist")
    return Entry(target, Path(source))


def _no_archive(path: Path, error: Exception) -> ClusterError:
    return ClusterError(f"{path} is no docker-archive: {error}", "`cluster make-image` and `docker save` write such")


def _add_entry(tar: tarfile.TarFile, entry: Entry, known: set[str]) -> None:
    target = entry.target.strip("/")
    parents = target.split("/")
    _add_folders(tar, ["/".join(parents[:depth]) for depth in range(1, len(parents))], known, 0o755)
    if entry.source is None:
        _add_folders(tar, [target], known, 0o777)
        return
    source = entry.source.resolve()
    for path in files_below(source):
        place = PurePosixPath(target, path.relative_to(source))
        above = [str(p) for p in reversed(place.parents) if p.is_relative_to(target)]
        _add_folders(tar, above, known, 0o755)
        tar.add(path, arcname=str(place), filter=_plain)


def _add_folders(tar: tarfile.TarFile, names: Iterable[str], known: set[str], mode: int) -> None:
    for name in names:
        if name not in known:
            known.add(name)
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, mode
            tar.addfile(info)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if info.mode & 0o100 else 0o644
    return info


def _add(tar: tarfile.TarFile, name: str, data: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    tar.addfile(info, data)


def _put(tar: tarfile.TarFile, kind: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    _add(tar, f"blobs/sha256/{digest}", io.BytesIO(data), len(data))
    return _descriptor(kind, digest, len(data))


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(name)
    return member


def _sha256(layer: Path) -> str:
    """Return a layer's digest; written beside it once, as layers never change."""
    note = layer.with_suffix(".sha256")
    if not note.exists():
        with layer.open("rb") as file:
            draft = note.with_suffix(f".{os.getpid()}")
            draft.write_text(hashlib.file_digest(file, "sha256").hexdigest())
            draft.rename(note)
    return note.read_text()
