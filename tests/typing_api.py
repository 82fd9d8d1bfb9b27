"""What type checkers must say of the public names; checked, never run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from typing_extensions import assert_type

import givenotice


class Colour(Enum):
    RED = "red"


def push() -> None:
    assert_type(givenotice.push(), bool)
    assert_type(givenotice.push(None), bool)
    assert_type(givenotice.push("https://hc.example/ping"), bool)
    assert_type(givenotice.push(action_name="worker-job", e_v=0, **{"dimension[1]": "x"}), bool)
    givenotice.push(b"https://hc.example/ping")  # type: ignore[arg-type]
    givenotice.push(uri={"the": "first argument has no name"})  # type: ignore[arg-type]
    givenotice.push("https://hc.example/ping", "https://hc.example/pong")  # type: ignore[call-arg]


def values() -> None:
    now = datetime.now(timezone.utc)
    assert_type(givenotice.build_uri("https://a.example", a="x", b=b"x", c=1, d=1.5, e=True, f=None), str)
    givenotice.build_uri("https://a.example", a=Decimal("1.5"), b=now, c=UUID(int=1), d=Colour.RED)
    givenotice.build_uri("https://a.example", a=["x", 1], b=("x", now), c=[1, 2], d=[])
    givenotice.build_uri("https://a.example", a={"x": 1})  # type: ignore[arg-type]
    givenotice.build_uri("https://a.example", a=object())  # type: ignore[arg-type]
    givenotice.build_uri()  # type: ignore[call-arg]


def matomo() -> None:
    base, page = "https://matomo.example.com", "https://myapp.example.com/worker/"
    assert_type(givenotice.matomo_uri(base, 1, page, action_name="worker-job", e_v=1.5), str)
    givenotice.matomo_uri(base, "1", page)  # type: ignore[arg-type]
    givenotice.matomo_uri(base, 1)  # type: ignore[call-arg]


def counts() -> None:
    assert_type(givenotice.flush(), bool)
    assert_type(givenotice.flush(0.5), bool)
    assert_type(givenotice.flush(timeout=2), bool)
    counted = givenotice.stats()
    assert_type(counted, givenotice.Stats)
    assert_type(counted.pushed, int)
    assert_type(counted.sent, int)
    assert_type(counted.failed, int)
    assert_type(counted.dropped, int)
    assert_type(counted.pending, int)


def recorder() -> None:
    with givenotice.recording() as notices:
        assert_type(notices, givenotice.Recorder)
        givenotice.push("https://hc.example/ping")


def test_annotation_of_the_fixture(notices: givenotice.Recorder) -> None:
    assert notices == []
    assert_type(notices[0], givenotice.Notice)
    assert_type(notices[0].params, dict[str, Any])
    assert_type(notices[0].partition("?")[0], str)
    assert_type(notices.matching(action_name="worker-job", e_v=None), list[givenotice.Notice])
    assert_type(notices.matching("https://hc.example/ping", uri=1), list[givenotice.Notice])
    assert_type(notices.assert_one(idsite=1), givenotice.Notice)
    assert_type(notices.assert_one("https://hc.example/ping"), givenotice.Notice)
    notices.assert_one(b"https://hc.example/ping")  # type: ignore[arg-type]
    (only,) = notices
    assert_type(only, givenotice.Notice)


@pytest.fixture
def pushed(notices: givenotice.Recorder) -> Iterator[givenotice.Recorder]:
    yield notices


def shell() -> None:
    assert_type(givenotice.main(), int)
    assert_type(givenotice.main(["--version"]), int)
    assert_type(givenotice.__version__, str)
