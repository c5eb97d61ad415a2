"""The command `cluster`. Progress goes to stderr, results to stdout."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cluster import archive, images, lifecycle, preflight, programs, status
from cluster.errors import ClusterError
from cluster.layout import Cluster
from cluster.record import Process
from cluster.shell import say
from cluster.store import Store, cache_root

NOT_UP = 3
EXAMPLES = """\
examples:
  cluster up --image kafka --image meterpipe   start it with these images (a first build takes 15 minutes)
  eval "$(cluster env)"; kubectl get pods -A   use it: KUBECONFIG, and kubectl and helm in PATH
  cluster load-image kafka                     build what has changed and load it; or give a docker-archive file
  cluster exec ctr -n k8s.io images ls         run a command in the node's namespaces
  cluster down                                 stop it; nothing stays behind

exit codes: 0 done, 1 failed (the message names the way out), 2 wrong usage, 3 the cluster is not up
state and build results: METERPIPE_CACHE, else meterpipe/k8s in the user's cache folder
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(words)
    try:
        return int(options.action(options))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; `cluster down` clears what was started", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="cluster",
        description="A real one-node Kubernetes for tests, without Docker.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(metavar="COMMAND", required=True)
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default="meterpipe", help="which cluster, several can run side by side (%(default)s)")

    verb = verbs.add_parser("build", help="build programs from their Go modules, print their paths")
    verb.add_argument("part", nargs="*", help=f"which, else all that `up` needs: {', '.join(programs.PARTS)}")
    verb.set_defaults(action=_build)

    verb = verbs.add_parser("check", help="tell whether this machine can build and run a cluster, and what is missing")
    verb.add_argument("--install", action="store_true", help="install the Debian packages that are missing, as root")
    verb.set_defaults(action=_check)

    verb = verbs.add_parser("images", help="build images and print their files; without a name list what there is")
    verb.add_argument("image", nargs="*", help="a name from the list")
    verb.set_defaults(action=_images)

    verb = verbs.add_parser("make-image", help="write a docker-archive of your own files")
    verb.add_argument("out", type=Path, help="file to write")
    verb.add_argument("reference", help="name of the image, like localhost/site:1")
    verb.add_argument("--base", help="an image of the list, or a docker-archive, to build upon")
    verb.add_argument("--add", action="append", default=[], metavar="SOURCE:TARGET", help="file or folder to put in")
    verb.add_argument(
        "--entrypoint", type=shlex.split, metavar="'WORD ...'", help="in one argument, quoted as for a shell"
    )
    verb.add_argument("--command", type=shlex.split, metavar="'WORD ...'", help="the same for the default arguments")
    verb.add_argument("--env", action="append", default=[], metavar="KEY=VALUE")
    verb.add_argument("--user", help="like 1000:1000")
    verb.set_defaults(action=_make_image)

    verb = verbs.add_parser("up", parents=[named], help="build what is missing, start the cluster, wait until Ready")
    verb.add_argument("--image", action="append", default=[], help="load this image too; may be repeated")
    verb.add_argument("--metrics-server", action="store_true", help="install metrics-server too")
    verb.set_defaults(action=_up)

    verb = verbs.add_parser("down", parents=[named], help="stop the cluster and remove all it made")
    verb.add_argument("--keep-images", action="store_true", help="keep the images on disk, for a quicker `up`")
    verb.set_defaults(action=_down)

    verb = verbs.add_parser("status", parents=[named], help="tell whether it is up and what runs")
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(action=_status)

    verb = verbs.add_parser("load-image", parents=[named], help="load an image into the node")
    verb.add_argument("image", nargs="+", help="a name of `cluster images`, or a docker-archive file")
    verb.set_defaults(action=_load_image)

    verb = verbs.add_parser("kubeconfig", parents=[named], help="print the path of the administrator's kubeconfig")
    verb.set_defaults(action=_kubeconfig)

    verb = verbs.add_parser("env", parents=[named], help="print shell lines that set KUBECONFIG and PATH")
    verb.set_defaults(action=_env)

    verb = verbs.add_parser("exec", parents=[named], help="run a command in the node's namespaces")
    verb.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")
    verb.set_defaults(action=_exec)
    return top


def _store() -> Store:
    return Store(cache_root())


def _states() -> Path:
    return cache_root() / "run"


def _check(options: argparse.Namespace) -> int:
    if options.install:
        preflight.install_missing()
    if problem := preflight.build_problem():
        raise problem
    print("this machine can build and run a cluster")
    return 0


