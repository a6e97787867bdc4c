"""Example values for the schemas in our OpenAPI document."""

from typing import Any

NOON_TEXT = "2026-03-01T12:00:00Z"


def example(schema: dict[str, Any], document: dict[str, Any], *, text: str = "press-01") -> Any:
    """
    Return a value that fits a schema.

    Args:
        schema: The schema.
        document: The document that its references point into.
        text: Used wherever any text is allowed, including as a key.
    """
    if "$ref" in schema:
        return example(
            document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document, text=text
        )
    if "anyOf" in schema:
        return example(schema["anyOf"][0], document, text=text)
    if "properties" in schema:
        return {name: example(inner, document, text=text) for name, inner in schema["properties"].items()}
    simple: dict[str, Any] = {"object": {text: text}, "integer": 5, "number": 5.0, "boolean": True}
    kind = schema.get("type", "")
    if kind in simple:
        return simple[kind]
    if kind == "array":
        return [example(schema["items"], document, text=text)]
    return _text(schema, text)


def _text(schema: dict[str, Any], text: str) -> Any:
    if schema.get("format") == "date-time":
        return NOON_TEXT
    return schema.get("enum", [schema.get("const", text)])[0]
