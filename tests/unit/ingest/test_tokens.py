import os

import pytest
from meterpipe.adapters.ingest.tokens import RELOAD_S, TokenError, Tokens
from meterpipe.spec.ingest import GatewayGroup

NORTH, SOUTH = (GatewayGroup(name=name, secret_name=name) for name in ("north", "south"))
OLD, NEW, OTHER = "old-token-0123456789", "new-token-0123456789", "other-token-0123456789"


@pytest.fixture
def files(tmp_path):
    found = {"north": tmp_path / "north", "south": tmp_path / "south"}
    found["north"].write_text(f"{OLD}\n\n{NEW}\n")
    found["south"].write_text(OTHER)
    return found


def test_any_token_of_a_group_opens_it(files):
    tokens = Tokens([NORTH, SOUTH], files)
    groups = [tokens.group_of(f"Bearer {token}") for token in (OLD, NEW, OTHER)]
    assert groups == [NORTH, NORTH, SOUTH]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer nope", f"Basic {OLD}", f"Bearer {OLD}x"])
def test_anything_else_opens_nothing(files, header):
    assert Tokens([NORTH, SOUTH], files).group_of(header) is None


def test_anyone_may_post_if_the_pipeline_says_so(files):
    tokens = Tokens([NORTH, SOUTH], files, anonymous=True)
    assert (tokens.group_of(None).name, tokens.group_of(f"bearer {OLD}")) == ("anonymous", NORTH)


def test_a_changed_file_is_read_again_and_a_broken_one_is_not_believed(files):
    now = [0.0]
    tokens = Tokens([NORTH, SOUTH], files, clock=lambda: now[0])
    files["north"].write_text(NEW)
    os.utime(files["north"], ns=(1, 1))
    assert tokens.group_of(f"Bearer {OLD}") == NORTH
    now[0] += RELOAD_S
    assert (tokens.group_of(f"Bearer {OLD}"), tokens.group_of(f"Bearer {NEW}")) == (None, NORTH)
    files["north"].write_text("short")
    os.utime(files["north"], ns=(2, 2))
    now[0] += RELOAD_S
    assert tokens.group_of(f"Bearer {NEW}") == NORTH


def test_unusable_files_are_told_without_their_tokens(files):
    for text in ("", "short", OTHER):
        files["north"].write_text(text)
        with pytest.raises(TokenError) as caught:
            Tokens([NORTH, SOUTH], files)
        assert OTHER not in str(caught.value)
    with pytest.raises(TokenError, match="south"):
        Tokens([SOUTH], {})