def _build(options: argparse.Namespace) -> int:
    for part in options.part:
        if part not in programs.PARTS:
            raise ClusterError(f"there is no program {part!r}", f"one of {', '.join(programs.PARTS)}")
    for part in options.part or (*programs.NODE_PROGRAMS, *images.NODE_IMAGES):
        print(programs.build(_store(), part))
    return 0


def _images(options: argparse.Namespace) -> int:
    if not options.image:
        for name, recipe in images.RECIPES.items():
            print(f"{name:15} {images.reference(name):32} {recipe.about}")
    for name in options.image:
        print(images.image(_store(), _known(name)))
    return 0


def _known(name: str) -> str:
    if name not in images.RECIPES:
        raise ClusterError(f"there is no image {name!r}", f"one of {', '.join(images.RECIPES)}")
    return name


def _image_file(word: str) -> Path:
    """Find the docker-archive meant by a word: a recipe's name, else a path."""
    if word in images.RECIPES:
        return images.image(_store(), word)
    path = Path(word)
    if not path.is_file():
        raise ClusterError(f"{word!r} is neither an image nor a file", f"one of {', '.join(images.RECIPES)}")
    return path


def _make_image(options: argparse.Namespace) -> int:
    entries = [archive.parse_entry(text) for text in options.add]
    with tempfile.TemporaryDirectory() as folder:
        base = archive.Image([])
        if options.base:
            base = archive.read(_image_file(options.base), Path(folder))
        layers = list(base.layers)
        if entries:
            layers.append(Path(folder) / "added.tar")
            archive.pack(entries, layers[-1])
        config = replace(
            base.config,
            entrypoint=tuple(options.entrypoint or base.config.entrypoint),
            command=tuple(options.command or (() if options.entrypoint else base.config.command)),
            env=(*base.config.env, *options.env),
            user=options.user or base.config.user,
        )
        archive.write(archive.Image(layers, config), options.reference, options.out)
    print(options.out)
    return 0


def _up(options: argparse.Namespace) -> int:
    if problem := preflight.problem():
        raise problem
    store, states = _store(), _states()
    wanted = [*options.image, *(["metrics-server"] if options.metrics_server else [])]
    found = {name: programs.build(store, name) for name in programs.NODE_PROGRAMS}
    first = [images.image(store, name) for name in images.NODE_IMAGES]
    more = [_image_file(word) for word in wanted]
    with store.lock("clusters"):
        if status.read(states, options.name).up:
            say(f"cluster {options.name} is up already")
        else:
            lifecycle.up(states, options.name, found, first)
    cluster, init = lifecycle.find(states, options.name)
    _load(cluster, init, dict(zip(wanted, more, strict=True)))
    if options.metrics_server:
        lifecycle.add_metrics_server(cluster)
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    return 0


def _down(options: argparse.Namespace) -> int:
    with _store().lock("clusters"):
        if not lifecycle.down(_states(), options.name, options.keep_images):
            say(f"cluster {options.name} is not there: nothing to do")
    return 0


def _status(options: argparse.Namespace) -> int:
    found = status.read(_states(), options.name)
    print(json.dumps(found.as_json(), indent=1) if options.json else found.as_text())
    return 0 if found.up else NOT_UP


def _load_image(options: argparse.Namespace) -> int:
    files = [_image_file(word) for word in options.image]
    cluster, init = lifecycle.find(_states(), options.name)
    _load(cluster, init, dict(zip(options.image, files, strict=True)))
    return 0


def _load(cluster: Cluster, init: Process, files: dict[str, Path]) -> None:
    for word, file in files.items():
        new = lifecycle.load_image(cluster, init, file)
        say(f"image {word} loaded" if new else f"image {word} was there already")


def _kubeconfig(options: argparse.Namespace) -> int:
    print(lifecycle.find(_states(), options.name)[0].kubeconfig)
    return 0


def _env(options: argparse.Namespace) -> int:
    cluster, _ = lifecycle.find(_states(), options.name)
    print(f'export KUBECONFIG={cluster.kubeconfig} PATH="{cluster.bin}:$PATH"')
    return 0


def _exec(options: argparse.Namespace) -> int:
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise ClusterError("`cluster exec` needs a command", "`cluster exec ip route`")
    cluster, init = lifecycle.find(_states(), options.name)
    environment = {**os.environ, "PATH": f"{cluster.bin}:{os.environ['PATH']}", "KUBECONFIG": str(cluster.kubeconfig)}
    return subprocess.run(lifecycle.inside(init, *words), env=environment, check=False).returncode
