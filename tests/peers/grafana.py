"""What Grafana's data sources ask first: the test button, then the explorer."""

import time


def prometheus(server):
    assert server.get("/api/v1/query", query="1+1", time=time.time())["data"]["result"][1] == "2"
    assert server.get("/api/v1/status/buildinfo")["data"]["version"]
    assert server.get("/api/v1/labels")["data"]
    assert "up" in server.get("/api/v1/label/__name__/values")["data"]
    metadata = server.get("/api/v1/metadata")["data"]
    assert all("type" in entry and "help" in entry for entries in metadata.values() for entry in entries)
    assert server.get("/api/v1/rules")["data"]["groups"]
    now = int(time.time())
    matrix = server.get("/api/v1/query_range", query="up", start=now - 300, end=now, step=15)["data"]
    assert matrix["resultType"] == "matrix" and matrix["result"], matrix


def loki(server):
    now = time.time_ns()
    test = server.get("/loki/api/v1/query", query="vector(1)+vector(1)", time=now)["data"]
    assert test["resultType"] == "vector" and test["result"][0]["value"][1] == "2", test
    assert server.get("/loki/api/v1/labels", start=now - 3600 * 10**9, end=now)["data"]
    lines = server.get(
        "/loki/api/v1/query_range", query='{service_name=~".+"}', start=now - 3600 * 10**9, end=now,
        limit=10, direction="backward",
    )["data"]
    assert lines["resultType"] == "streams" and lines["result"], lines
    assert "stats" in lines, lines


def tempo(server):
    assert server.get("/tempo/api/echo") == "echo"
    now = int(time.time())
    found = server.get("/tempo/api/search", q="{}", start=now - 3600, end=now, limit=20)["traces"]
    assert found and all("traceID" in t and "rootServiceName" in t for t in found), found
    assert server.get(f"/tempo/api/v2/traces/{found[0]['traceID']}")["trace"]
    assert server.get("/tempo/api/v2/search/tags")["scopes"]
    values = server.get("/tempo/api/v2/search/tag/resource.service.name/values")["tagValues"]
    assert values and all(v["type"] == "string" for v in values), values
