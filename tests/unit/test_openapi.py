"""The description of the API: valid OpenAPI 3.1, and exactly the HTTP doors that the app has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from functions import api_document
from tests.unit.http_doors import doors

ADDRESS = "https://mirrors.example/api"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return api_document.document(ADDRESS)


@pytest.fixture(scope="module")
def routes() -> dict[tuple[str, str], Any]:
    """(method, path) → the function's trigger, for every HTTP route that the app registers."""
    return {(method.lower(), path): function.get_trigger() for method, path, function in doors()}


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method, path): one for path, methods in document["paths"].items() for method, one in methods.items()}


def test_it_is_valid_openapi(document: dict[str, Any]):
    validate(document, cls=OpenAPIV31SpecValidator)
    assert document["servers"] == [{"url": ADDRESS}]


def test_every_route_of_the_app_is_described_and_no_other(document: dict[str, Any], routes: dict[Any, Any]):
    assert set(operations(document)) == set(routes)


def test_it_says_which_doors_need_a_key(document: dict[str, Any], routes: dict[Any, Any]):
    for key, operation in operations(document).items():
        level = routes[key].auth_level
        open_to_all = getattr(level, "value", level).lower() == "anonymous"
        assert open_to_all == (operation.get("security") == []), key
        assert open_to_all != ("401" in operation["responses"]), key


def test_every_door_says_what_it_takes_and_answers(document: dict[str, Any]):
    for (method, path), operation in operations(document).items():
        named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))
        assert all(parameter["description"] for parameter in operation["parameters"])
        assert ("requestBody" in operation) == (method in ("put", "post") and "rotate" not in path), path
        good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        assert len(good) == 1
        assert good[0]["content"]


def test_a_door_that_takes_parameters_says_that_it_may_refuse_them(document: dict[str, Any]):
    for (method, path), operation in operations(document).items():
        assert not operation["parameters"] or "400" in operation["responses"], (method, path)
        assert "{mirror}" not in path or "404" in operation["responses"], (method, path)


def test_problems_have_the_stable_form(document: dict[str, Any]):
    refusal = operations(document)["put", "/servers/{subscription}/{resource_group}/{server}/mirroring"]["responses"]
    assert {"400", "401", "403", "404", "409", "500", "503"} <= set(refusal)
    [reference] = refusal["409"]["content"]["application/problem+json"]["schema"].values()
    problem = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert set(problem["required"]) == {"type", "title", "status", "code", "detail", "remedy"}


def test_the_documents_describe_every_door(document: dict[str, Any]):
    written = DOCS.read_text()
    headings = set(re.findall(r"^### `([A-Z]+) (/api/[^`]*)`$", written, re.MULTILINE))
    assert headings == {(method.upper(), f"/api{path}") for method, path in operations(document)}


def test_a_door_reads_only_the_parameters_that_are_described(document: dict[str, Any]):
    """Of the lists: their query is read where it is decided."""
    from shared.dashboard import listing, query

    read = set(re.findall(r'parameters(?:\.get\(|, )"(\w+)"', inspect.getsource(listing)))
    described = {
        parameter["name"]
        for (method, path), operation in operations(document).items()
        if method == "get" and path in ("/servers", "/mirrors", "/mirrors/{workspace}/{mirror}")
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
    }
    assert read | set(query.Query.__struct_fields__) == described
