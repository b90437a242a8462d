"""The API against its own description: whatever schemathesis makes up, no fault of the server, and no surprise."""

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)  # fmt: skip
from servers import finished, post, running

from mzsr.service import api

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance,
]  # fmt: skip


@pytest.mark.parametrize("examples", [8, pytest.param(400, marks=pytest.mark.slow)])
def test_no_request_that_can_be_made_up_is_a_fault_of_the_server(
    tmp_path: Path, tiny_weights: Path, examples: int, monkeypatch
) -> None:
    monkeypatch.setattr(api, "BEAT", 0.01)
    with running(tmp_path, tiny_weights, max_pixels=100_000, queue=10**6) as client:
        known = finished(client, post(client).json())
        schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        seen = set()
        for found in schema.get_all_operations():
            operation = found.ok()  # pyright: ignore[reportAttributeAccessIssue]
            modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

            @hypothesis.settings(
                max_examples=examples,
                suppress_health_check=[*hypothesis.HealthCheck],  # pyright: ignore[reportArgumentType]
            )
            @hypothesis.given(case=st.one_of(modes), mine=st.booleans())
            def ask(case: schemathesis.Case, mine: bool) -> None:
                if mine and "id" in case.path_parameters and case.method == "GET":
                    case.path_parameters["id"] = known["id"]  # nobody guesses one
                response = case.call(timeout=60)
                seen.add((case.method, case.path, response.status_code))
                case.validate_response(response, checks=CHECKS)

            ask()
        assert client.get("/health").json()["status"] == "ok"
    reached = {(method, path) for method, path, _ in seen}
    assert ("POST", "/api/jobs") in reached
    assert len(reached) == len(
        {(method, path) for path, methods in schema.raw_schema["paths"].items() for method in methods}
    )
    assert {200, 404, 422} <= {status for _, _, status in seen}
