"""Route templates: which path belongs to which, and what its parameters are."""

import pytest

from local.functions_host.routes import RouteInvalid, compile_route


@pytest.mark.parametrize(
    ("template", "path", "parameters"),
    [
        ("api/servers", "/api/servers", {}),
        ("api/servers", "/API/Servers/", {}),
        ("api/servers", "/api/servers/x", None),
        ("api/servers", "/api", None),
        ("api/{a}/x/{b}", "/api/1/x/2", {"a": "1", "b": "2"}),
        ("api/{a}", "/api/", None),
        ("api/{a}", "/api/rg%20one", {"a": "rg one"}),
        ("api/{a}", "/api/a%2Fb", {"a": "a%2Fb"}),
        ("api/{a}", "/api/a/b", None),
        ("api/{n:int}", "/api/-12", {"n": "-12"}),
        ("api/{n:int}", "/api/twelve", None),
        ("api/{id:guid}", "/api/6F9619FF-8B86-D011-B42D-00C04FC964FF", {"id": "6F9619FF-8B86-D011-B42D-00C04FC964FF"}),
        ("api/{id:guid}", "/api/6F9619FF", None),
        ("api/{yes:bool}", "/api/True", {"yes": "True"}),
        ("api/{word:alpha}", "/api/a1", None),
        ("api/{a?}", "/api", {}),
        ("api/{a?}", "/api/x", {"a": "x"}),
        ("api/{n:int?}", "/api/x", None),
        ("api/{*rest}", "/api", {}),
        ("api/{*rest}", "/api/a/b%20c", {"rest": "a/b c"}),
        ("files/{name}.{ext}", "/files/a.json", {"name": "a", "ext": "json"}),
        ("a.b", "/aXb", None),
        ("{*rest}", "/", {"rest": ""}),
    ],
)
def test_match(template: str, path: str, parameters: dict[str, str] | None) -> None:
    assert compile_route(template).match(path) == parameters


def test_precedence_puts_the_more_specific_first() -> None:
    templates = ["api/{*rest}", "api/{a}/x", "api/{a:int}/x", "api/mirrors/{b}", "api/mirrors/x"]
    ordered = sorted(templates, key=lambda template: compile_route(template).precedence)
    assert ordered == ["api/mirrors/x", "api/mirrors/{b}", "api/{a:int}/x", "api/{a}/x", "api/{*rest}"]


@pytest.mark.parametrize("template", ["api/{x:range(1,2)}", "api/{x", "api/{}", "api/{x=1}"])
def test_template_that_cannot_be_served(template: str) -> None:
    with pytest.raises(RouteInvalid, match="the route 'api/"):
        compile_route(template)
