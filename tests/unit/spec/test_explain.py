"""What `meterpipe explain` says of a field."""

import pytest
from meterpipe.spec.explain import UnknownFieldError, as_markdown, as_text, everything, find, root


def test_a_list_is_explained_with_its_items_default_bounds_and_rules():
    text = as_text(find("spec.aggregator.windows"))
    assert "FIELD:        spec.aggregator.windows <[]integer>\n" in text
    assert "DEFAULT:      [60, 600, 3600, 86400]\n" in text
    assert "BOUNDS:       1 to 8 items; each 1 to 86400\n" in text
    assert "windows must divide a day" in text


def test_an_object_is_explained_with_its_fields():
    text = as_text(find("spec.lake.flush"))
    assert "  seconds <integer> = 60\n    Age of the oldest buffered reading.\n" in text


def test_a_required_field_is_marked():
    assert "-required-" in as_text(find("metadata.name"))


def test_choices_are_listed():
    assert "BOUNDS:       one of drop, count\n" in as_text(find("spec.aggregator.duplicates"))


def test_a_map_is_explained_with_the_type_of_its_values():
    assert find("spec.cassandra.ttl").type == "map[string]integer"


@pytest.mark.parametrize("before", ["", ".", "mp.", "MeterPipeline."])
@pytest.mark.parametrize("after", ["", "[2]"])
def test_a_path_may_be_written_as_errors_and_kubectl_write_it(before, after):
    assert find(f"{before}spec.aggregator.windows{after}").path == "spec.aggregator.windows"


def test_the_fields_of_the_objects_of_a_list_are_found():
    assert find("status.conditions.reason").type == "string"


def test_recursively_all_fields_are_shown_by_depth():
    assert "    readings <Object>\n      name <string>\n" in as_text(find("spec.kafka"), recursive=True)


def test_without_a_path_the_resource_is_explained():
    assert "  spec <Object>\n" in as_text(find(""))


@pytest.mark.parametrize(
    ("path", "way_out"),
    [
        ("spec.agregator", "did you mean spec.aggregator?"),
        ("spec.aggregator.window", "did you mean spec.aggregator.windows?"),
        ("windows", "did you mean spec.aggregator.windows?"),
        ("spec.lake.flush.xyzzy", "fields of spec.lake.flush: seconds, rows"),
        ("spec.paused.xyzzy", "spec.paused has no fields, it is boolean"),
    ],
)
def test_an_unknown_field_is_told_the_nearest(path, way_out):
    with pytest.raises(UnknownFieldError) as caught:
        find(path)
    assert caught.value.way_out == way_out


def test_the_reference_page_names_every_field():
    page = as_markdown()
    assert all(f"`{field.path.rpartition('.')[2]}`" in page for field in everything(root()) if field.path.count("."))


def test_no_table_of_the_reference_page_is_broken():
    for line in as_markdown().splitlines():
        assert not line.startswith("| `") or line.replace("\\|", "").count("|") == 6
