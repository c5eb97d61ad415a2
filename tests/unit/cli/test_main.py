"""The command line as a whole: overview, errors, exit codes."""

import subprocess
import sys
from pathlib import Path

import click
import meterpipe
import pytest
from click.testing import CliRunner, Result
from meterpipe.cli import main
from meterpipe.cli.errors import BadInput, Failed

PACKAGE = Path(meterpipe.__file__).parent


def run(*args: str) -> Result:
    return CliRunner().invoke(main.cli, args, prog_name="meterpipe")


def test_the_overview_names_every_command_with_its_use():
    output = run("--help").output
    for section, entries in main.SECTIONS.items():
        assert section in output
        assert all(f"  {name} " in output for name in entries)


def test_the_overview_imports_no_command():
    script = (
        "import sys\nfrom meterpipe.cli.main import main\nmain(['--help'], standalone_mode=False)\n"
        "print(sorted({'pydantic', 'numpy', 'confluent_kafka', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_the_version_is_told():
    assert run("--version").output == f"meterpipe {meterpipe.__version__}\n"


def test_an_unknown_command_is_told_the_nearest():
    result = run("vlidate")
    assert result.exit_code == 2
    assert "no such command 'vlidate': did you mean 'validate'?" in result.output


def test_a_command_like_no_other_is_sent_to_the_overview():
    result = run("xyzzy")
    assert result.exit_code == 2
    assert "see 'meterpipe --help'" in result.output


def test_an_unknown_option_is_wrong_usage():
    assert run("--xyzzy").exit_code == 2
    assert run("validate", "--xyzzy").exit_code == 2


def test_a_missing_package_is_told_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(main.COMMANDS, "demo", "not_installed_anywhere:demo")
    result = run("demo")
    assert result.exit_code == 1
    assert "needs the Python package 'not_installed_anywhere'" in result.output
    assert "-> install" in result.output


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_of_the_table_is_there_and_tells_how_it_is_used(name: str):
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert f"Usage: meterpipe {name}" in result.output


@pytest.mark.parametrize(("error", "code"), [(Failed, 1), (BadInput, 2)])
def test_an_error_has_its_exit_code_and_tells_the_way_out(error: type[Failed], code: int):
    @click.command()
    def command() -> None:
        raise error("no room", "make room")

    result = CliRunner().invoke(command)
    assert result.exit_code == code
    assert result.stderr == "Error: no room\n  -> make room\n"


@pytest.mark.parametrize(("setting", "colour"), [("1", False), ("", None)])
def test_no_color_turns_colours_off(monkeypatch: pytest.MonkeyPatch, setting: str, colour: bool | None):
    seen = []

    @click.command()
    @click.pass_context
    def probe(ctx: click.Context) -> None:
        seen.append(ctx.color)

    monkeypatch.setenv("NO_COLOR", setting)
    monkeypatch.setattr(main, "load", lambda target: probe)
    main.main(["validate"], standalone_mode=False)
    assert seen == [colour]
