"""Each rule of the conversion to a structural schema, on models as small as the rule."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from meterpipe.spec.base import RULES, Model, rule, rules
from meterpipe.spec.structural import INT_OR_STRING, NotStructuralError, structural
from pydantic import ConfigDict, Field


def converted(model: type[Model]) -> dict[str, Any]:
    return structural(model.model_json_schema())


def field(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """The schema of one field of this type."""
    model = type("Holder", (Model,), {"__annotations__": {"x": annotation}, "x": Field(default)})
    result: dict[str, Any] = converted(model)["properties"]["x"]
    return result


class Inner(Model):
    """An inner object."""

    size: int = 3
    name: str | None = None


class Colour(StrEnum):
    """Colours."""

    RED = "red"
    BLUE = "blue"


class Typed(Model):
    """With a tag that must be given."""

    type: Literal["typed"]
    a: int = 1


class Tagged(Model):
    """With a tag that need not be given, and a rule."""

    model_config = ConfigDict(json_schema_extra=rules(rule("self.b > 0", "b is positive")))

    type: Literal["tagged"] = "tagged"
    b: int


def test_references_are_inlined_and_keep_the_text_beside_them():
    class Outer(Model):
        inner: Inner = Field(description="beside")

    assert converted(Outer)["properties"]["inner"] == {
        "description": "beside",
        "type": "object",
        "properties": {"size": {"type": "integer", "default": 3}, "name": {"type": "string", "nullable": True}},
    }


def test_a_reference_without_text_has_that_of_the_model():
    assert field(Inner)["description"] == "An inner object."


def test_a_model_that_contains_itself_is_refused():
    class Tree(Model):
        child: "Tree | None" = None

    with pytest.raises(NotStructuralError, match=r"child.*Tree contains itself"):
        converted(Tree)


def test_titles_and_closed_objects_leave_no_trace():
    assert converted(Inner).keys() == {"description", "type", "properties"}


def test_null_in_a_union_becomes_nullable_and_loses_its_default():
    assert field(Annotated[int, Field(ge=1)] | None, None) == {"type": "integer", "minimum": 1, "nullable": True}


def test_a_default_beside_a_nullable_stays():
    assert field(int | None, 5) == {"type": "integer", "default": 5, "nullable": True}


def test_a_constant_becomes_an_enumeration():
    assert field(Literal["a"]) == {"type": "string", "enum": ["a"]}


def test_an_enumeration_keeps_its_values():
    assert field(Colour, Colour.RED) == {
        "description": "Colours.",
        "type": "string",
        "enum": ["red", "blue"],
        "default": "red",
    }


def test_exclusive_bounds_become_booleans_beside_the_bound():
    assert field(Annotated[int, Field(gt=0, lt=10)]) == {
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 10,
        "exclusiveMaximum": True,
    }


def test_an_integer_or_text_has_kubernetes_own_type():
    assert field(int | str, 3) == {INT_OR_STRING: True, "default": 3}


def test_enumerations_in_a_union_are_joined():
    assert field(Literal["a"] | Literal["b"])["enum"] == ["a", "b"]


def test_objects_in_a_union_become_one_object_with_a_rule():
    result = field(Typed | Tagged)
    assert result["type"] == "object"
    assert result["properties"] == {
        "type": {"type": "string", "enum": ["typed", "tagged"]},
        "a": {"type": "integer"},
        "b": {"type": "integer"},
    }


def test_the_rule_of_a_union_tells_the_alternatives_apart():
    exactly_one, inner = field(Typed | Tagged)[RULES]
    assert exactly_one["rule"] == (
        "(has(self.type) && self.type in ['typed'] && !has(self.b)) || "
        "(has(self.b) && (!has(self.type) || self.type in ['tagged']) && !has(self.a))"
    )
    assert inner["message"] == "b is positive"
    assert inner["rule"].endswith("|| (self.b > 0)")


def test_a_union_of_other_things_is_refused():
    with pytest.raises(NotStructuralError, match="x: a union of"):
        field(int | bool)


def test_a_list_without_a_largest_size_is_refused():
    with pytest.raises(NotStructuralError, match=r"x: give the field a max_length \(maxItems\)"):
        field(tuple[int, ...])


def test_a_map_without_a_largest_size_is_refused():
    with pytest.raises(NotStructuralError, match=r"x: give the field a max_length \(maxProperties\)"):
        field(dict[str, int])


def test_the_place_of_a_refusal_is_named():
    class Deep(Model):
        inner: Annotated[tuple[dict[str, int], ...], Field(max_length=3)]

    with pytest.raises(NotStructuralError, match=r"^inner\[\]"):
        converted(Deep)


def test_sizes_may_be_unlimited_where_no_cluster_reads_the_schema():
    class Local(Model):
        sizes: tuple[int, ...] = ()

    assert structural(Local.model_json_schema(), bounded=False)["properties"]["sizes"]["items"] == {"type": "integer"}


def test_a_map_keeps_the_type_of_its_values():
    assert field(Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(max_length=8)], {}) == {
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {"type": "integer", "minimum": 0},
        "default": {},
    }


def test_a_set_becomes_a_list_of_type_set():
    assert field(Annotated[frozenset[str], Field(max_length=3)])["x-kubernetes-list-type"] == "set"


@pytest.mark.parametrize(
    "annotation", [Any, Annotated[tuple[int, str], Field()], Annotated[list[Any], Field(max_length=3)]]
)
def test_what_has_not_one_type_is_refused(annotation):
    with pytest.raises(NotStructuralError):
        field(annotation)


def test_the_default_of_an_object_is_left_to_its_fields():
    assert field(Inner, Inner())["default"] == {}


def test_a_default_that_differs_from_its_fields_is_written_without_nulls():
    assert field(Inner, Inner(size=9))["default"] == {"size": 9}


def test_the_default_of_an_object_with_rules_is_written_out():
    class Ruled(Model):
        model_config = ConfigDict(json_schema_extra=rules(rule("self.size > 0", "positive")))
        size: int = 3

    assert field(Ruled, Ruled())["default"] == {"size": 3}


def test_rules_stay_where_they_are_stated():
    class Ruled(Model):
        size: int = Field(json_schema_extra=rules(rule("self == oldSelf", "cannot change")))

    assert converted(Ruled)["properties"]["size"][RULES] == [{"rule": "self == oldSelf", "message": "cannot change"}]


def test_fields_that_must_be_given_are_required():
    assert converted(Tagged)["required"] == ["b"]
