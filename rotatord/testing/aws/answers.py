"""How answers look on the wire: XML for the query protocol, JSON for the other, both written from botocore's models."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from rotatord.testing.aws.errors import AwsError
from rotatord.testing.aws.shapes import JsonMap, Service
from rotatord.testing.wires import Reply


def success(service: Service, operation: str, output: JsonMap, request_id: str) -> Reply:
    """An operation's output. Whatever the model does not know is a mistake of ours and raises."""
    shape = service.operation(operation).output_shape
    if service.protocol == "json":
        body = json.dumps(_json(shape, output) if shape is not None else {}).encode()
        return Reply(200, body, {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": request_id})
    result = ""
    if shape is not None:
        wrapper = shape.serialization.get("resultWrapper", f"{operation}Result")
        result = f"<{wrapper}>{_xml_members(shape, output)}</{wrapper}>"
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    text = f'<{operation}Response xmlns="{service.namespace}">{result}{metadata}</{operation}Response>'
    return Reply(200, text.encode(), {"Content-Type": "text/xml", "x-amzn-RequestId": request_id})


def failure(service: Service, operation: str, error: AwsError, request_id: str) -> Reply:
    """An error, with the status that its code has in the model unless it says one itself."""
    status = error.status or service.status(operation, error.code)
    if service.protocol == "json":
        body = json.dumps({"__type": error.code, "message": error.message}).encode()
        kind = "application/x-amz-json-1.1"
    else:
        who = "Sender" if status < 500 else "Receiver"
        said = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
        said = f"<Error><Type>{who}</Type>{said}</Error><RequestId>{request_id}</RequestId>"
        body = f'<ErrorResponse xmlns="{service.namespace}">{said}</ErrorResponse>'.encode()
        kind = "text/xml"
    return Reply(status, body, {"Content-Type": kind, "x-amzn-RequestId": request_id, **error.headers})


def _xml(shape: Any, value: Any) -> str:
    if shape.type_name == "structure":
        return _xml_members(shape, value)
    if shape.type_name == "list":
        name = shape.member.serialization.get("name", "member")
        return "".join(f"<{name}>{_xml(shape.member, item)}</{name}>" for item in value)
    if shape.type_name == "timestamp":
        return _moment(value).strftime("%Y-%m-%dT%H:%M:%SZ")
    if shape.type_name == "boolean":
        return "true" if value else "false"
    return escape(str(value))


def _xml_members(shape: Any, value: JsonMap) -> str:
    _only_known(shape, value)
    named = ((shape.members[name], name, item) for name, item in value.items() if item is not None)
    return "".join(
        f"<{inner.serialization.get('name', name)}>{_xml(inner, item)}</{inner.serialization.get('name', name)}>"
        for inner, name, item in named
    )


def _json(shape: Any, value: Any) -> Any:
    if shape.type_name == "structure":
        _only_known(shape, value)
        return {name: _json(shape.members[name], item) for name, item in value.items() if item is not None}
    if shape.type_name == "list":
        return [_json(shape.member, item) for item in value]
    if shape.type_name == "map":
        return {key: _json(shape.value, item) for key, item in value.items()}
    if shape.type_name == "timestamp":
        return round(_moment(value).timestamp(), 3)
    if shape.type_name == "blob":
        return base64.b64encode(value).decode()
    return value


def _only_known(shape: Any, value: JsonMap) -> None:
    unknown = value.keys() - shape.members.keys()
    assert not unknown, f"{shape.name} has no {sorted(unknown)}"


def _moment(value: Any) -> datetime:
    assert isinstance(value, datetime)
    return value
